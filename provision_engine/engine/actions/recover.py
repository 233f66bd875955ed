"""Let a runtime run again under its own id, with the rights of its owner.

What helps depends on the state of each VM. An owner may resume a VM, and have oneflow deploy a
function that never got a VM; a VM that failed cannot be repaired by its owner, so that the
runtime gets a new service in place of the failed one: the same id, name, key, lease and sizes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from enum import IntEnum

from provision_engine.engine.actions import read, suspend
from provision_engine.engine.context import Context
from provision_engine.engine.plan import Plan, plan
from provision_engine.engine.runtime.model import Function, Phase, Runtime
from provision_engine.engine.runtime.snapshot import Snapshot
from provision_engine.engine.runtime.specification import Specification
from provision_engine.engine.runtime.states import Condition, Reason, State
from provision_engine.engine.safety import ending, intents, leases, services
from provision_engine.engine.safety.locks import locked
from provision_engine.engine.time_limits import ENDING_SECONDS
from provision_engine.errors import ActionRefused, Forbidden, Locked


class Remedy(IntEnum):
    """What lets a function run again; of two, the greater one works for both functions."""

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
    with locked(context, runtime_id) as lock:
        snapshot = read.observe(context, read.load_changeable(context, lock), lock.vms)
        suspend.check_awake(snapshot)
        if State.ERROR not in snapshot.states:
            if not snapshot.is_settled():
                raise Locked(f"Serverless runtime {snapshot.id} is on its way by itself")
            return snapshot
        recovered = apply(context, snapshot, may_replace_data=may_replace_data)
    if recovered is not snapshot.runtime:
        return Snapshot.pending(dataclasses.replace(recovered, phase=Phase.REPLACING))
    return read.get_runtime(context, runtime_id)


def apply(context: Context, snapshot: Snapshot, *, may_replace_data: bool = False) -> Runtime:
    """Apply what helps a runtime with a function in ERROR, for the holder of its lock.

    Returns the runtime as it is stored afterwards: the same object unless it was replaced.
    """
    remedy = max(_remedy(condition) for condition in snapshot.conditions.values())
    if remedy > Remedy.RESUME and snapshot.runtime.owner_id != context.user().id:
        # Its new VMs would be the caller's, with the caller's password in them.
        raise Forbidden(
            f"Serverless runtime {snapshot.id} needs new VMs: only its owner can recover it"
        )
    if remedy is Remedy.RETRY and not _retry(context, snapshot.runtime):
        remedy = Remedy.REPLACE
    if remedy is Remedy.REPLACE:
        _check_data(snapshot.runtime, may_replace_data=may_replace_data)
        return _replace(context, snapshot.runtime)
    for role, vm in snapshot.vms.items():
        if _remedy(snapshot.conditions[role]) is Remedy.RESUME:
            context.cloud.oned.act_on_vm(vm.id, "resume")
    return snapshot.runtime


def _remedy(condition: Condition) -> Remedy:
    if condition.state is not State.ERROR:
        return Remedy.NONE
    return REMEDIES.get(condition.reason, Remedy.REPLACE)


def _retry(context: Context, runtime: Runtime) -> bool:
    """Return whether oneflow tries again; it does not in every state of a service."""
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
            f"Serverless runtime {runtime.id} needs new VMs, and its DAAS would lose its disk",
            remedy="replace",
        )


def _replace(context: Context, runtime: Runtime) -> Runtime:
    """Start a new service for the same document, in place of its own.

    Raises what a create raises; the runtime then stays without a service, and can be recovered
    or deleted. What a crash leaves is resolved by ``abandoned``.
    """
    holdings = context.holdings(runtime)
    planned = _plan(context, runtime)
    replaced = dataclasses.replace(
        runtime,
        service_name=services.new_name(runtime.flavour_tuple),
        lease_ends_at=leases.ends_at(runtime, ()),
        is_lease_renewed=runtime.lease_seconds is not None,
    )
    replaced = context.runtimes.mark(replaced, Phase.REPLACING)
    former = [] if runtime.service_id is None else [runtime.service_id]
    ended = ending.end(holdings, former, runtime.vm_ids)
    for _ in context.cloud.deadline.at_most(ENDING_SECONDS).polls():  # they count towards the quota
        if not ending.alive(holdings, ended):
            break
    replaced = replaced.without_service()
    context.runtimes.save(replaced)
    return intents.start(context, replaced, planned)


def _plan(context: Context, runtime: Runtime) -> Plan:
    """Plan the same runtime once more; sizes that the operator chose are not requested."""
    end, left_seconds = leases.ends_at(runtime, ()), None
    if runtime.lease_seconds is not None:
        left_seconds = max(1, (end or 0) - int(context.now()))
    specification = Specification(
        name=runtime.name,
        functions={role: Function(f.flavour) for role, f in runtime.functions.items()},
        scheduling=runtime.scheduling,
        device_info=runtime.device_info,
        lease_seconds=left_seconds,
    )
    planned = plan(context, specification)
    own = {}
    for role, function in runtime.functions.items():
        others = function.sizes.items() - planned.functions[role].sizes.items()
        own[role] = Function(function.flavour, {name: size for name, size in others if size})
    return plan(context, dataclasses.replace(specification, functions=own), planned.version)
