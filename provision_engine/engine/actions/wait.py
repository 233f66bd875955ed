"""Waiting for runtimes: requests that wait for the same one in a process share its snapshots."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from provision_engine.deadline import LONGEST_PAUSE_SECONDS, Deadline, pause_seconds
from provision_engine.engine.actions import read
from provision_engine.engine.context import Context
from provision_engine.engine.runtime.snapshot import Snapshot
from provision_engine.engine.runtime.states import State

IsDone = Callable[[Snapshot], bool]


def is_settled(snapshot: Snapshot) -> bool:
    """Whether no function is on its way to another state."""
    return snapshot.is_settled


def is_suspended(snapshot: Snapshot) -> bool:
    """Whether a suspension has an outcome: VMs still run for a moment after it was accepted."""
    return snapshot.states <= {State.SUSPENDED, State.ERROR}


def is_resumed(snapshot: Snapshot) -> bool:
    """Whether a resume has an outcome."""
    return snapshot.states <= {State.RUNNING, State.ERROR}


class IsRecovered:
    """Whether a recovery has an outcome: all runs again, or something failed once more."""

    def __init__(self) -> None:
        self._was_moving = False

    def __call__(self, snapshot: Snapshot) -> bool:
        has_failed_again = self._was_moving and State.ERROR in snapshot.states
        self._was_moving |= not snapshot.is_settled
        return snapshot.states == {State.RUNNING} or has_failed_again


class _Watch:
    """One runtime that requests wait for, and its latest snapshot.

    One of them takes snapshots at growing intervals; the others are shown what it has seen. When
    it leaves, the next of them goes on.
    """

    def __init__(self) -> None:
        self.waiting = 0
        self._news = threading.Condition()
        self._is_looked_at = False
        self._seen: Snapshot | None = None
        self._seen_at = self._newest_at = float("-inf")

    def until(
        self,
        is_done: IsDone,
        take: Callable[[], Snapshot],
        deadline: Deadline,
        is_gone: Callable[[], bool],
    ) -> Snapshot | None:
        """The snapshot at the end of the wait, never older than the request."""
        asked_at = self._join()
        while True:
            seen = self._look(take, asked_at)
            if seen is not None and (is_done(seen) or deadline.is_over):
                return seen
            if is_gone():
                return seen
            self._pause(deadline, asked_at)

    def _join(self) -> float:
        with self._news:
            # After a change the runtime is to be looked at now, not at the next interval.
            self._newest_at = time.monotonic()
            self._news.notify_all()
            return self._newest_at

    def _look(self, take: Callable[[], Snapshot], asked_at: float) -> Snapshot | None:
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

    def _tell(self, seen: Snapshot | None, begun_at: float) -> None:
        with self._news:
            self._is_looked_at = False
            if seen is not None:
                self._seen, self._seen_at = seen, begun_at
            self._news.notify_all()

    def _is_due(self) -> bool:
        return self._due_in_seconds() <= 0

    def _due_in_seconds(self) -> float:
        """Until the next look: at once for a request that came after the last one."""
        now = time.monotonic()
        if self._seen_at < self._newest_at:
            return 0.0
        return self._seen_at + pause_seconds(now - self._newest_at) - now

    def _pause(self, deadline: Deadline, asked_at: float) -> None:
        """Until there is something to do: a look, news of somebody's look, or the deadline."""
        with self._news:
            pause = LONGEST_PAUSE_SECONDS if self._is_looked_at else self._due_in_seconds()
            if self._seen_at >= asked_at:
                pause = min(pause, deadline.remaining_seconds)
            if pause > 0:
                self._news.wait(pause)


class Waiting:
    """The requests of a process that wait."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._watches: dict[tuple[str, int], _Watch] = {}

    def until(
        self,
        is_done: IsDone,
        context: Context,
        runtime_id: int,
        seconds: float,
        is_gone: Callable[[], bool] = lambda: False,
    ) -> Snapshot | None:
        """Take snapshots until ``is_done`` says so, the seconds are over or nobody listens.

        The same caller's requests share the snapshots. Raises what reading a runtime raises; None
        where nobody listened before anything was seen.
        """
        deadline = Deadline(seconds)
        patient = context.until(Deadline(seconds + context.configuration.timeout_seconds))
        with self._watch((context.cloud.credentials.session, runtime_id)) as watch:
            return watch.until(
                is_done, lambda: read.get_runtime(patient, runtime_id), deadline, is_gone
            )

    @contextmanager
    def _watch(self, key: tuple[str, int]) -> Iterator[_Watch]:
        with self._lock:
            watch = self._watches.setdefault(key, _Watch())
            watch.waiting += 1
        try:
            yield watch
        finally:
            with self._lock:
                watch.waiting -= 1
                if not watch.waiting:
                    self._watches.pop(key, None)
