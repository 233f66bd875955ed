"""Unfinished runtimes that no engine works on any more, and what becomes of them.

The rules stand in docs/reliability.md.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable

from provision_engine import log
from provision_engine.engine.context import Context
from provision_engine.engine.runtime import states
from provision_engine.engine.runtime.model import Phase, Runtime
from provision_engine.engine.safety import ending, process, services
from provision_engine.engine.safety.locks import Lock, locked
from provision_engine.engine.time_limits import (
    IN_PASSING_SECONDS,
    MARK_LEAST_SECONDS,
    WITHDRAW_LEAST_SECONDS,
)
from provision_engine.errors import EngineError, Locked, NotFound

RECENT = 100
"""So many of the user's newest documents are searched for an intent whose response was lost."""


# ---- written first ------------------------------------------------------------------------------


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
    limited = context.with_deadline(context.cloud.deadline.at_least(WITHDRAW_LEAST_SECONDS))
    try:
        for runtime in limited.runtimes.newest(RECENT):
            is_same = (runtime.service_name, runtime.phase) == (intent.service_name, intent.phase)
            if is_same and runtime.created_at == intent.created_at:
                limited.runtimes.remove(runtime.id)
    except EngineError as error:
        log.engine.error("The intent %s may have been written: %s", intent.service_name, error)


def mark_for_removal(context: Context, runtime: Runtime) -> None:
    """Leave a runtime to a later request, as far as even that can be written down."""
    context = context.with_deadline(context.cloud.deadline.at_least(MARK_LEAST_SECONDS))
    try:
        context.runtimes.mark(runtime, Phase.DELETING)
    except EngineError as error:
        log.engine.error("Runtime %s could not be marked for removal: %s", runtime.id, error)


# ---- left by a dead engine ----------------------------------------------------------------------


def is_abandoned(context: Context, runtime: Runtime) -> bool:
    """Return whether a runtime is unfinished, no process works on it, and the caller may settle it.

    Its process has gone, where that can be told, or it was written longer ago than any request
    takes (or in the future, which no engine does). A runtime is deleted under its lock; but one
    whose service was never written down may still be started by an earlier call.
    """
    if not runtime.phase.is_unfinished:
        return False
    if runtime.phase is Phase.DELETING and runtime.service_id is not None:
        locked_at = runtime.locked_at
        is_held = locked_at is not None and context.now() - locked_at <= context.stale_seconds
    else:
        is_held = abs(context.now() - runtime.intended_at) <= context.stale_seconds
    return (not is_held or process.is_gone(runtime.worker)) and context.may_settle(runtime)


def partition(context: Context, runtimes: Iterable[Runtime]) -> tuple[list[Runtime], list[Runtime]]:
    """Those that a dead engine left unfinished, and those that their users can see.

    A runtime whose replacement was left is both.
    """
    abandoned, visible = [], []
    for runtime in runtimes:
        is_left = is_abandoned(context, runtime)
        if is_left:
            abandoned.append(runtime)
        is_its_users = runtime.phase is Phase.REPLACING or not is_left
        if is_its_users and runtime.phase not in (Phase.DELETING, Phase.TAKEN):
            visible.append(runtime)
    return abandoned, visible


def resolve(context: Context, runtime_id: int, *, is_repeated: bool = False) -> Runtime | None:
    """Finish an abandoned runtime or undo it; None when it is gone.

    Nobody was ever told of a runtime that is still CREATING, so only a repetition of its create
    (``is_repeated``) has it finished. One that is REPLACING is its user's: it stays, with or
    without a new service. Raises Locked where another request is at it.
    """
    try:
        with locked(context, runtime_id) as lock:
            runtime = lock.runtime
            # The lock is this request's own.
            unheld = dataclasses.replace(runtime, locked_at=None)
            if not is_abandoned(context, unheld):
                return None if runtime.phase is Phase.DELETING else runtime
            log.engine.warning("Resolving runtime %s, left %s", runtime.id, runtime.phase)
            if runtime.phase is Phase.REPLACING:
                return _resolve_replacement(context, runtime)
            if runtime.phase is Phase.TAKEN and _is_handed_over(context, runtime):
                context.runtimes.remove(runtime.id)
                lock.forget()
                return None
            is_wanted = is_repeated and runtime.phase is Phase.CREATING
            if is_wanted and (finished := _finish(context, runtime)):
                return finished
            remove(context, runtime, lock)
            return None
    except NotFound:
        return None


