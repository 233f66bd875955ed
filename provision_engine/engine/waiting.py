"""Waiting for runtimes: all who wait for the same one in a process share the looks at it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from provision_engine.deadline import (
    LONGEST_PAUSE_SECONDS,
    PAUSE_SHARE,
    SHORTEST_PAUSE_SECONDS,
    Deadline,
)
from provision_engine.engine import view
from provision_engine.errors import TooManyRequests

Json = dict[str, Any]


class _Watch:
    """One runtime that somebody waits for, and what was seen of it last.

    One of those who wait looks, at growing intervals; the others are told what it has seen.
    When it leaves, the next of them looks on.
    """

    def __init__(self) -> None:
        self.waiting = 0
        self._news = threading.Condition()
        self._is_looked_at = False
        self._seen: Json = {}
        self._seen_at = self._newest_at = float("-inf")

    def until_settled(
        self, take: Callable[[], Json], deadline: Deadline, is_gone: Callable[[], bool]
    ) -> Json:
        """What was seen of the runtime, never earlier than it was asked for."""
        asked_at = self._join()
        while True:
            seen = self._look(take, asked_at)
            if seen is not None and (view.is_settled(seen) or deadline.is_over):
                return seen
            if is_gone():
                return seen or {}
            self._pause(deadline, asked_at)

    def _join(self) -> float:
        with self._news:
            # Who has just changed a runtime wants it looked at now, not at the next interval.
            self._newest_at = time.monotonic()
            self._news.notify_all()
            return self._newest_at

    def _look(self, take: Callable[[], Json], asked_at: float) -> Json | None:
        """Look, unless somebody else does or just did; what is known since ``asked_at``."""
        with self._news:
            if self._is_looked_at or not self._is_due():
                return self._seen if self._seen_at >= asked_at else None
            self._is_looked_at = True
        begun_at = time.monotonic()
        try:
            seen = take()
        except BaseException:
            self._tell(None, begun_at)
            raise
        self._tell(seen, begun_at)
        return seen

    def _tell(self, seen: Json | None, begun_at: float) -> None:
        with self._news:
            self._is_looked_at = False
            if seen is not None:
                self._seen, self._seen_at = seen, begun_at
            self._news.notify_all()

    def _is_due(self) -> bool:
        return self._due_in_seconds() <= 0

    def _due_in_seconds(self) -> float:
        """Until the next look: at once for who came after the last, else after an interval."""
        now = time.monotonic()
        if self._seen_at < self._newest_at:
            return 0.0
        waited = now - self._newest_at
        pause = min(max(waited * PAUSE_SHARE, SHORTEST_PAUSE_SECONDS), LONGEST_PAUSE_SECONDS)
        return self._seen_at + pause - now

    def _pause(self, deadline: Deadline, asked_at: float) -> None:
        """Until there is something to do: a look, news of somebody's look, or the deadline."""
        with self._news:
            pause = LONGEST_PAUSE_SECONDS if self._is_looked_at else self._due_in_seconds()
            if self._seen_at >= asked_at:
                pause = min(pause, deadline.remaining_seconds)
            if pause > 0:
                self._news.wait(pause)


class Waiting:
    """The requests of a process that wait. Each has a place; there are so many."""

    def __init__(self, max_requests: int) -> None:
        self._places = threading.BoundedSemaphore(max_requests)
        self._lock = threading.Lock()
        self._watches: dict[tuple[str, int], _Watch] = {}

    @contextmanager
    def place(self) -> Iterator[None]:
        """A place among those who wait, to be taken before anything is changed.

        Raises TooManyRequests when none is free.
        """
        if not self._places.acquire(blocking=False):
            raise TooManyRequests("As many requests as this engine admits are waiting")
        try:
            yield
        finally:
            self._places.release()

    def until_settled(
        self,
        whose: tuple[str, int],
        take: Callable[[], Json],
        deadline: Deadline,
        is_gone: Callable[[], bool],
    ) -> Json:
        """Look until no function is PENDING or UPDATING, the deadline is over or nobody listens.

        ``whose`` is the caller's session and the runtime's id; who shares them shares the looks.
        Raises what ``take`` raises. Empty where nobody listened before anything was seen.
        """
        with self._watch(whose) as watch:
            return watch.until_settled(take, deadline, is_gone)

    @contextmanager
    def _watch(self, whose: tuple[str, int]) -> Iterator[_Watch]:
        with self._lock:
            watch = self._watches.setdefault(whose, _Watch())
            watch.waiting += 1
        try:
            yield watch
        finally:
            with self._lock:
                watch.waiting -= 1
                if not watch.waiting:
                    self._watches.pop(whose, None)
