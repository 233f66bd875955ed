"""Reading one runtime, with the fresh states of its VMs."""

from __future__ import annotations

from provision_engine.cloud.objects import Service, Vm
from provision_engine.engine.context import Context
from provision_engine.engine.runtime import services, states
from provision_engine.engine.runtime.model import Phase, Runtime
from provision_engine.engine.runtime.snapshot import Precondition, Snapshot
from provision_engine.engine.safety import leases, unfinished
from provision_engine.errors import ActionRefused, Locked, NotFound, PreconditionFailed


def get_runtime(context: Context, runtime_id: int) -> Snapshot:
    """A runtime as it is now. Raises NotFound, Forbidden, Unauthorized.

    One whose lease is over is removed, and NotFound. Where this process has read the runtime
    before, both requests are sent at once; the document decides whether these are its VMs. Reads
    of the same user that arrive at the same time share them.
    """
    memory, owner = context.memory.vms, context.owner
    vm_ids = memory.get((owner, runtime_id)) or ()
    with context.memory.reads.reading(owner, context.cloud, runtime_id, vm_ids) as cloud:
        caller = context.through(cloud)
        seen = observe(caller, find_runtime(caller, runtime_id))
    # A lease is read with its VM's scheduled actions, which are not read ahead.
    is_leased = seen.runtime.lease_seconds is not None
    memory.put((owner, runtime_id), () if is_leased else tuple(seen.runtime.vm_ids))
    return seen


def find_runtime(context: Context, runtime_id: int, *, is_ending: bool = False) -> Runtime:
    """A runtime as it is stored. Raises NotFound, Forbidden, Unauthorized.

    One of the caller that a dead engine left unfinished is resolved first. A runtime that is being
    deleted is found only by a request of its owner that ends it as well (``is_ending``).
    """
    runtime = context.runtimes.get(runtime_id)
    if runtime.phase is Phase.DELETING and is_ending and context.may_settle(runtime):
        return runtime
    if runtime.phase in (Phase.DELETING, Phase.TAKEN):
        unfinished.resolve_all(context, [runtime])
        raise NotFound(f"Serverless runtime {runtime_id} is being deleted")
    if unfinished.is_abandoned(context, runtime) and context.may_settle(runtime):
        resolved = unfinished.resolve(context, runtime_id)
        if resolved is None:
            raise NotFound(f"Serverless runtime {runtime_id} is gone")
        return resolved
    return runtime


def ready_runtime(context: Context, runtime_id: int) -> Runtime:
    """A runtime that may be changed, for the holder of its lock. Raises Locked, NotFound."""
    runtime = find_runtime(context, runtime_id)
    if runtime.phase is Phase.STANDBY:
        raise ActionRefused(f"Serverless runtime {runtime.id} is a standby, which a create takes")
    if runtime.phase is not Phase.READY:
        raise Locked(f"Serverless runtime {runtime.id} is still being created or replaced")
    return runtime


def observe(context: Context, runtime: Runtime) -> Snapshot:
    """A runtime with what is seen of its VMs. Writes nothing.

    Raises NotFound where its lease is over.
    """
    is_leased = runtime.lease_seconds is not None
    vms = context.holdings(runtime).vms(runtime.vm_ids, with_actions=is_leased)
    service: Service | None = None
    if len(vms) < len(runtime.functions) and runtime.service_id is not None:
        runtime, vms, service = _look_behind(context, runtime, runtime.service_id, vms)
    if leases.is_over(runtime, vms, context.now()):
        unfinished.remove_expired(context, [runtime])
        raise NotFound(f"The lease of serverless runtime {runtime.id} is over")
    return Snapshot.taken(runtime, vms, service)


def check_match(seen: Snapshot, matches: Precondition) -> None:
    """Raises PreconditionFailed where a runtime is not as its caller has seen it."""
    if not matches(seen):
        raise PreconditionFailed(f"Serverless runtime {seen.id} is not as it was seen")


def _look_behind(
    context: Context, runtime: Runtime, service_id: int, vms: dict[int, Vm]
) -> tuple[Runtime, dict[int, Vm], Service | None]:
    """A runtime that lacks VMs: its service tells why, or which VMs it has now.

    Whoever holds the runtime's lock writes these down with the next change.
    """
    holdings = context.holdings(runtime)
    try:
        service = holdings.service(service_id)
    except NotFound:
        return runtime, vms, None
    linked = runtime.with_vms(services.assigned(runtime, states.vm_ids(service)))
    if linked.vm_ids == runtime.vm_ids or len(linked.vm_ids) < len(linked.functions):
        return runtime, vms, service
    return linked, holdings.vms(linked.vm_ids), service
