"""Reads of one user that wait for each other travel in one multicall.

The rule: a read uses only responses to calls that were sent after it arrived. The first reads of a
user lead and go at once. Those that arrive meanwhile gather, and the next one to lead takes all of
them along, each with its own calls and its own outcomes.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
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

LEADERS = 2
"""How many multicalls a user has in flight: oned works on one while another's response is read."""
MAX_READS = 64
"""How many reads travel together at most."""
WAIT_SECONDS = 0.1
"""How long a read waits for those that lead; then it leads as well: a call may be stuck."""
SHARED_TIME = 0.5
"""The part of a read's time for travelling together; the rest is for its own calls."""
NOT_ITS_OWN = (BackendTimeout, BackendUnreachable, BadGateway, TooManyRequests)
"""Failures of a whole multicall: each read then makes its own calls."""

Send = Callable[[Sequence[Call[Any]], Deadline], list[Outcome[Any]]]


@dataclass(eq=False)
class _Read:
    calls: Sequence[Call[Any]]
    outcomes: list[Outcome[Any]] = field(default_factory=list)
    is_over: bool = False
    """Whether the read that took it along has ended, with outcomes or without."""


class _User:
    def __init__(self, lock: threading.Lock) -> None:
        self.changed = threading.Condition(lock)
        self.leading = 0
        self.gathered: list[_Read] = []


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
        with self._in_turn(session, read, limited) as group:
            if len(group) == 1:
                return send(calls, deadline)
            if group:
                outcomes = iter(send([call for each in group for call in each.calls], limited))
                for member in group:
                    member.outcomes = list(itertools.islice(outcomes, len(member.calls)))
        own = read.outcomes  # once: a late leader may still write them
        has_failed = any(isinstance(outcome.error, NOT_ITS_OWN) for outcome in own)
        return send(calls, deadline) if has_failed or not own else own

    @contextmanager
    def _in_turn(self, session: str, read: _Read, limited: Deadline) -> Iterator[list[_Read]]:
        """Wait until a read leads, or the one that took it along has ended.

        Yields the reads that it leads, itself first, or none.
        """
        with self._lock:
            user = self._users.setdefault(session, _User(self._lock))
            user.gathered.append(read)
            patience = min(self._wait_seconds, limited.remaining_seconds)
            user.changed.wait_for(
                lambda: user.leading < LEADERS or read not in user.gathered, patience
            )
            group: list[_Read] = []
            if read in user.gathered:
                user.leading += 1
                user.gathered.remove(read)
                group = [read, *user.gathered[: MAX_READS - 1]]
                del user.gathered[: MAX_READS - 1]
            else:
                user.changed.wait_for(lambda: read.is_over, limited.remaining_seconds)
        try:
            yield group
        finally:
            if group:
                self._end(session, user, group)

    def _end(self, session: str, user: _User, group: list[_Read]) -> None:
        with self._lock:
            user.leading -= 1
            for member in group:
                member.is_over = True
            if not user.leading and not user.gathered:
                del self._users[session]
            user.changed.notify_all()
