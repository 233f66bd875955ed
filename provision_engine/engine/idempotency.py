"""One runtime for one idempotency key, whoever creates it, wherever and however often."""

from __future__ import annotations

from contextlib import suppress

from provision_engine.deadline import Deadline
from provision_engine.engine import abandoned
from provision_engine.engine.context import Context
from provision_engine.engine.model import Phase, Runtime
from provision_engine.errors import Conflict, Locked, NotFound

PATIENCE_SHARE = 0.6
"""Of a request's time, for waiting until another request has created the same runtime."""


def find(context: Context, key: str, digest: str, before: int | None = None) -> Runtime | None:
    """The runtime created with a key: of several the oldest. Waits until it is there.

    Only documents with an id lower than ``before`` count, where that is given. Raises Conflict
    where it was created from another body, Locked while another request creates it.
    """
    patience = Deadline(context.cloud.deadline.remaining_seconds * PATIENCE_SHARE)
    for _ in patience.polls():
        oldest = _oldest(context, key, before)
        if oldest is None:
            return None
        if oldest.digest != digest:
            raise Conflict(f"Serverless runtime {oldest.id} was created with this key")
        if oldest.phase is not Phase.CREATING:
            return oldest
        if abandoned.is_abandoned(oldest, context.stale_seconds):
            with suppress(Locked):
                abandoned.resolve(context, oldest.id, is_wanted=True)
    raise Locked("Another request with this key is still creating the runtime")


def _oldest(context: Context, key: str, before: int | None) -> Runtime | None:
    owner, index = context.memory.cache.owner(context.cloud.credentials), context.memory.keys
    for runtime_id in index.candidates(owner, key, context.runtimes.range):
        if before is not None and runtime_id >= before:
            return None
        runtime = _living(context, runtime_id)
        if runtime is not None:
            return runtime
        index.forget(owner, key, runtime_id)
    return None


def _living(context: Context, runtime_id: int) -> Runtime | None:
    """None where the runtime has gone, or is on its way out: that is never undone."""
    try:
        runtime = context.runtimes.get(runtime_id)
    except NotFound:
        return None
    return None if runtime.phase in (Phase.DELETING, Phase.TAKEN) else runtime
