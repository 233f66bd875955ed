"""So many at once: the bound on connections."""

from __future__ import annotations

import threading
from collections import deque


class Slots:
    """A number of slots. Whoever waits for one gets the next that is released, in their order.

    A semaphore would let a newcomer take it first, again and again while many threads are busy.
    """

    def __init__(self, count: int) -> None:
        self._free = count
        self._queue: deque[threading.Event] = deque()
        self._lock = threading.Lock()

    def acquire(self, timeout_seconds: float) -> bool:
        """Return whether a slot became free in time."""
        with self._lock:
            if self._free:
                self._free -= 1
                return True
            turn = threading.Event()
            self._queue.append(turn)
        return turn.wait(timeout_seconds) or self._was_late(turn)

    def release(self) -> None:
        with self._lock:
            if self._queue:
                self._queue.popleft().set()
            else:
                self._free += 1

    def _was_late(self, turn: threading.Event) -> bool:
        """Leave the queue; True where a slot was handed over in the meantime."""
        with self._lock:
            if turn.is_set():
                return True
            self._queue.remove(turn)
            return False
