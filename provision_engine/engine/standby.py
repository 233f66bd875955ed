"""Standby runtimes: ready before they are asked for.

After a create of a flavour that engine.conf names, further runtimes of it are created with the
caller's credentials, and leased, so that OpenNebula ends those that nobody took. A later create
of the same user takes one: its service and VMs become those of the new runtime's document. The
rules that make this safe stand in docs/architecture.md.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import time

from provision_engine import log, metrics
from provision_engine.cloud import template
from provision_engine.cloud.objects import Vm
from provision_engine.engine import (
    abandoned,
    attributes,
    idempotency,
    leases,
    preflight,
    resize,
)
from provision_engine.engine import intent as intents
from provision_engine.engine.context import Context
from provision_engine.engine.locks import locked
from provision_engine.engine.model import Phase, Runtime
from provision_engine.engine.plan import Plan, plan
from provision_engine.engine.resize import Resize
from provision_engine.engine.snapshot import Snapshot
from provision_engine.engine.specification import REQUIREMENTS, Specification
from provision_engine.engine.states import State
from provision_engine.errors import EngineError, Locked, NotFound

SHARE = 0.5
"""Of a request's time, for taking a standby."""
KEY = "standby:"
"""In the place of an idempotency key, which is a hexadecimal digest: so the index finds them."""


def is_kept(context: Context, flavours: str) -> bool:
    """Whether standbys of a flavour tuple are kept at all."""
    return bool(context.configuration.standby.flavours.get(flavours))


def _candidates(context: Context, flavours: str) -> list[int]:
    """The ids of the caller's documents that were written as standbys of a flavour tuple."""
    owner = context.owner
    return context.memory.keys.candidates(owner, KEY + flavours, context.runtimes.range)


def _forget(context: Context, flavours: str, runtime_id: int) -> None:
    owner = context.owner
    context.memory.keys.forget(owner, KEY + flavours, runtime_id)
    context.memory.standbys.remove(runtime_id)
    metrics.standbys_ready(context.memory.standbys.count())


def _blueprint(context: Context, planned: Plan, flavours: str) -> str:
    """A digest of everything that a standby is made of: templates, sizes, password."""
    specification = preflight.specified(flavours, planned.flow.roles)
    default = plan(context, specification, version=planned.version)
    made_of = [default.flow.id, default.flow.digest, default.attributes, default.vm_templates]
    text = json.dumps(made_of, sort_keys=True).encode()
    return hashlib.blake2b(text, digest_size=16).hexdigest()


# ---- taking -------------------------------------------------------------------------------------


def take(
    context: Context, specification: Specification, planned: Plan, intent: Runtime
) -> tuple[Snapshot, bool] | None:
    """Hand a standby over to a create; None where there is none that fits.

    ``intent`` is what the create would write. Returns as ``create_runtime`` does. A standby that
    turns out to be broken is removed, and never the caller's concern.
    """
    flavours = specification.flavour_tuple
    if not is_kept(context, flavours) or specification.scheduling.get(REQUIREMENTS):
        return None
    expected = _blueprint(context, planned, flavours)
    # Where a standby takes too long, there has to be time left for a create without it.
    deadline = context.cloud.deadline
    context = context.until(deadline.at_most(deadline.remaining_seconds * SHARE))
    for runtime_id in _candidates(context, flavours):
        try:
            with locked(context.cloud, runtime_id, context.stale_seconds):
                standby = context.runtimes.get(runtime_id)
                if standby.phase is not Phase.STANDBY:
                    continue
                if taken := _take(context, standby, expected, planned, intent):
                    metrics.standby_taken(time.time() - standby.created_at)
                    return taken
        except (Locked, NotFound):
            continue
        except EngineError as error:
            log.engine.warning("Standby %s is not taken: %s", runtime_id, error)
            break
    metrics.standby_missed()
    return None


def _take(
    context: Context, standby: Runtime, expected: str, planned: Plan, intent: Runtime
) -> tuple[Snapshot, bool] | None:
    """Hand over one standby, whose lock is held; None where it does not fit."""
    vms = context.cloud.oned.vms(standby.vm_ids)
    seen = Snapshot.taken(standby, vms, None).states
    if standby.blueprint != expected or State.ERROR in seen:
        _discard(context, standby)
        return None
    if seen != {State.RUNNING}:
        return None
    resizes = _resizes(standby, vms, planned)
    if any(r.exceeds_maximum() or r.shrinks_disk for r in resizes):
        return None
    standby = context.runtimes.mark(standby, Phase.TAKEN)
    heir, winner = _heir(context, standby, intent)
    if winner:
        return Snapshot.unseen(winner), False
    try:
        heir = _adapt(context, heir, vms, resizes)
    except BaseException:
        _discard(context, heir)
        context.runtimes.remove(standby.id)
        _forget(context, standby.flavour_tuple, standby.id)
        raise
    context.runtimes.remove(standby.id)
    _forget(context, standby.flavour_tuple, standby.id)
    log.engine.info("Standby %s became runtime %s", standby.id, heir.id)
    return Snapshot.handed_over(heir, context.cloud.oned.vms(heir.vm_ids)), True


