"""Finish or undo unfinished runtimes that no engine works on any more.

The rules stand in docs/reliability.md.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable

from provision_engine import log
from provision_engine.engine.context import Context
from provision_engine.engine.runtime import states
from provision_engine.engine.runtime.model import Phase, Runtime
from provision_engine.engine.safety import ending, intents, services, worker_identity
from provision_engine.engine.safety.locks import locked
from provision_engine.engine.time_limits import IN_PASSING_SECONDS
from provision_engine.errors import EngineError, Locked, NotFound


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
    return (not is_held or worker_identity.is_gone(runtime.worker)) and context.may_settle(runtime)


def partition(context: Context, runtimes: Iterable[Runtime]) -> tuple[list[Runtime], list[Runtime]]:
    """Return the abandoned runtimes, and those that are visible to their users.

    A runtime whose replacement is abandoned is both.
    """
    abandoned, visible = [], []
    for runtime in runtimes:
        is_visible = runtime.phase not in (Phase.DELETING, Phase.TAKEN)
        if is_abandoned(context, runtime):
            abandoned.append(runtime)
            is_visible = runtime.phase is Phase.REPLACING
        if is_visible:
            visible.append(runtime)
    return abandoned, visible


def resolve(context: Context, runtime_id: int, *, is_repeated: bool = False) -> Runtime | None:
    """Finish an abandoned runtime or undo it. Returns None when it is gone.

    A runtime that is still CREATING was in no response yet, so only a repetition of its create
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
            is_repeated_create = is_repeated and runtime.phase is Phase.CREATING
            if is_repeated_create and (finished := _finish(context, runtime)):
                return finished
            intents.remove(context, runtime, lock)
            return None
    except NotFound:
        return None


def _finish(context: Context, runtime: Runtime) -> Runtime | None:
    """Complete a runtime whose service is there with all its VMs. Returns None if it is not.

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
    complete = dataclasses.replace(runtime.with_vms(vm_ids), service_id=service.id)
    return context.runtimes.settle(complete)


def _is_handed_over(context: Context, runtime: Runtime) -> bool:
    """Return whether a later document of its owner holds the service of this standby."""
    later = context.runtimes.range(runtime.id + 1, whose=runtime.owner_id)
    return any(known.service_id == runtime.service_id for known in later)


def _resolve_replacement(context: Context, runtime: Runtime) -> Runtime:
    """Return the runtime with its new service if that is there, else without any.

    It stays as it is while its service may still appear.
    """
    if runtime.service_id is None and (finished := _finish(context, runtime)):
        return finished
    vm_ids = intents.end(context, runtime)
    if not vm_ids and intents.may_still_start(context, runtime):
        return runtime
    return context.runtimes.settle(runtime.without_service())


def resolve_all(context: Context, runtimes: Iterable[Runtime]) -> None:
    """Resolve those that are abandoned, as many as a moment allows."""
    _in_passing(context, runtimes, _resolve_abandoned)


def remove_expired(context: Context, expired: Iterable[Runtime]) -> None:
    """Remove the caller's runtimes that OpenNebula has ended, as many as a moment allows."""
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
                intents.remove(context, lock.runtime, lock)
    except (Locked, NotFound):
        log.engine.debug("Runtime %s is removed by another request", expired.id)


def _state(runtime: Runtime) -> tuple[object, ...]:
    return runtime.phase, runtime.service_id, runtime.lease_ends_at


def _in_passing(
    context: Context, runtimes: Iterable[Runtime], action: Callable[[Context, Runtime], None]
) -> None:
    limited = context.at_most(IN_PASSING_SECONDS)
    for runtime in runtimes:
        if limited.cloud.deadline.is_over:
            return
        try:
            action(limited, runtime)
        except EngineError as error:
            log.engine.warning("Runtime %s is not resolved yet: %s", runtime.id, error)
            return
