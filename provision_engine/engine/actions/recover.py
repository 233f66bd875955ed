"""Letting a runtime run again under its own id, with the rights of its owner.

What helps depends on the state of each VM. An owner may resume a VM, and have oneflow deploy a
function that never got a VM; a VM that failed cannot be repaired by its owner, so that the
runtime gets a new service in place of the failed one: the same id, name, key, lease and sizes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from enum import IntEnum

from provision_engine import log
from provision_engine.engine.actions import read, suspend
from provision_engine.engine.context import Context
from provision_engine.engine.runtime import services
from provision_engine.engine.runtime.model import Phase, Runtime
from provision_engine.engine.runtime.plan import plan
from provision_engine.engine.runtime.snapshot import Snapshot
from provision_engine.engine.runtime.specification import RequestedFunction, Specification
from provision_engine.engine.runtime.states import Condition, Reason, State
from provision_engine.engine.safety import ending, leases
from provision_engine.engine.safety.locks import locked
from provision_engine.engine.safety.ownership import Holdings
from provision_engine.errors import ActionRefused, EngineError, Forbidden, Locked

ENDING_SECONDS = 3.0
"""How long the end of failed VMs is waited for, before others are started in their place."""
WITHDRAW_LEAST_SECONDS = 0.75
"""What withdrawing a replacement may take when the request's own time is over."""


class Remedy(IntEnum):
    """What lets a function run again; the greater one of two helps both functions."""

    NONE = 0
    RESUME = 1
    RETRY = 2
    """oneflow deploys again what never got a VM."""
    REPLACE = 3


REMEDIES: Mapping[Reason | None, Remedy] = {
    Reason.SUSPENDED: Remedy.RESUME,
    Reason.STOPPED: Remedy.RESUME,
    Reason.POWERED_OFF: Remedy.RESUME,
    Reason.UNDEPLOYED: Remedy.RESUME,
    Reason.UNREACHABLE: Remedy.RESUME,
    Reason.QUOTA: Remedy.RETRY,
    Reason.DEPLOY_FAILED: Remedy.RETRY,
}
"""By the reason of a function in ERROR; all others need a replacement."""


def recover_runtime(
    context: Context, runtime_id: int, *, may_replace_data: bool = False
) -> Snapshot:
    """Let a runtime run again. Where nothing failed, nothing is done.

    Raises ActionRefused where the runtime is suspended, or where the disk of a DAAS would be lost
    and ``may_replace_data`` does not allow it; Locked while a function is on its way by itself.
    """
    with locked(context, runtime_id):
        seen = read.observe(context, read.ready_runtime(context, runtime_id))
        suspend.check_awake(seen)
        if State.ERROR not in seen.states:
            if not seen.is_settled:
                raise Locked(f"Serverless runtime {seen.id} is on its way by itself")
            return seen
        recovered = apply(context, seen, may_replace_data=may_replace_data)
    if recovered is not seen.runtime:
        return Snapshot.unseen(dataclasses.replace(recovered, phase=Phase.REPLACING))
    return read.get_runtime(context, runtime_id)


def apply(context: Context, seen: Snapshot, *, may_replace_data: bool = False) -> Runtime:
    """Apply what helps to a runtime with a function in ERROR, for the holder of its lock.

    The runtime as it is stored afterwards: the same object unless it was replaced.
    """
    remedy = max(_remedy(condition) for condition in seen.conditions.values())
    if remedy > Remedy.RESUME and seen.runtime.owner_id != context.user().id:
        # Its new VMs would be the caller's, with the caller's password in them.
        raise Forbidden(
            f"Serverless runtime {seen.id} needs new VMs: only its owner can recover it"
        )
    if remedy is Remedy.RETRY and not _retry(context, seen.runtime):
        remedy = Remedy.REPLACE
    if remedy is Remedy.REPLACE:
        _check_data(seen.runtime, may_replace_data=may_replace_data)
        return _replace(context, seen.runtime)
    _resume(context, seen)
    return seen.runtime


def _remedy(condition: Condition) -> Remedy:
    if condition.state is not State.ERROR:
        return Remedy.NONE
    return REMEDIES.get(condition.reason, Remedy.REPLACE)


