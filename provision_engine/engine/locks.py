"""One change of a runtime at a time, over all engines: OpenNebula's document locks."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager

from provision_engine import log
from provision_engine.cloud import template
from provision_engine.cloud.client import CloudClient
from provision_engine.cloud.enums import DocumentType
from provision_engine.cloud.oned import USABLE_BY_ME
from provision_engine.deadline import Deadline
from provision_engine.engine import process
from provision_engine.engine.document import to_runtime
from provision_engine.engine.model import Phase
from provision_engine.errors import EngineError, Locked, NotFound

UNLOCK_SECONDS = 0.8
"""What giving a lock back may take beyond the request's own time."""
LEAST_UNLOCK_SECONDS = 0.1
LEAST_AGE_SECONDS = 2.0
"""OpenNebula tells a lock's time to the second: two locks within one cannot be told apart."""
TICKET = "takeover"


@contextmanager
def locked(cloud: CloudClient, runtime_id: int, stale_seconds: float) -> Iterator[None]:
    """Hold a runtime's lock. Raises Locked where another change holds it, NotFound.

    A lock that an engine left which died is taken over: at once where that can be told, since the
    process ran on this host, else when the lock is older than ``stale_seconds``.
    """
    given_back_by = Deadline(cloud.deadline.remaining_seconds + UNLOCK_SECONDS)
    _lock(cloud, runtime_id, stale_seconds)
    try:
        yield
    finally:
        until = given_back_by.at_least(LEAST_UNLOCK_SECONDS).at_most(UNLOCK_SECONDS)
        _unlock(cloud.until(until), runtime_id)


def _lock(cloud: CloudClient, runtime_id: int, stale_seconds: float) -> None:
    since = cloud.oned.lock_document(runtime_id)
    if since is None:
        return
    is_stale = time.time() - since > stale_seconds or _holder_is_gone(cloud, runtime_id, since)
    if not (is_stale and _take_over(cloud, runtime_id, since, stale_seconds)):
        raise Locked(f"Another change holds serverless runtime {runtime_id}")


def _holder_is_gone(cloud: CloudClient, runtime_id: int, since: int) -> bool:
    """Whether the process that took this very lock does not exist any more."""
    if time.time() - since < LEAST_AGE_SECONDS:
        return False
    runtime = to_runtime(cloud.oned.document(runtime_id))
    return runtime.claimed_at == since and process.is_gone(runtime.worker)


def _take_over(cloud: CloudClient, runtime_id: int, since: int, stale_seconds: float) -> bool:
    """Break a lock that a dead engine left. Of several engines that see it, one at most does.

    OpenNebula cannot exchange a lock in one step, so that the second engine would break the
    fresh lock of the first. An engine that wants to break one therefore draws a ticket before it
    looks again: a document that never lives long, of which the lowest id wins.
    """
    name = f"{TICKET}-{runtime_id}-{since}"
    ticket = _draw_ticket(cloud, name)
    try:
        if _first_ticket(cloud, name, ticket, runtime_id, stale_seconds) != ticket:
            return False
        again = cloud.oned.lock_document(runtime_id)
        if again != since:
            return again is None
        log.engine.warning("Taking over the lock of runtime %s, held since %s", runtime_id, since)
        cloud.oned.unlock_document(runtime_id)
        return cloud.oned.lock_document(runtime_id) is None
    finally:
        _give_up(cloud, ticket)


def _draw_ticket(cloud: CloudClient, name: str) -> int:
    """A document that looks like an unfinished runtime: the next request that reads it when it
    is old removes it.
    """
    ours = {
        "PHASE": Phase.DELETING,
        "CREATED_AT": int(time.time()),
        "WORKER": process.identity(),
    }
    body = json.dumps({"ENGINE": ours})
    return cloud.oned.allocate_document(template.document(name, body), DocumentType.RUNTIME)


def _first_ticket(
    cloud: CloudClient, name: str, ticket: int, runtime_id: int, stale_seconds: float
) -> int:
    """The lowest ticket of that name which no dead engine left."""
    documents = cloud.oned.documents(
        DocumentType.RUNTIME, USABLE_BY_ME, first_id=runtime_id + 1, last_id=ticket
    )
    tickets = [to_runtime(document) for document in documents if document.name == name]
    living = [
        t.id
        for t in tickets
        if time.time() - t.created_at <= stale_seconds and not process.is_gone(t.worker)
    ]
    return min(living, default=-1)


def _give_up(cloud: CloudClient, ticket: int) -> None:
    try:
        cloud.oned.delete_document(ticket)
    except EngineError as error:
        log.engine.warning("Ticket %s stays until a request removes it: %s", ticket, error)


def _unlock(cloud: CloudClient, runtime_id: int) -> None:
    try:
        cloud.oned.unlock_document(runtime_id)
    except NotFound:
        pass
    except EngineError as error:
        log.engine.error("The lock of runtime %s stays until it is stale: %s", runtime_id, error)