def remove(context: Context, runtime: Runtime, lock: Lock | None = None) -> frozenset[int]:
    """End what runs for a runtime, and then its document, with its lock; the ids of its VMs.

    The document stays, marked, while its service may still appear.
    """
    may_start = _may_still_start(context, runtime)
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


def _may_still_start(context: Context, runtime: Runtime) -> bool:
    """Whether oneflow may have the start of a service in its queue that a dead engine requested.

    The ticket for a lock is a document too, and never has a service.
    """
    is_unknown = runtime.service_id is None and bool(runtime.service_name)
    return is_unknown and abs(context.now() - runtime.intended_at) <= context.stale_seconds


def _finish(context: Context, runtime: Runtime) -> Runtime | None:
    """Complete a runtime whose service is there with all its VMs; None if it is not.

    The dead engine may have begun to end them: a service tells of that later than its VMs.
    """
    if runtime.service_id is not None and runtime.phase is Phase.CREATING:
        return None  # it was a standby, and may be half adapted
    holdings = context.holdings(runtime)
    found = services.find(holdings, runtime.service_name, newer_than=runtime.id)
    if len(found) != 1:
        return None
    service = found[0]
    if states.service_has_failed(service) or states.service_is_ending(service):
        return None
    vm_ids = services.assigned(runtime, states.vm_ids(service))
    known = [vm_id for vm_id in vm_ids.values() if vm_id is not None]
    staying = [vm for vm in ending.alive(holdings, known) if not states.is_ending(vm)]
    if len(staying) < len(vm_ids):
        return None
    return context.runtimes.complete(runtime, service.id, vm_ids)


def _is_handed_over(context: Context, runtime: Runtime) -> bool:
    """Whether a later document of its owner holds the service that this standby gave away."""
    later = context.runtimes.range(runtime.id + 1, whose=runtime.owner_id)
    return any(known.service_id == runtime.service_id for known in later)


def _resolve_replacement(context: Context, runtime: Runtime) -> Runtime:
    """The runtime with its new service if that is there, else without any.

    It stays as it is while its service may still appear.
    """
    if runtime.service_id is None and (finished := _finish(context, runtime)):
        return finished
    vm_ids = ending.end_runtime(context.holdings(runtime), runtime)
    if not vm_ids and _may_still_start(context, runtime):
        return runtime
    return context.runtimes.ready(runtime.without_service())


# ---- in passing ---------------------------------------------------------------------------------


def resolve_all(context: Context, runtimes: Iterable[Runtime]) -> None:
    """Resolve those that are abandoned, as many as a moment allows."""
    _in_passing(context, runtimes, _resolve_abandoned)


def remove_expired(context: Context, expired: Iterable[Runtime]) -> None:
    """Remove what is left of the caller's runtimes that OpenNebula has ended, as much as a moment
    allows.
    """
    _in_passing(context, expired, _remove_expired)


def _resolve_abandoned(context: Context, runtime: Runtime) -> None:
    if is_abandoned(context, runtime):
        resolve(context, runtime.id)


def _remove_expired(context: Context, expired: Runtime) -> None:
    """Remove a runtime unless its lease was renewed, or it was taken, before its lock was held."""
    if not context.may_settle(expired):
        return
    try:
        with locked(context, expired.id) as lock:
            if _state(lock.runtime) == _state(expired):
                remove(context, lock.runtime, lock)
    except (Locked, NotFound):
        log.engine.debug("Runtime %s is removed by another request", expired.id)


def _state(runtime: Runtime) -> tuple[object, ...]:
    return runtime.phase, runtime.service_id, runtime.lease_ends_at


def _in_passing(
    context: Context, runtimes: Iterable[Runtime], action: Callable[[Context, Runtime], None]
) -> None:
    limited = context.with_deadline(context.cloud.deadline.at_most(IN_PASSING_SECONDS))
    for runtime in runtimes:
        if limited.cloud.deadline.is_over:
            return
        try:
            action(limited, runtime)
        except EngineError as error:
            log.engine.warning("Runtime %s is not resolved yet: %s", runtime.id, error)
            return