def _resizes(standby: Runtime, vms: dict[int, Vm], planned: Plan) -> list[Resize]:
    return [
        Resize.to(role, vms[function.vm_id], planned.functions[role])
        for role, function in standby.functions.items()
        if function.vm_id is not None
    ]


def _heir(context: Context, standby: Runtime, intended: Runtime) -> tuple[Runtime, Runtime | None]:
    """The document of the create, which owns the standby's service from now on.

    Where another create with the same key was first, its runtime, and the standby waits again;
    likewise where this raises.
    """
    vm_ids = {role: function.vm_id for role, function in standby.functions.items()}
    heir = dataclasses.replace(
        intended.with_vms(vm_ids),
        service_id=standby.service_id,
        service_name=standby.service_name,
        is_lease_renewed=intended.lease_seconds is not None,
    )
    winner: Runtime | None = None
    is_first = False
    try:
        heir = intents.write(context, heir)
        if heir.key:
            winner = idempotency.find(context, heir.key, heir.digest, before=heir.id)
        is_first = winner is None
    finally:
        if not is_first:
            _give_back(context, standby, heir)
    return heir, winner


def _give_back(context: Context, standby: Runtime, heir: Runtime) -> None:
    """Let a standby wait for its create again; the heir's document goes first."""
    hurried = context.until(context.cloud.deadline.at_least(intents.WITHDRAW_LEAST_SECONDS))
    try:
        if heir.id >= 0:
            hurried.runtimes.remove(heir.id)
        hurried.runtimes.put_back(standby)
    except EngineError as error:
        log.engine.warning("Standby %s is not given back: %s", standby.id, error)


def _adapt(context: Context, heir: Runtime, vms: dict[int, Vm], resizes: list[Resize]) -> Runtime:
    """Give the VMs what the request asks for: sizes, texts, the lease."""
    resize.apply(context.cloud, resizes)
    values = attributes.user_attributes(heir.scheduling, heir.device_info)
    for vm_id in vms:
        if values:
            context.cloud.oned.update_vm(vm_id, template.render(values))
        if heir.lease_ends_at is None:
            leases.lift(context.cloud, vm_id)
        else:
            leases.renew(context.cloud, vm_id, heir.lease_ends_at)
    return context.runtimes.ready(heir)


def _discard(context: Context, runtime: Runtime) -> None:
    """Remove a standby that is broken or outdated; the create goes on without it."""
    try:
        abandoned.remove(context, runtime)
        _forget(context, runtime.flavour_tuple, runtime.id)
    except EngineError as error:
        log.engine.warning("Standby %s is not removed yet: %s", runtime.id, error)


# ---- ordering -----------------------------------------------------------------------------------


def missing(context: Context, flavours: str) -> int:
    """How many standbys of a flavour tuple the caller lacks, as far as the maximum allows."""
    wanted = context.configuration.standby.flavours.get(flavours, 0)
    if not wanted:
        return 0
    lacking = wanted - len(_living(context, flavours))
    return max(0, min(lacking, context.memory.standbys.room(_share(context))))


def intent(context: Context, planned: Plan, flavours: str, service_name: str) -> Runtime:
    """The document of a standby that is about to be created."""
    now, seconds = int(time.time()), context.configuration.standby.seconds
    return Runtime(
        id=-1,
        name=service_name,
        functions=planned.functions,
        service_name=service_name,
        phase=Phase.CREATING,
        created_at=now,
        intended_at=now,
        lease_seconds=seconds,
        lease_ends_at=now + seconds,
        key=KEY + flavours,
        blueprint=_blueprint(context, planned, flavours),
    )


def is_surplus(context: Context, ordered: Runtime) -> bool:
    """Whether other engines have ordered enough in the same moment: the lowest ids stay."""
    flavours = ordered.flavour_tuple
    wanted = context.configuration.standby.flavours.get(flavours, 0)
    return len(_living(context, flavours, before=ordered.id)) >= wanted


def _living(context: Context, flavours: str, before: int | None = None) -> list[Runtime]:
    """The caller's standbys that are ready or being created, the oldest first."""
    found = []
    for runtime_id in _candidates(context, flavours):
        if before is not None and runtime_id >= before:
            break
        try:
            runtime = context.runtimes.get(runtime_id)
        except NotFound:
            _forget(context, flavours, runtime_id)
            continue
        if abandoned.is_abandoned(runtime, context.stale_seconds):
            abandoned.resolve_all(context, [runtime])
        elif runtime.phase in (Phase.STANDBY, Phase.CREATING):
            found.append(runtime)
    return found


def _share(context: Context) -> int:
    """Of the maximum for all users, the part of one process, and one at least: no process knows
    of another.
    """
    configuration = context.configuration
    return max(1, configuration.standby.max_runtimes // configuration.server.workers)
