"""One change of a runtime at a time, over all engines: OpenNebula's document locks."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from provision_engine import log
from provision_engine.cloud.enums import DocumentType
from provision_engine.cloud.oned import Oned
from provision_engine.deadline import Deadline
from provision_engine.engine.context import Context
from provision_engine.engine.repository import Owned, readable, vms_calls
from provision_engine.engine.runtime.model import Phase, Runtime
from provision_engine.engine.safety import worker_identity
from provision_engine.engine.safety.ownership import owned_by
from provision_engine.engine.time_limits import UNLOCK_LEAST_SECONDS, UNLOCK_SECONDS
from provision_engine.errors import EngineError, Forbidden, Locked, NotFound

UNLOCK_SHARE = 0.9
"""Share of stale_seconds after which the holder no longer unlocks."""
LEAST_AGE_SECONDS = 2.0
"""OpenNebula tells a lock's time to the second: two locks within one cannot be told apart."""
TICKET = "takeover"


class RuntimeLock:
    """A runtime's lock that this request holds, and the runtime as it was read with it."""

    runtime: Runtime
    vms: Owned

    def __init__(self, context: Context, runtime_id: int) -> None:
        self._context, self._id = context, runtime_id
        self._release_by = Deadline(context.cloud.deadline.remaining_seconds + UNLOCK_SECONDS)
        self._stale_at = _uptime() + context.stale_seconds * UNLOCK_SHARE
        self._is_held = False

    def acquire(self) -> None:
        """Lock the runtime and read it with its VMs, in one request. Raises as ``locked`` does."""
        oned, runtimes = self._context.cloud.oned, self._context.runtimes
        calls = runtimes.read_calls(self._id)
        locking, *outcomes = oned.together(Oned.lock_document.call(self._id), *calls)
        if (since := locking.get()) is not None:
            runtime = runtimes.from_outcome(self._id, outcomes[0])
            if not _take_over_stale(self._context, runtime, since):
                raise Locked(f"Serverless runtime {self._id} is locked by another change")
        self._is_held = True
        if since is not None:
            outcomes = oned.together(*calls)
        self.runtime, self.vms = runtimes.from_outcomes(self._id, calls, outcomes)

    def release(self) -> None:
        """Give the lock back if it is held. Raises no EngineError."""
        if not self._is_held:
            return
        if self._is_stale():
            log.engine.error("Runtime %s was locked for too long: the lock stays", self._id)
            return
        until = self._release_by.at_least(UNLOCK_LEAST_SECONDS).at_most(UNLOCK_SECONDS)
        try:
            self._context.cloud.with_deadline(until).oned.unlock_document(self._id)
        except NotFound:
            pass
        except EngineError as error:
            log.engine.error("The lock of runtime %s stays until it is stale: %s", self._id, error)

    def release_and_read(self, runtime: Runtime) -> Owned | None:
        """Return the VMs of the runtime as it is now and give the lock back, in one request.

        Returns None where that cannot be one request, or failed: then the change is done all the
        same. The lock goes last and soon: a late repetition could break that of another engine.
        """
        calls = vms_calls(runtime)
        if not calls or self._is_stale():
            return None
        cloud = self._context.cloud
        limited = cloud.with_deadline(cloud.deadline.at_most(UNLOCK_SECONDS))
        unlocking = Oned.unlock_document.call(self._id)
        vms, unlocked = limited.oned.together(*calls, unlocking)
        self._is_held = unlocked.error is not None
        if self._is_held or vms.error is not None:
            return None
        return owned_by(runtime.owner_id, vms.get().values())

    def forget(self) -> None:
        """Note that the document was deleted, and its lock with it."""
        self._is_held = False

    def _is_stale(self) -> bool:
        """Return whether it was held for so long that another engine may have taken it over."""
        return _uptime() >= self._stale_at


@contextmanager
def locked(context: Context, runtime_id: int) -> Iterator[RuntimeLock]:
    """Hold a runtime's lock. Raises Locked where another change holds it, NotFound.

    A lock left by a dead engine is taken over: at once if its process ran on this host, else when
    the lock is older than ``lock.stale_seconds``. A holder that slept for so long does not give it
    back: another engine may hold it by now.
    """
    lock = RuntimeLock(context, runtime_id)
    try:
        lock.acquire()
        yield lock
    finally:
        lock.release()


def _uptime() -> float:
    """Return seconds that also count while the machine sleeps, whatever its clock is set to."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def _take_over_stale(context: Context, runtime: Runtime, since: int) -> bool:
    """Take over a lock if a dead engine left it. Returns whether this request holds it now."""
    age_seconds = context.now() - since
    if age_seconds < LEAST_AGE_SECONDS:
        return False
    # Whether the process that took this very lock does not exist any more.
    is_gone = runtime.claimed_at == since and worker_identity.is_gone(runtime.worker)
    if age_seconds <= context.stale_seconds and not is_gone:
        return False
    try:
        return _take_over(context, runtime, since)
    except Forbidden:  # of another user's runtime: its owner will
        return False


def _take_over(context: Context, runtime: Runtime, since: int) -> bool:
    """Break a lock left by a dead engine. Of several engines that see it, one at most does.

    OpenNebula cannot exchange a lock in one step, so that the second engine would break the
    fresh lock of the first. An engine that wants to break one therefore draws a ticket before it
    looks again: a document of the runtime's owner that never lives long; the lowest id wins.
    """
    oned, name, now = context.cloud.oned, f"{TICKET}-{runtime.id}-{since}", int(context.now())
    # A DELETING document: a later request removes it once it is stale.
    drawn = Runtime(-1, name, {}, phase=Phase.DELETING, created_at=now, intended_at=now)
    ticket = context.runtimes.add(drawn).id
    try:
        if runtime.owner_id != context.user().id:
            oned.chown_document(ticket, runtime.owner_id)
        if _first_ticket(context, name, ticket, runtime) != ticket:
            return False
        again = oned.lock_document(runtime.id)
        if again != since:
            return again is None
        log.engine.warning("Taking over the lock of runtime %s, held since %s", runtime.id, since)
        oned.unlock_document(runtime.id)
        return oned.lock_document(runtime.id) is None
    finally:
        try:
            context.runtimes.remove(ticket)
        except EngineError as error:
            log.engine.warning("Ticket %s stays until a request removes it: %s", ticket, error)


def _first_ticket(context: Context, name: str, ticket: int, runtime: Runtime) -> int:
    """Return the lowest ticket of that name and of the runtime's owner; ignore dead engines'."""
    documents = context.cloud.oned.documents(
        DocumentType.RUNTIME, runtime.owner_id, first_id=runtime.id + 1, last_id=ticket
    )
    tickets = readable(document for document in documents if document.name == name)
    valid = [
        t.id
        for t in tickets
        if abs(context.now() - t.created_at) <= context.stale_seconds
        and not worker_identity.is_gone(t.worker)
    ]
    return min(valid, default=-1)
