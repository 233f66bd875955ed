"""So many at once: the bound on connections."""

from __future__ import annotations

import threading
from collections import deque


class Slots:
    """A number of slots. Who waits for one gets the next that is released, in order of arrival.

    A semaphore would let a newcomer take it first, again and again while many threads are busy.
    """

    def __init__(self, count: int) -> None:
        self._free = count
        self._queue: deque[threading.Event] = deque()
        self._lock = threading.Lock()

    @property
    def is_contended(self) -> bool:
        """Whether anybody waits."""
        return bool(self._queue)

    def acquire(self, timeout_seconds: float = 0.0) -> bool:
        """Whether a slot became free in time. Without a timeout nobody is overtaken either."""
        with self._lock:
            if self._free:
                self._free -= 1
                return True
            if not timeout_seconds:
                return False
            turn = threading.Event()
            self._queue.append(turn)
        return turn.wait(timeout_seconds) or self._came_late(turn)

    def release(self) -> None:
        with self._lock:
            if self._queue:
                self._queue.popleft().set()
            else:
                self._free += 1

    def _came_late(self, turn: threading.Event) -> bool:
        """Leave the queue; True where a slot was handed over in the meantime."""
        with self._lock:
            if turn.is_set():
                return True
            self._queue.remove(turn)
            return False
