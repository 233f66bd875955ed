"""Reads of one user that arrive while another is in flight share their calls to oned.

The rule: a read uses only responses to calls that were sent after it arrived. The first read of a
user leads: it makes its calls at once, alone. Those that arrive meanwhile gather, and the next one
to lead takes all of them along. Where a response is missing, a read makes its own calls, so that
its errors are its own.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from provision_engine.cloud.client import CloudClient
from provision_engine.cloud.shared import Responses
from provision_engine.deadline import Deadline

MAX_READS = 64
"""How many reads share their calls at most."""
PATIENCE_SECONDS = 0.1
"""How long a read waits for the one that leads; then it leads as well: a call may be stuck."""
SHARED_TIME = 0.5
"""The part of a read's time that it spends on sharing; the rest remains for its own calls."""


@dataclass(eq=False)
class _Read:
    """A read that has arrived."""

    runtime_id: int
    vm_ids: Sequence[int]
    """As far as they are known."""
    news: threading.Event = field(default_factory=threading.Event)
    """Set when it may lead, or when the read that has taken it along is done."""
    is_taken: bool = False
    responses: Responses | None = None


class _Reads:
    """The reads of one user that have arrived and are not taken along yet."""

    def __init__(self) -> None:
        self.leaders = 0
        self.gathered: list[_Read] = []

    def lead(self, read: _Read) -> list[_Read]:
        """The reads that go now: this one first, then those that wait longest."""
        others = [other for other in self.gathered if other is not read]
        group, self.gathered = [read, *others[: MAX_READS - 1]], others[MAX_READS - 1 :]
        for member in group:
            member.is_taken = True
            member.news.clear()
        self.leaders += 1
        return group


class SharedReads:
    """The reads of a process that are in flight, by user and password. Safe for threads."""

    def __init__(self, max_leaders: int = 1, patience_seconds: float = PATIENCE_SECONDS) -> None:
        self._max_leaders, self._patience_seconds = max_leaders, patience_seconds
        self._lock = threading.Lock()
        self._users: dict[bytes, _Reads] = {}

    @contextmanager
    def reading(
        self, owner: bytes, cloud: CloudClient, runtime_id: int, vm_ids: Sequence[int]
    ) -> Iterator[CloudClient]:
        """The client for a read: its calls are being made, or have been, by it or by another."""
        read, patience = _Read(runtime_id, vm_ids), _share_of(cloud.deadline)
        group = self._join(owner, read, patience)
        if len(group) == 1:
            with self._leading(owner, group), cloud.reading_ahead(runtime_id, vm_ids):
                yield cloud
            return
        if group:
            with self._leading(owner, group):
                _read_for_all(cloud.until(patience), group)
        if read.responses is not None:
            yield cloud.answered(read.responses, runtime_id)
            return
        with cloud.reading_ahead(runtime_id, vm_ids):
            yield cloud

    def _join(self, owner: bytes, read: _Read, patience: Deadline) -> list[_Read]:
        """The reads that this one leads, itself first; none where another has taken it along."""
        with self._lock:
            user = self._users.setdefault(owner, _Reads())
            if user.leaders < self._max_leaders:
                return user.lead(read)
            user.gathered.append(read)
        read.news.wait(min(self._patience_seconds, patience.remaining_seconds))
        with self._lock:
            if not read.is_taken:
                return user.lead(read)
        read.news.wait(patience.remaining_seconds)
        return []

    @contextmanager
    def _leading(self, owner: bytes, group: Sequence[_Read]) -> Iterator[None]:
        """Afterwards, also after a failure, the group goes on and the next read may lead."""
        try:
            yield
        finally:
            for follower in group[1:]:
                follower.news.set()
            self._leave(owner)

    def _leave(self, owner: bytes) -> None:
        with self._lock:
            user = self._users[owner]
            user.leaders -= 1
            if user.gathered:
                user.gathered[0].news.set()
            elif not user.leaders:
                del self._users[owner]


def _share_of(deadline: Deadline) -> Deadline:
    return Deadline(deadline.remaining_seconds * SHARED_TIME)


def _read_for_all(cloud: CloudClient, group: Sequence[_Read]) -> None:
    responses = cloud.shared_responses(
        [read.runtime_id for read in group], [vm_id for read in group for vm_id in read.vm_ids]
    )
    for read in group:
        read.responses = responses
