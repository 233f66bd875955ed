"""Which VMs a process has seen a runtime have, so that both calls of a read may be made at once."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence

MAX_RUNTIMES = 10_000


class SeenVms:
    """VM ids by user and runtime; the least recently read go first. Safe for threads.

    What is remembered is only a guess: the runtime's document decides.
    """

    def __init__(self, max_runtimes: int = MAX_RUNTIMES) -> None:
        self._max_runtimes = max_runtimes
        self._lock = threading.Lock()
        self._vm_ids: OrderedDict[tuple[bytes, int], tuple[int, ...]] = OrderedDict()

    def get(self, owner: bytes, runtime_id: int) -> tuple[int, ...]:
        """Empty where nothing is known."""
        with self._lock:
            return self._vm_ids.get((owner, runtime_id), ())

    def put(self, owner: bytes, runtime_id: int, vm_ids: Sequence[int]) -> None:
        with self._lock:
            self._vm_ids[owner, runtime_id] = tuple(vm_ids)
            self._vm_ids.move_to_end((owner, runtime_id))
            while len(self._vm_ids) > self._max_runtimes:
                self._vm_ids.popitem(last=False)
