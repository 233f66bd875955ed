"""The standbys that one process has ordered, to keep to the operator's maximum."""

from __future__ import annotations

import threading
import time


class Ledger:
    """Ids of standbys and when their leases end. Safe for threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ends: dict[int, float] = {}

    def add(self, runtime_id: int, seconds: float) -> None:
        with self._lock:
            self._ends[runtime_id] = time.monotonic() + seconds

    def remove(self, runtime_id: int) -> None:
        with self._lock:
            self._ends.pop(runtime_id, None)

    def room(self, maximum: int) -> int:
        """How many more may be ordered."""
        return max(0, maximum - self.count())

    def count(self) -> int:
        """Those whose lease has not ended."""
        now = time.monotonic()
        with self._lock:
            self._ends = {number: end for number, end in self._ends.items() if end > now}
            return len(self._ends)
