"""The standbys that one process has ordered, to keep to the operator's maximum."""

from __future__ import annotations

import threading
import time


class Ledger:
    """Ids of standbys, whose they are and when their leases end. Safe for threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[int, tuple[int, float]] = {}

    def add(self, runtime_id: int, owner_id: int, seconds: float) -> None:
        with self._lock:
            self._known[runtime_id] = owner_id, time.monotonic() + seconds

    def remove(self, runtime_id: int) -> None:
        with self._lock:
            self._known.pop(runtime_id, None)

    def room(self, maximum: int, owner_id: int, owner_maximum: int) -> int:
        """How many more may be ordered by a user."""
        in_all, own = maximum - self.count(), owner_maximum - self.count(owner_id)
        return max(0, min(in_all, own))

    def count(self, owner_id: int | None = None) -> int:
        """Those whose lease has not ended, of one user or of all."""
        now = time.monotonic()
        with self._lock:
            self._known = {n: known for n, known in self._known.items() if known[1] > now}
            return sum(owner_id in (None, owner) for owner, _ in self._known.values())
