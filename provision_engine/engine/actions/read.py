"""Read one runtime, with the fresh states of its VMs."""

from __future__ import annotations

from collections.abc import Mapping

from provision_engine.cloud.objects import Service, Vm
from provision_engine.engine import answering
from provision_engine.engine.context import Context
from provision_engine.engine.runtime import states
from provision_engine.engine.runtime.model import Phase, Runtime
from provision_engine.engine.runtime.snapshot import Precondition, Snapshot
from provision_engine.engine.safety import abandoned, leases, services
from provision_engine.engine.safety.locks import RuntimeLock
from provision_engine.errors import ActionRefused, Locked, NotFound, PreconditionFailed


def get_runtime(context: Context, runtime_id: int) -> Snapshot:
    """Return a runtime as it is now. Raises NotFound, Forbidden, Unauthorized.

    Removes a runtime whose lease is over, and raises NotFound.
    """
    runtime, vms = context.runtimes.read(runtime_id)
    settled = _resolve_unfinished(context, runtime)
    return observe(context, settled, vms if settled is runtime else None)


def find_runtime(context: Context, runtime_id: int, *, is_ending: bool = False) -> Runtime:
    """Return a runtime as it is stored. Raises NotFound, Forbidden, Unauthorized.

    One of the caller that a dead engine left unfinished is resolved first. A runtime that is being
    deleted is found only by a request of its owner that ends it as well (``is_ending``).
    """
    return _resolve_unfinished(context, context.runtimes.get(runtime_id), is_ending=is_ending)


def _resolve_unfinished(context: Context, runtime: Runtime, *, is_ending: bool = False) -> Runtime:
    if runtime.phase is Phase.DELETING and is_ending and context.may_settle(runtime):
        return runtime
    if runtime.phase in (Phase.DELETING, Phase.TAKEN):
        abandoned.resolve_all(context, [runtime])
        raise NotFound(f"Serverless runtime {runtime.id} is being deleted")
    if abandoned.is_abandoned(context, runtime):
        resolved = abandoned.resolve(context, runtime.id)
        if resolved is None:
            raise NotFound(f"Serverless runtime {runtime.id} is gone")
        return resolved
    return runtime


def load_endable(context: Context, lock: RuntimeLock) -> Runtime:
    """Return a runtime that may be ended. Raises Locked, NotFound."""
    runtime = _resolve_unfinished(context, lock.runtime, is_ending=True)
    if runtime.phase in (Phase.CREATING, Phase.TAKEN):
        raise Locked(f"Serverless runtime {runtime.id} is still being created")
    return runtime


def load_changeable(context: Context, lock: RuntimeLock) -> Runtime:
    """Return a runtime that may be changed. Raises Locked, NotFound."""
    runtime = _resolve_unfinished(context, lock.runtime)
    if runtime.phase is Phase.STANDBY:
        raise ActionRefused(f"Serverless runtime {runtime.id} is a standby, which a create takes")
    if runtime.phase is not Phase.READY:
        raise Locked(f"Serverless runtime {runtime.id} is still being created or replaced")
    return runtime


def observe(context: Context, runtime: Runtime, vms: Mapping[int, Vm] | None = None) -> Snapshot:
    """Return a runtime with the states of its VMs, which are read if they are not given.

    Writes nothing. Raises NotFound where its lease is over.
    """
    if vms is None:
        vms = context.runtimes.vms(runtime)
    service: Service | None = None
    if len(vms) < len(runtime.functions) and runtime.service_id is not None:
        runtime, vms, service = _look_behind(context, runtime, runtime.service_id, vms)
    if leases.is_over(runtime, vms, context.now()):
        abandoned.remove_expired(context, [runtime])
        raise NotFound(f"The lease of serverless runtime {runtime.id} is over")
    (snapshot,) = answering.check(context, [Snapshot.from_vms(runtime, vms, service)])
    return snapshot


def check(precondition: Precondition, snapshot: Snapshot) -> None:
    """Raise PreconditionFailed where a runtime is not as its caller has read it."""
    if not precondition(snapshot):
        raise PreconditionFailed(f"Serverless runtime {snapshot.id} is not as it was seen")


def _look_behind(
    context: Context, runtime: Runtime, service_id: int, vms: Mapping[int, Vm]
) -> tuple[Runtime, Mapping[int, Vm], Service | None]:
    """Look up why a runtime lacks VMs, or which VMs it has now: its service tells.

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
