"""One change of a runtime at a time, over all engines: OpenNebula's document locks."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager

from provision_engine import log
from provision_engine.cloud import template
from provision_engine.cloud.client import CloudClient
from provision_engine.cloud.oned import USABLE_BY_ME
from provision_engine.deadline import Deadline
from provision_engine.engine.document import RUNTIME_TYPE, Phase, Runtime
from provision_engine.errors import ActionRefused, EngineError, Locked, NotFound

UNLOCK_SECONDS = 0.8
"""What giving a lock back may take beyond the request's own time."""
LEAST_UNLOCK_SECONDS = 0.1
TICKET = "takeover"


@contextmanager
def locked(cloud: CloudClient, runtime_id: int, stale_seconds: float) -> Iterator[None]:
    """Hold a runtime's lock. Raises Locked where another change holds it, NotFound.

    A lock older than ``stale_seconds`` was left by an engine that died, and is taken over.
    """
    given_back_by = Deadline(cloud.deadline.remaining_seconds + UNLOCK_SECONDS)
    _lock(cloud, runtime_id, stale_seconds)
    try:
        yield
    finally:
        until = given_back_by.at_least(LEAST_UNLOCK_SECONDS).at_most(UNLOCK_SECONDS)
        _unlock(cloud.until(until), runtime_id)


def _lock(cloud: CloudClient, runtime_id: int, stale_seconds: float) -> None:
    since = _try_lock(cloud, runtime_id)
    if since is None:
        return
    is_stale = time.time() - since > stale_seconds
    if not (is_stale and _take_over(cloud, runtime_id, since, stale_seconds)):
        raise Locked(f"Another update holds serverless runtime {runtime_id}")


def _take_over(cloud: CloudClient, runtime_id: int, since: int, stale_seconds: float) -> bool:
    """Break a lock that a dead engine left. Of several engines that see it, one at most does.

    OpenNebula cannot exchange a lock in one step, so that the second engine would break the
    fresh lock of the first. Who wants to break one therefore draws a ticket before it looks
    again: a document that never lives long, of which the lowest id wins.
    """
    name = f"{TICKET}-{runtime_id}-{since}"
    ticket = _draw_ticket(cloud, name)
    try:
        if _first_ticket(cloud, name, stale_seconds) != ticket:
            return False
        again = _try_lock(cloud, runtime_id)
        if again != since:
            return again is None
        log.engine.warning("Taking over the lock of runtime %s, held since %s", runtime_id, since)
        cloud.oned.unlock_document(runtime_id)
        return _try_lock(cloud, runtime_id) is None
    finally:
        _give_up(cloud, ticket)


def _draw_ticket(cloud: CloudClient, name: str) -> int:
    """A document that tidies itself up: whoever meets it when it is old removes it."""
    ours = {"PHASE": Phase.DELETING, "CREATED_AT": int(time.time())}
    body = json.dumps({"ENGINE": ours})
    return cloud.oned.allocate_document(template.document(name, body), RUNTIME_TYPE)


def _first_ticket(cloud: CloudClient, name: str, stale_seconds: float) -> int:
    """The lowest ticket of that name which no dead engine left."""
    documents = cloud.oned.documents(RUNTIME_TYPE, USABLE_BY_ME)
    tickets = [Runtime.of(document) for document in documents if document.name == name]
    living = [t for t in tickets if time.time() - t.created_at <= stale_seconds]
    return min((t.id for t in living if t.phase is Phase.DELETING), default=-1)


def _give_up(cloud: CloudClient, ticket: int) -> None:
    try:
        cloud.oned.delete_document(ticket)
    except EngineError as error:
        log.engine.warning("Ticket %s stays until it is met again: %s", ticket, error)


def _try_lock(cloud: CloudClient, runtime_id: int) -> int | None:
    """Lock, or tell since when (Unix time) it has been locked."""
    try:
        cloud.oned.lock_document(runtime_id)
    except ActionRefused as refusal:
        # The refusal's text ends with the time: "[one.document.lock] 1795486136".
        found = re.search(r"(\d+)\s*$", str(refusal.message))
        return int(found[1]) if found else int(time.time())
    return None


def _unlock(cloud: CloudClient, runtime_id: int) -> None:
    try:
        cloud.oned.unlock_document(runtime_id)
    except NotFound:
        pass
    except EngineError as error:
        log.engine.error("The lock of runtime %s stays until it is stale: %s", runtime_id, error)
