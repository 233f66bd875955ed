"""The clock, which tests can advance by hand, and the agenda of scheduled steps.

Nothing in the sandbox sleeps or polls to make a VM boot. Each step is an entry of the agenda. Every
access to the store first carries out all entries that have become due, in order and each with its
own due time as the current time, so timestamps are right however late the access is.
"""

from __future__ import annotations

import heapq
import itertools
import threading
import time
from typing import NamedTuple


class Clock:
    """Seconds since the epoch."""

    def now(self) -> float:
        """The real time."""
        return time.time()


class ManualClock(Clock):
    """A clock that moves only when it is advanced; for the replay and for tests."""

    def __init__(self, start_seconds: float = 1_700_000_000.0) -> None:
        self._now = start_seconds
        self._guard = threading.Lock()

    def now(self) -> float:
        """The start time plus all advances so far."""
        return self._now

    def advance(self, seconds: float) -> None:
        """Moves the clock forward. ValueError if `seconds` is negative."""
        if seconds < 0:
            raise ValueError("a clock cannot run backwards")
        with self._guard:
            self._now += seconds


class Entry(NamedTuple):
    """A scheduled step: its due time, its name and the ids it applies to."""

    due: float
    order: int
    step: str
    ids: tuple[int, ...]


class Agenda:
    """The scheduled steps, ordered by due time and then by insertion."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self._entries: list[Entry] = []
        self._order = itertools.count()
        self._moment: float | None = None

    def now(self) -> float:
        """The due time of the entry being carried out, or else the clock's time."""
        return self.clock.now() if self._moment is None else self._moment

    def seconds(self) -> int:
        """The same in whole seconds, as in OpenNebula's timestamps."""
        return int(self.now())

    def put(self, delay_seconds: float, step: str, *ids: int) -> None:
        """Schedules a step after a delay."""
        self.put_at(self.now() + delay_seconds, step, *ids)

    def put_at(self, due: float, step: str, *ids: int) -> None:
        """Schedules a step at a time, in seconds since the epoch."""
        heapq.heappush(self._entries, Entry(due, next(self._order), step, ids))

    def take_due(self) -> Entry | None:
        """The next due entry; `now` is its due time until `finish` is called."""
        if self._entries and self._entries[0].due <= self.clock.now():
            entry = heapq.heappop(self._entries)
            self._moment = entry.due
            return entry
        return None

    def finish(self) -> None:
        """Makes `now` the clock's time again, once all due entries are carried out."""
        self._moment = None
