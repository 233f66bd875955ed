"""Starting the service of a runtime whose intent is written: all of it, or nothing.

A create, a standby and a replacement differ in what a failure leaves. A runtime that is CREATING
is removed. One that is REPLACING stays, READY without a service.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from contextlib import suppress

from provision_engine import log
from provision_engine.cloud.client import CloudClient
from provision_engine.cloud.objects import Service
from provision_engine.engine import time_limits
from provision_engine.engine.context import Context
from provision_engine.engine.plan import Plan
from provision_engine.engine.runtime.model import Phase, Runtime
from provision_engine.engine.safety import ending, intents, services
from provision_engine.errors import EngineError

UNFINISHED_TEXTS = {
    Phase.CREATING: "Runtime %s is not undone yet: %s",
    Phase.REPLACING: "The replacement of runtime %s is left: %s",
}


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
    may_have_started = False
    try:
        check()
        cloud = _with_reserve(context.cloud)
        may_have_started = True
        service_id = planned.start(cloud, runtime.service_name)
        vm_ids = services.wait_for_vms(cloud, service_id, planned.role_names)
        complete = dataclasses.replace(runtime.with_vms(vm_ids), service_id=service_id)
        return context.runtimes.settle(complete, phase)
    except BaseException as error:
        is_unsure = may_have_started and services.is_unsure(error)
        _undo(context, runtime, may_have_started=may_have_started, is_unsure=is_unsure)
        raise


def _with_reserve(cloud: CloudClient) -> CloudClient:
    """Return a client without the part of the request's time that is reserved for undoing."""
    remaining_seconds = cloud.deadline.remaining_seconds
    share_seconds = remaining_seconds * time_limits.RESERVED_SHARE
    reserved_seconds = min(time_limits.RESERVED_SECONDS, share_seconds)
    return cloud.with_deadline(cloud.deadline.at_most(remaining_seconds - reserved_seconds))


def _undo(context: Context, runtime: Runtime, *, may_have_started: bool, is_unsure: bool) -> None:
    """End all that was started, or leave it to a later request."""
    if may_have_started:
        context.flavours.forget()
    limited = context.at_least(time_limits.UNDO_LEAST_SECONDS)
    undo = _give_up if runtime.phase is Phase.REPLACING else _remove
    try:
        found: list[Service] | None = []
        if may_have_started:
            holdings = limited.holdings(runtime)
            found = services.find_started(holdings, runtime, is_unsure=is_unsure)
        undo(limited, runtime, found)
    except EngineError as failure:
        log.engine.error(UNFINISHED_TEXTS[runtime.phase], runtime.id, failure)
        if runtime.phase is not Phase.REPLACING:
            intents.mark_for_removal(context, runtime)


def _remove(context: Context, runtime: Runtime, found: list[Service] | None) -> None:
    """End the services of a create that failed, and then its document.

    It stays, marked, where a service may still appear (``found`` is None). The mark comes first:
    oneflow may end a service long after its response was given up.
    """
    if found is None or found:
        context.runtimes.mark(runtime, Phase.DELETING)
    if found is None:
        return
    ending.end(context.holdings(runtime), [service.id for service in found])
    context.runtimes.remove(runtime.id)
    if found:
        _wait_until_gone(context, runtime)


def _give_up(context: Context, runtime: Runtime, found: list[Service] | None) -> None:
    """End the services of a replacement that failed; the runtime stays, in ERROR.

    The id is written first: a replacement whose service is known is never finished by a later
    request, however late oneflow ends it. One that may still appear is left to that request.
    """
    if found is None:
        return
    for service in found:
        context.runtimes.save(dataclasses.replace(runtime, service_id=service.id))
    ending.end(context.holdings(runtime), [service.id for service in found])
    context.runtimes.settle(runtime)


def _wait_until_gone(context: Context, runtime: Runtime) -> None:
    """Wait for oneflow to remove the service, a moment after its VMs."""
    holdings, name = context.holdings(runtime), runtime.service_name
    with suppress(EngineError):
        for _ in context.cloud.deadline.at_most(time_limits.GONE_SECONDS).polls():
            if not services.find(holdings, name, newer_than=runtime.id):
                return
