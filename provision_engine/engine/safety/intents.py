"""Intents: the document that stands before anything is started, and after everything is ended.

A create writes its document first, so that what it starts can always be found. A delete marks the
document first, and removes it when nothing runs for it any more.
"""

from __future__ import annotations

from provision_engine import log
from provision_engine.engine.context import Context
from provision_engine.engine.runtime.model import Phase, Runtime
from provision_engine.engine.safety import ending, services
from provision_engine.engine.safety.locks import Lock
from provision_engine.engine.time_limits import MARK_LEAST_SECONDS, WITHDRAW_LEAST_SECONDS
from provision_engine.errors import EngineError

RECENT = 100
"""Number of the user's newest documents that are searched for an intent without a response."""


def write_intent(context: Context, intent: Runtime) -> Runtime:
    """Write a document before anything is started, which can always be found from it then.

    When this raises, there is no document, as far as that can be told.
    """
    try:
        return context.runtimes.add(intent)
    except services.UNSURE as error:
        if services.is_unsure(error):
            _withdraw(context, intent)
        raise


def _withdraw(context: Context, intent: Runtime) -> None:
    """Delete a document that may have been written, if that is possible."""
    limited = context.at_least(WITHDRAW_LEAST_SECONDS)
    try:
        for runtime in limited.runtimes.newest(RECENT):
            is_same = (runtime.service_name, runtime.phase) == (intent.service_name, intent.phase)
            if is_same and runtime.created_at == intent.created_at:
                limited.runtimes.remove(runtime.id)
    except EngineError as error:
        log.engine.error("The intent %s may have been written: %s", intent.service_name, error)


def mark_for_removal(context: Context, runtime: Runtime) -> None:
    """Leave a runtime to a later request, if even that can be written down."""
    context = context.at_least(MARK_LEAST_SECONDS)
    try:
        context.runtimes.mark(runtime, Phase.DELETING)
    except EngineError as error:
        log.engine.error("Runtime %s could not be marked for removal: %s", runtime.id, error)


def remove(context: Context, runtime: Runtime, lock: Lock | None = None) -> frozenset[int]:
    """End what runs for a runtime, then delete its document and lock. Returns the ids of its VMs.

    The document stays, marked, while its service may still appear.
    """
    may_start = may_still_start(context, runtime)
    if runtime.phase is Phase.DELETING:
        runtime = context.runtimes.claim(runtime)
    else:
        runtime = context.runtimes.mark(runtime, Phase.DELETING)
    vm_ids = ending.end_runtime(context.holdings(runtime), runtime)
    if vm_ids or not may_start:
        context.runtimes.remove(runtime.id)
        if lock is not None:
            lock.forget()
    return vm_ids


def may_still_start(context: Context, runtime: Runtime) -> bool:
    """Return whether oneflow may still start a service that a dead engine requested.

    The ticket for a lock is a document too, and never has a service.
    """
    is_unknown = runtime.service_id is None and bool(runtime.service_name)
    return is_unknown and abs(context.now() - runtime.intended_at) <= context.stale_seconds
