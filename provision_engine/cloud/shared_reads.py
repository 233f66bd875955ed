"""Reads of one user that wait for each other travel in one multicall.

The rule: a read uses only responses to calls that were sent after it arrived. The first read of a
user leads and goes at once. Those that arrive meanwhile gather, and the next one to lead takes all
of them along, each with its own calls and its own outcomes.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from provision_engine.cloud.oned import Call, Outcome
from provision_engine.deadline import Deadline
from provision_engine.errors import (
    BackendTimeout,
    BackendUnreachable,
    BadGateway,
    TooManyRequests,
)

MAX_READS = 64
"""How many reads travel together at most."""
WAIT_SECONDS = 0.1
"""How long a read waits for the one that leads; then it leads as well: a call may be stuck."""


SHARED_TIME = 0.5
"""The part of a read's time for travelling together; the rest is for its own calls."""
NOT_ITS_OWN = (BackendTimeout, BackendUnreachable, BadGateway, TooManyRequests)
"""Failures of a whole multicall: each read then makes its own calls."""

Send = Callable[[Sequence[Call[Any]], Deadline], list[Outcome[Any]]]


@dataclass(eq=False)
class _Read:
    calls: Sequence[Call[Any]]
    outcomes: list[Outcome[Any]] = field(default_factory=list)
    is_taken: bool = False
    news: threading.Event = field(default_factory=threading.Event)
    """Set when it may lead, and when the read that took it along has its outcomes."""


@dataclass
class _User:
    leaders: int = 0
    gathered: list[_Read] = field(default_factory=list)


class SharedReads:
    """The reads of a process that are in flight, by login. Safe for threads."""

    def __init__(self, wait_seconds: float = WAIT_SECONDS) -> None:
        self._wait_seconds = wait_seconds
        self._lock = threading.Lock()
        self._users: dict[str, _User] = {}

    def send(
        self, session: str, send: Send, deadline: Deadline, calls: Sequence[Call[Any]]
    ) -> list[Outcome[Any]]:
        """Make a read's calls, perhaps with those of others. Returns their outcomes."""
        read, limited = _Read(calls), Deadline(deadline.remaining_seconds * SHARED_TIME)
        group = self._join(session, read, limited)
        try:
            if len(group) == 1:
                return send(calls, deadline)
            if group:
                outcomes = iter(send([call for each in group for call in each.calls], limited))
                for member in group:
                    member.outcomes = list(itertools.islice(outcomes, len(member.calls)))
        finally:
            if group:
                self._leave(session, group)
        has_failed = any(isinstance(outcome.error, NOT_ITS_OWN) for outcome in read.outcomes)
        return send(calls, deadline) if has_failed or not read.outcomes else read.outcomes

    def _join(self, session: str, read: _Read, limited: Deadline) -> list[_Read]:
        """Return the reads that this one leads, or none where another has taken it along."""
        with self._lock:
            user = self._users.setdefault(session, _User())
            user.gathered.append(read)
            if not user.leaders:
                return self._lead(user, read)
        read.news.wait(min(self._wait_seconds, limited.remaining_seconds))
        with self._lock:
            if not read.is_taken:
                return self._lead(user, read)
        read.news.wait(limited.remaining_seconds)
        return []

    def _lead(self, user: _User, read: _Read) -> list[_Read]:
        user.leaders += 1
        user.gathered.remove(read)
        others = MAX_READS - 1
        group, user.gathered = [read, *user.gathered[:others]], user.gathered[others:]
        for member in group:
            member.is_taken = True
            member.news.clear()
        return group

    def _leave(self, session: str, group: Sequence[_Read]) -> None:
        """Let the members of a group go on, and the next read lead."""
        for member in group:
            member.news.set()
        with self._lock:
            user = self._users[session]
            user.leaders -= 1
            if user.gathered:
                user.gathered[0].news.set()
            elif not user.leaders:
                del self._users[session]
