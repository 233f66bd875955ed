"""One runtime for one idempotency key, however often and on whatever engine it is created."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, suppress

from provision_engine.deadline import Deadline
from provision_engine.engine.context import Context
from provision_engine.engine.memory import KeyIndex
from provision_engine.engine.runtime.model import Phase, Runtime
from provision_engine.engine.safety import abandoned
from provision_engine.engine.time_limits import WAIT_SHARE
from provision_engine.errors import Conflict, Locked, NotFound

Slot = Callable[[], AbstractContextManager[object]]
"""Make the context in which a request does something that is limited in number."""


class OtherCreateIsFirst(Exception):
    """Another request with the same key wrote its document first: this one creates nothing."""


def find(context: Context, key: str, digest: str, slot: Slot) -> Runtime | None:
    """Return the runtime created with a key: of several the oldest. Waits until it is there.

    ``slot`` is held while it waits. Raises Conflict where it was created from another body, Locked
    while another request creates it.
    """
    waiting = Deadline(context.cloud.deadline.remaining_seconds * WAIT_SHARE)
    with ExitStack() as stack:
        for polls in waiting.polls():
            if polls == 1:
                stack.enter_context(slot())
            oldest = _oldest(context, key)
            if oldest is None:
                return None
            if oldest.digest != digest:
                raise Conflict(f"Serverless runtime {oldest.id} was created with this key")
            if oldest.phase is not Phase.CREATING:
                return oldest
            if abandoned.is_abandoned(context, oldest):
                with suppress(Locked):
                    abandoned.resolve(context, oldest.id, is_repeated=True)
    raise Locked("Another request with this key is still creating the runtime")


def check_first(context: Context, runtime: Runtime) -> None:
    """Raise OtherCreateIsFirst where a document with the same key has a lower id."""
    if runtime.key and _oldest(context, runtime.key, runtime.id) is not None:
        raise OtherCreateIsFirst(runtime.key)


def candidates(context: Context, key: str) -> list[int]:
    """Return the ids of the caller's documents that were written with a key, in their order."""
    return _index(context).candidates(key, context.runtimes.range)


def forget(context: Context, key: str, runtime_id: int) -> None:
    """Do not look again at a document of the caller that has gone."""
    _index(context).forget(key, runtime_id)


def _index(context: Context) -> KeyIndex:
    context.user()  # once it is known, what is remembered of it stays
    return context.remembered.keys


def _oldest(context: Context, key: str, before: int | None = None) -> Runtime | None:
    """Return the oldest visible runtime with a key; None where none is older than ``before``."""
    for runtime_id in candidates(context, key):
        if before is not None and runtime_id >= before:
            return None
        with suppress(NotFound):
            runtime = context.runtimes.get(runtime_id)
            if runtime.phase not in (Phase.DELETING, Phase.TAKEN):
                return runtime
        forget(context, key, runtime_id)  # it has gone, or is being deleted, which is final
    return None