def _resume(context: Context, seen: Snapshot) -> None:
    for role, vm in seen.vms.items():
        if _remedy(seen.conditions[role]) is Remedy.RESUME:
            context.cloud.oned.act_on_vm(vm.id, "resume")


def _retry(context: Context, runtime: Runtime) -> bool:
    """Whether oneflow tries again; it does not in every state of a service."""
    if runtime.service_id is None:
        return False
    try:
        context.cloud.oneflow.recover_service(runtime.service_id)
    except ActionRefused:
        return False
    return True


def _check_data(runtime: Runtime, *, may_replace_data: bool) -> None:
    data = runtime.functions.get("DAAS")
    if data is not None and data.vm_id is not None and not may_replace_data:
        raise ActionRefused(
            f"Serverless runtime {runtime.id} needs new VMs, and its DAAS would lose its disk: "
            "repeat with ?replace=true if it may"
        )


def _replace(context: Context, runtime: Runtime) -> Runtime:
    """A new service for the same document; what a crash leaves is resolved by ``abandoned``.

    Raises what a create raises; the runtime then stays without a service, and can be recovered
    or deleted.
    """
    holdings = context.holdings(runtime)
    planned = plan(context, _specification(runtime, context.now()))
    started = dataclasses.replace(
        runtime,
        service_name=services.new_name(runtime.flavour_tuple),
        lease_ends_at=leases.ends_at(runtime, ()),
        is_lease_renewed=runtime.lease_seconds is not None,
    )
    started = context.runtimes.mark(started, Phase.REPLACING)
    former = [] if runtime.service_id is None else [runtime.service_id]
    _wait_until_gone(holdings, ending.end(holdings, former, runtime.vm_ids))
    started = started.without_service()
    context.runtimes.save(started)
    try:
        service_id = planned.start(context.cloud, started.service_name)
        vm_ids = planned.wait_for_vms(context.cloud, service_id)
    except BaseException as error:
        _withdraw(context, started, error)
        raise
    return context.runtimes.complete(started, service_id, vm_ids)


def _wait_until_gone(holdings: Holdings, vm_ids: frozenset[int]) -> None:
    """Failed VMs end quickly, and count towards the user's quota until they have."""
    for _ in holdings.cloud.deadline.at_most(ENDING_SECONDS).polls():
        if not ending.alive(holdings, vm_ids):
            return


def _withdraw(context: Context, started: Runtime, error: BaseException) -> None:
    """End what was started of a replacement that failed; the runtime stays, in ERROR.

    What cannot be ended now, or may still appear, is left to a later request: the document says
    that the runtime is being replaced.
    """
    limited = context.until(context.cloud.deadline.at_least(WITHDRAW_LEAST_SECONDS))
    try:
        is_unsure = services.is_unsure(error)
        found = services.find_started(limited.holdings(started), started, is_unsure=is_unsure)
        if found is not None:
            _give_up(limited, started, [service.id for service in found])
    except EngineError as failure:
        log.engine.error("The replacement of runtime %s is left: %s", started.id, failure)


def _give_up(context: Context, started: Runtime, service_ids: list[int]) -> None:
    """End the services of a replacement. The id is written first: a replacement whose service is
    known is never finished by a later request, however late oneflow ends it.
    """
    for service_id in service_ids:
        context.runtimes.save(dataclasses.replace(started, service_id=service_id))
    ending.end(context.holdings(started), service_ids)
    context.runtimes.ready(started)


def _specification(runtime: Runtime, now: float) -> Specification:
    """What has to be requested to get the same runtime once more."""
    left_seconds = None
    if runtime.lease_seconds is not None:
        end = leases.ends_at(runtime, ()) or 0
        left_seconds = max(1, end - int(now))
    return Specification(
        name=runtime.name,
        functions={
            role: RequestedFunction(function.flavour, function.sizes)
            for role, function in runtime.functions.items()
        },
        scheduling=runtime.scheduling,
        device_info=runtime.device_info,
        lease_seconds=left_seconds,
        sent={role: {"FLAVOUR": f.flavour} for role, f in runtime.functions.items()},
    )
