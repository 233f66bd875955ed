"""Time: a clock that can be driven by hand, and the agenda of what is due when.

Nothing in the sandbox sleeps or polls to make a VM boot. Each step of a life is an entry of the
agenda; whoever looks at the store first lets everything happen that has become due, in order and
with the time at which it was due. So the stamps are right however late somebody looks.
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
    """A clock that stands still until it is told to move; for the replay and for tests."""

    def __init__(self, start_seconds: float = 1_700_000_000.0) -> None:
        self._now = start_seconds
        self._guard = threading.Lock()

    def now(self) -> float:
        """The time that was set last."""
        return self._now

    def advance(self, seconds: float) -> None:
        """Moves the clock on; a negative number is refused, time has one direction."""
        if seconds < 0:
            raise ValueError("a clock cannot run backwards")
        with self._guard:
            self._now += seconds


class Entry(NamedTuple):
    """Something that happens at a time: the name of a step and the ids it is about."""

    due: float
    order: int
    step: str
    ids: tuple[int, ...]


class Agenda:
    """What is due when; entries of the same time keep the order in which they came."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self._entries: list[Entry] = []
        self._order = itertools.count()
        self._moment: float | None = None

    def now(self) -> float:
        """The time of the entry being carried out, else the clock's."""
        return self.clock.now() if self._moment is None else self._moment

    def seconds(self) -> int:
        """The same in whole seconds, as OpenNebula stamps things."""
        return int(self.now())

    def put(self, delay_seconds: float, step: str, *ids: int) -> None:
        """Something to happen after a delay."""
        self.put_at(self.now() + delay_seconds, step, *ids)

    def put_at(self, due: float, step: str, *ids: int) -> None:
        """Something to happen at a time."""
        heapq.heappush(self._entries, Entry(due, next(self._order), step, ids))

    def take_due(self) -> Entry | None:
        """The next entry whose time has come; `now` is its time until `rest` is called."""
        if self._entries and self._entries[0].due <= self.clock.now():
            entry = heapq.heappop(self._entries)
            self._moment = entry.due
            return entry
        return None

    def rest(self) -> None:
        """All due entries are done: `now` is the clock's time again."""
        self._moment = None

    def entries(self) -> list[Entry]:
        """What is still to come, soonest first."""
        return sorted(self._entries)

    def replace(self, entries: list[Entry]) -> None:
        """Takes over the agenda of another store, when a state is loaded."""
        self._entries = sorted(entries)
        self._order = itertools.count(max((e.order for e in entries), default=0) + 1)
