"""Intents: the document that stands before anything is started, and after everything is ended.

A create writes its document first, so that what it starts can always be found. A delete marks the
document first, and removes it when nothing runs for it any more. A service is started whole or not
at all. Where that fails, a runtime that is CREATING is removed; one that is REPLACING stays, READY
without a service.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from contextlib import suppress

from provision_engine import log
from provision_engine.engine import time_limits
from provision_engine.engine.context import Context
from provision_engine.engine.plan import Plan
from provision_engine.engine.repository import readable
from provision_engine.engine.runtime.model import Phase, Runtime
from provision_engine.engine.safety import ending, lost, services
from provision_engine.engine.safety.locks import RuntimeLock
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
    limited = context.at_least(time_limits.WITHDRAW_LEAST_SECONDS)
    try:
        for runtime in readable(limited.runtimes.at(0, RECENT)):
            is_same = (runtime.service_name, runtime.phase) == (intent.service_name, intent.phase)
            if is_same and runtime.created_at == intent.created_at:
                limited.runtimes.remove(runtime.id)
    except EngineError as error:
        log.engine.error("The intent %s may have been written: %s", intent.service_name, error)


def start(
    context: Context,
    runtime: Runtime,
    planned: Plan,
    phase: Phase = Phase.READY,
    *,
    check: Callable[[], None] = lambda: None,
) -> Runtime:
    """Start a runtime's service and wait for its VMs. Returns the runtime as it is stored then.

    ``check`` may prevent the start. When this raises, what was started has been ended, or the
    document says that a later request has to: DELETING, or REPLACING as before.
    """
    may_have_started, service_id = False, None
    try:
        check()
        # A part of the request's time is reserved for undoing.
        remaining_seconds = context.cloud.deadline.remaining_seconds
        share_seconds = remaining_seconds * time_limits.RESERVED_SHARE
        reserved_seconds = min(time_limits.RESERVED_SECONDS, share_seconds)
        cloud = context.at_most(remaining_seconds - reserved_seconds).cloud
        may_have_started = True
        service_id = planned.start(cloud, runtime.service_name)
        vm_ids = services.wait_for_vms(cloud, service_id, planned.role_names)
        complete = dataclasses.replace(runtime.with_vms(vm_ids), service_id=service_id)
        return context.runtimes.settle(complete, phase)
    except BaseException as error:
        is_unsure = may_have_started and services.is_unsure(error)
        _undo(context, runtime, service_id, may_have_started=may_have_started, is_unsure=is_unsure)
        raise


def _undo(
    context: Context,
    runtime: Runtime,
    service_id: int | None,
    *,
    may_have_started: bool,
    is_unsure: bool,
) -> None:
    """End all that was started. What cannot be ended, or may still appear, a later request ends.

    That is written down first, since oneflow may end a service long after its response was given
    up. A create marks its document, which goes in the end. A replacement writes the id, since one
    whose service is known is never finished by a later request; the runtime stays, in ERROR.
    """
    if may_have_started:
        context.flavours.forget()
    is_replacement = runtime.phase is Phase.REPLACING
    limited = context.at_least(time_limits.UNDO_LEAST_SECONDS)
    holdings, runtimes = limited.holdings(runtime), limited.runtimes
    found: list[int] | None = [] if service_id is None else [service_id]
    try:
        if may_have_started and service_id is None:
            started = services.find_started(holdings, runtime, is_unsure=is_unsure)
            found = None if started is None else [service.id for service in started]
        if not is_replacement and found != []:
            runtimes.mark(runtime, Phase.DELETING)
        if found is None:
            return
        if is_replacement:
            for number in found:
                runtimes.save(dataclasses.replace(runtime, service_id=number))
        ending.end(holdings, found)
        if is_replacement:
            runtimes.settle(runtime)
            return
        runtimes.remove(runtime.id)
        if found:
            _wait_until_gone(limited, runtime)
    except EngineError as failure:
        if is_replacement:
            log.engine.error("The replacement of runtime %s is left: %s", runtime.id, failure)
        else:
            log.engine.error("Runtime %s is not undone yet: %s", runtime.id, failure)
            _mark_for_removal(context, runtime)


def _wait_until_gone(context: Context, runtime: Runtime) -> None:
    """Wait for oneflow to remove the service, a moment after its VMs."""
    holdings, name = context.holdings(runtime), runtime.service_name
    with suppress(EngineError):
        for _ in context.cloud.deadline.at_most(time_limits.GONE_SECONDS).polls():
            if not services.find(holdings, name, newer_than=runtime.id):
                return


def _mark_for_removal(context: Context, runtime: Runtime) -> None:
    """Leave a runtime to a later request, if even that can be written down."""
    context = context.at_least(time_limits.MARK_LEAST_SECONDS)
    try:
        context.runtimes.mark(runtime, Phase.DELETING)
    except EngineError as error:
        log.engine.error("Runtime %s could not be marked for removal: %s", runtime.id, error)


# ---- ending --------------------------------------------------------------------------------------


def remove(context: Context, runtime: Runtime, lock: RuntimeLock | None = None) -> frozenset[int]:
    """End what runs for a runtime, then delete its document and lock. Returns the ids of its VMs.

    The document stays, marked, while its service may still appear.
    """
    may_start = may_still_start(context, runtime)
    if runtime.phase is Phase.DELETING:
        runtime = context.runtimes.claim(runtime)
    else:
        runtime = context.runtimes.mark(runtime, Phase.DELETING)
    vm_ids = end(context, runtime)
    if vm_ids or not may_start:
        context.runtimes.remove(runtime.id)
        if lock is not None:
            lock.forget()
    return vm_ids


def end(context: Context, runtime: Runtime) -> frozenset[int]:
    """End what runs for a runtime, also where oneflow lost its service. Returns the VMs' ids."""
    holdings = context.holdings(runtime)
    vm_ids = ending.end_runtime(holdings, runtime)
    if vm_ids or runtime.service_id is not None or not runtime.service_name:
        return vm_ids
    return ending.end(holdings, [], lost.vms_of(context, runtime))


def may_still_start(context: Context, runtime: Runtime) -> bool:
    """Return whether oneflow may still start a service that a dead engine requested.

    The ticket for a lock is a document too, and never has a service.
    """
    is_unknown = runtime.service_id is None and bool(runtime.service_name)
    return is_unknown and abs(context.now() - runtime.intended_at) <= context.stale_seconds
