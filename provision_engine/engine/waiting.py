"""Waiting for runtimes: all who wait for the same one in a process share the looks at it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from provision_engine.deadline import Deadline
from provision_engine.engine import view
from provision_engine.errors import TooManyRequests

Json = dict[str, Any]
LOOK_AGAIN_SECONDS = 0.1
"""A look at a runtime is not taken again within this time, however many wait."""


class _Watch:
    """One runtime that somebody waits for, and what was seen last."""

    def __init__(self) -> None:
        self.waiting = 0
        self._lock = threading.Lock()
        self._seen: Json = {}
        self._seen_at = float("-inf")

    def look(self, take: Callable[[], Json]) -> Json:
        """What was seen just now, by whomever. One looks, the others get the same."""
        asked_at = time.monotonic()
        with self._lock:
            if self._seen_at < asked_at - LOOK_AGAIN_SECONDS:
                self._seen, self._seen_at = take(), time.monotonic()
            return self._seen


class Waiting:
    """The requests of a process that wait. Each has a place; there are so many."""

    def __init__(self, max_requests: int) -> None:
        self._places = threading.BoundedSemaphore(max_requests)
        self._lock = threading.Lock()
        self._watches: dict[tuple[str, int], _Watch] = {}

    def until_settled(
        self,
        whose: tuple[str, int],
        take: Callable[[], Json],
        deadline: Deadline,
        is_gone: Callable[[], bool],
    ) -> Json:
        """Look until no function is PENDING or UPDATING, the deadline is over or nobody listens.

        Raises TooManyRequests when no place is free.
        """
        with self._place(), self._watch(whose) as watch:
            for _ in deadline.polls():
                seen = watch.look(take)
                if view.is_settled(seen) or is_gone():
                    break
            return seen

    @contextmanager
    def _place(self) -> Iterator[None]:
        if not self._places.acquire(blocking=False):
            raise TooManyRequests("No more requests can wait at the same time")
        try:
            yield
        finally:
            self._places.release()

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
