"""Unfinished runtimes: whoever meets one that nobody works on any more settles it.

The rules stand in docs/reliability.md.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from provision_engine import log
from provision_engine.cloud.client import CloudClient
from provision_engine.cloud.objects import Document
from provision_engine.engine import kept, roles, services, states
from provision_engine.engine.document import Phase, Runtime
from provision_engine.engine.locks import locked
from provision_engine.engine.states import State
from provision_engine.errors import ActionRefused, EngineError, Locked, NotFound

REMOVAL_SECONDS = 5.0
"""How long a removal is watched; OpenNebula goes on with it by itself."""
REMOVAL_SHARE = 0.8
BY_THE_WAY_SECONDS = 2.0
"""What settling may take of a request that is about something else."""


def is_abandoned(runtime: Runtime, after_seconds: float) -> bool:
    """Whether a runtime is unfinished, and longer so than any request lasts."""
    return runtime.phase is not Phase.READY and time.time() - runtime.created_at > after_seconds


def readable(documents: Iterable[Document]) -> list[Runtime]:
    """The runtimes in documents. One that is none of any engine's hides no other."""
    found = []
    for document in documents:
        try:
            found.append(Runtime.of(document))
        except (EngineError, ValueError, ArithmeticError) as error:
            log.engine.warning("Document %s cannot be read: %s", document.id, error)
    return found


def sort_out(
    runtimes: Iterable[Runtime], stale_seconds: float
) -> tuple[list[Runtime], list[Runtime]]:
    """Those that a dead engine left unfinished, and those that live."""
    left, living = [], []
    for runtime in runtimes:
        if is_abandoned(runtime, stale_seconds):
            left.append(runtime)
        elif runtime.phase is not Phase.DELETING:
            living.append(runtime)
    return left, living


def settle_all(cloud: CloudClient, left: Sequence[Runtime], stale_seconds: float) -> None:
    """Settle what was met by the way: as much as a moment allows, the rest another time."""
    _by_the_way(cloud, left, lambda hurried, r: settle(hurried, r.id, stale_seconds))


def bury_all(cloud: CloudClient, ended: Sequence[Runtime], stale_seconds: float) -> None:
    """Remove what is left of those that OpenNebula has ended, as much as a moment allows."""
    _by_the_way(cloud, ended, lambda hurried, r: bury(hurried, r, stale_seconds))


def _by_the_way(
    cloud: CloudClient,
    runtimes: Sequence[Runtime],
    what: Callable[[CloudClient, Runtime], object],
) -> None:
    hurried = cloud.until(cloud.deadline.at_most(BY_THE_WAY_SECONDS))
    for runtime in runtimes:
        if hurried.deadline.is_over:
            return
        try:
            what(hurried, runtime)
        except EngineError as error:
            log.engine.warning("Runtime %s is not settled yet: %s", runtime.id, error)
            return


def settle(
    cloud: CloudClient, runtime_id: int, stale_seconds: float, *, is_wanted: bool = False
) -> Runtime | None:
    """Finish an abandoned runtime where it ``is_wanted``, else undo it; None when it is gone.

    Nobody was ever told of a runtime that is still CREATING, so only a repetition of its
    create wants it. Raises Locked where somebody else is at it.
    """
    try:
        with locked(cloud, runtime_id, stale_seconds):
            runtime = Runtime.of(cloud.oned.document(runtime_id))
            if not is_abandoned(runtime, stale_seconds):
                return None if runtime.phase is Phase.DELETING else runtime
            log.engine.warning("Settling runtime %s, left %s", runtime.id, runtime.phase)
            if is_wanted and runtime.phase is Phase.CREATING and (made := _finish(cloud, runtime)):
                return made
            remove(cloud, runtime)
            return None
    except NotFound:
        return None


def _finish(cloud: CloudClient, runtime: Runtime) -> Runtime | None:
    """Complete a runtime whose service is there with all its VMs; None if it is not."""
    found = services.find(cloud, runtime.service_name)
    if len(found) != 1 or states.has_failed(found[0].body) or states.is_ending(found[0].body):
        return None
    vm_ids = assigned(runtime, states.vm_ids(found[0].body))
    if None in vm_ids.values():
        return None
    return kept.complete(cloud, runtime, found[0].id, vm_ids)


def assigned(runtime: Runtime, vm_ids: Mapping[str, int | None]) -> dict[str, int | None]:
    """The VMs of a service by FAAS and DAAS; given by the names of its roles, in their order."""
    flavours = {role: function.flavour for role, function in runtime.functions.items()}
    places = roles.assign_roles(flavours, list(vm_ids))
    in_order = list(vm_ids.values())
    return {role: in_order[places[role]] if role in places else None for role in flavours}


def bury(cloud: CloudClient, runtime: Runtime, stale_seconds: float) -> None:
    """Remove what is left of a runtime that OpenNebula has ended, unless another is at it.

    Raises nothing: what is left now is met again by the next who looks.
    """
    try:
        with locked(cloud, runtime.id, stale_seconds):
            remove(cloud, runtime)
    except (Locked, NotFound):
        log.engine.debug("Runtime %s is buried by another", runtime.id)
    except EngineError as error:
        log.engine.warning("Runtime %s has ended and is not removed yet: %s", runtime.id, error)


def recover(cloud: CloudClient, runtime: Runtime, seen: Mapping[str, Any]) -> None:
    """Have oneflow recover a service of which something was seen in ERROR."""
    states_seen = {seen[role]["STATE"] for role in runtime.functions}
    if State.ERROR not in states_seen:
        if states_seen & {State.PENDING, State.UPDATING}:
            raise Locked(f"Serverless runtime {runtime.id} is on its way by itself")
        return
    if runtime.service_id is None:
        raise ActionRefused(f"Serverless runtime {runtime.id} has no service to recover")
    try:
        cloud.oneflow.recover_service(runtime.service_id)
    except ActionRefused as refusal:
        if "state: DEPLOYING" in str(refusal.message):
            raise Locked("OpenNebula has not given up deploying the service yet") from refusal
        raise


def remove(cloud: CloudClient, runtime: Runtime) -> None:
    """End what runs for a runtime, and then its document; mark it where that takes long."""
    if remove_services(cloud, runtime):
        cloud.oned.delete_document(runtime.id)
    else:
        kept.mark(cloud, runtime, Phase.DELETING)


def remove_services(cloud: CloudClient, runtime: Runtime) -> bool:
    """Whether all that runs for a runtime was gone before REMOVAL_SECONDS were over."""
    # Some of the request's time is kept, to write down what could not be removed in the rest.
    patience_seconds = min(REMOVAL_SECONDS, cloud.deadline.remaining_seconds * REMOVAL_SHARE)
    deadline = cloud.deadline.at_most(patience_seconds)
    ids = [runtime.service_id] if runtime.service_id is not None else _found(cloud, runtime)
    return all([services.remove(cloud, service_id, deadline) for service_id in ids])  # noqa: C419


def _found(cloud: CloudClient, runtime: Runtime) -> list[int]:
    return (
        [s.id for s in services.find(cloud, runtime.service_name)] if runtime.service_name else []
    )
