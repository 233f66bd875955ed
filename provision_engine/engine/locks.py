"""One change of a runtime at a time, over all engines: OpenNebula's document locks."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager

from provision_engine import log
from provision_engine.cloud.client import CloudClient
from provision_engine.errors import ActionRefused, EngineError, Locked, NotFound

UNLOCK_SECONDS = 1.0
TAKEOVER_SPREAD_SECONDS = 0.2


@contextmanager
def locked(cloud: CloudClient, runtime_id: int, stale_seconds: float) -> Iterator[None]:
    """Hold a runtime's lock. Raises Locked where another change holds it, NotFound.

    A lock older than ``stale_seconds`` was left by an engine that died, and is taken over.
    """
    _lock(cloud, runtime_id, stale_seconds)
    try:
        yield
    finally:
        _unlock(cloud.until(cloud.deadline.at_least(UNLOCK_SECONDS)), runtime_id)


def _lock(cloud: CloudClient, runtime_id: int, stale_seconds: float) -> None:
    if (since := _try_lock(cloud, runtime_id)) is None:
        return
    if time.time() - since > stale_seconds:
        # Engines that find the same stale lock must not all break it: whoever looks again
        # after a random moment sees the fresh lock of the first.
        time.sleep(random.uniform(0, TAKEOVER_SPREAD_SECONDS))
        if (again := _try_lock(cloud, runtime_id)) is None:
            return
        if again == since:
            log.engine.warning(
                "Taking over the lock of runtime %s, held since %s", runtime_id, since
            )
            cloud.oned.unlock_document(runtime_id)
            if _try_lock(cloud, runtime_id) is None:
                return
    raise Locked(f"Another update holds serverless runtime {runtime_id}")


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
