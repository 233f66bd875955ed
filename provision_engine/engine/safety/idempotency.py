"""One runtime for one idempotency key, whoever creates it, wherever and however often."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, suppress

from provision_engine.deadline import Deadline
from provision_engine.engine.context import Context
from provision_engine.engine.runtime.model import Phase, Runtime
from provision_engine.engine.safety import unfinished
from provision_engine.engine.time_limits import PATIENCE_SHARE
from provision_engine.errors import Conflict, Locked, NotFound

Slot = Callable[[], AbstractContextManager[object]]
"""Makes the context in which a request does what only so many may do at once."""


class OtherCreateIsFirst(Exception):
    """Another request with the same key wrote its document first: this one creates nothing."""


def find(context: Context, key: str, digest: str, slot: Slot) -> Runtime | None:
    """Return the runtime created with a key: of several the oldest. Waits until it is there.

    ``slot`` is held while it waits. Raises Conflict where it was created from another body, Locked
    while another request creates it.
    """
    patience = Deadline(context.cloud.deadline.remaining_seconds * PATIENCE_SHARE)
    with ExitStack() as stack:
        for polls in patience.polls():
            if polls == 1:
                stack.enter_context(slot())
            oldest = _oldest(context, key)
            if oldest is None:
                return None
            if oldest.digest != digest:
                raise Conflict(f"Serverless runtime {oldest.id} was created with this key")
            if oldest.phase is not Phase.CREATING:
                return oldest
            if unfinished.is_abandoned(context, oldest):
                with suppress(Locked):
                    unfinished.resolve(context, oldest.id, is_wanted=True)
    raise Locked("Another request with this key is still creating the runtime")


def check_first(context: Context, runtime: Runtime) -> None:
    """Raise OtherCreateIsFirst where a document with the same key has a lower id."""
    if runtime.key and _oldest(context, runtime.key, runtime.id) is not None:
        raise OtherCreateIsFirst(runtime.key)


def _oldest(context: Context, key: str, before: int | None = None) -> Runtime | None:
    owner, index = context.user().id, context.memory.keys
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
