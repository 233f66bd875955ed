"""Replenishing standbys: those that a user lacks are created after a create, in the background."""

from __future__ import annotations

import dataclasses

from provision_engine import log, metrics
from provision_engine.engine import quota
from provision_engine.engine.context import Context
from provision_engine.engine.plan import plan
from provision_engine.engine.runtime.model import Phase, Runtime
from provision_engine.engine.runtime.snapshot import Snapshot
from provision_engine.engine.runtime.specification import Specification
from provision_engine.engine.runtime.states import State
from provision_engine.engine.safety import abandoned, intents
from provision_engine.engine.standby import candidates
from provision_engine.errors import EngineError

COUNTED = (Phase.STANDBY, Phase.CREATING, Phase.TAKEN)
"""TAKEN counts: the taker requests a replacement, or gives it back."""


def replenish_later(context: Context, flavours: str) -> None:
    """Create the missing standbys in the background, with as much time as a request has."""
    if candidates.is_kept(context, flavours):
        context.cloud.submit_in_background(
            lambda cloud: _replenish(context.with_client(cloud), flavours),
            context.configuration.timeout_seconds,
        )


def _replenish(context: Context, flavours: str) -> None:
    """Create the standbys of a flavour tuple that the caller lacks. Raises no Exception."""
    try:
        for _ in range(_missing(context, flavours)):
            _create_standby(context, flavours)
    except EngineError as error:
        log.engine.warning("No standby of %s is created: %s", flavours, error)
    except Exception:  # runs in the background: only the log can report it
        log.engine.exception("No standby of %s is created", flavours)


def _create_standby(context: Context, flavours: str) -> None:
    seconds = context.configuration.standby.seconds
    role_names = context.flavours.for_tuple(flavours, {}).role_names
    default = Specification.from_flavours(flavours, role_names)
    specification = dataclasses.replace(default, lease_seconds=seconds)
    planned = plan(context, specification)
    quota.check_new(context.cloud, list(planned.functions.values()))
    intent = planned.intent(context, specification, candidates.KEY + flavours)
    blueprint = candidates.blueprint(context, planned, flavours)
    runtime = intents.write_intent(context, dataclasses.replace(intent, blueprint=blueprint))
    if _is_surplus(context, runtime):
        context.runtimes.remove(runtime.id)
        return
    intents.start(context, runtime, planned, Phase.STANDBY)
    context.memory.standbys.add(runtime.id, runtime.owner_id, seconds)
    metrics.standbys_ready(context.memory.standbys.count())


def _missing(context: Context, flavours: str) -> int:
    """Return how many standbys of a flavour tuple the caller lacks, up to the maximum."""
    ready = _without_broken(context, _counted(context, flavours))
    lacking = _required(context, flavours) - len(ready)
    return max(0, min(lacking, _allowed(context)))


def _is_surplus(context: Context, standby: Runtime) -> bool:
    """Return whether other engines requested enough in the same moment: the lowest ids stay."""
    flavours = standby.flavour_tuple
    older = _counted(context, flavours, before=standby.id)
    return len(older) >= _required(context, flavours)


def _required(context: Context, flavours: str) -> int:
    return context.configuration.standby.flavours.get(flavours, 0)


def _counted(context: Context, flavours: str, before: int | None = None) -> list[Runtime]:
    """Return the caller's standbys that are ready, being created or being taken, oldest first."""
    known = candidates.ids(context, flavours)
    ids = [number for number in known if before is None or number < before]
    found = {runtime.id: runtime for runtime in candidates.stored(context, ids)}
    for gone in set(ids) - found.keys():
        candidates.forget(context, flavours, gone)
    unresolved = [r for r in found.values() if abandoned.is_abandoned(context, r)]
    abandoned.resolve_all(context, unresolved)
    return [r for r in found.values() if r.phase in COUNTED and r not in unresolved]


def _without_broken(context: Context, standbys: list[Runtime]) -> list[Runtime]:
    """Remove the standbys with a VM that has failed or ended. Returns the others."""
    waiting = [runtime for runtime in standbys if runtime.phase is Phase.STANDBY]
    if not waiting:
        return standbys
    ids = [vm_id for runtime in waiting for vm_id in runtime.vm_ids]
    vms = context.holdings(waiting[0]).vms(ids)
    broken = [r for r in waiting if State.ERROR in Snapshot.from_vms(r, vms, None).states]
    for runtime in broken:
        candidates.remove_waiting(context, runtime.id)
    return [runtime for runtime in standbys if runtime not in broken]


def _allowed(context: Context) -> int:
    """Return how many more the caller may request from this process, which knows of no other one.

    It has its part of the maximum for all users, and the caller a share of that: one at least.
    """
    configuration, standbys = context.configuration, context.memory.standbys
    maximum = max(1, configuration.standby.max_runtimes // configuration.server.workers)
    own = configuration.limits.of_one_user(maximum) - standbys.count(context.user().id)
    return min(maximum - standbys.count(), own)
