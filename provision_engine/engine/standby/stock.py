"""Standby runtimes: ready before they are requested.

After a create of a flavour that engine.conf names, further runtimes of it are created with the
caller's credentials, in the background, and leased, so that OpenNebula ends those that no create
took. A later create of the same user takes one (``handover``). The rules that make this safe
stand in docs/architecture.md.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress

from provision_engine import log, metrics
from provision_engine.engine import quota
from provision_engine.engine.context import Context
from provision_engine.engine.plan import Plan, plan
from provision_engine.engine.runtime.model import Function, Phase, Runtime
from provision_engine.engine.runtime.snapshot import Snapshot
from provision_engine.engine.runtime.specification import Specification
from provision_engine.engine.runtime.states import State
from provision_engine.engine.safety import abandoned, intents, keys
from provision_engine.engine.safety.locks import locked
from provision_engine.engine.time_limits import ENDING_SECONDS
from provision_engine.errors import CapacityRefused, EngineError, Locked, NotFound

KEY = "standby:"
"""In the place of an idempotency key, which is a hexadecimal digest: so the index finds them."""
COUNTED = (Phase.STANDBY, Phase.CREATING, Phase.TAKEN)
"""TAKEN counts: the taker requests a replacement, or gives it back."""


def required(context: Context, flavours: str) -> int:
    """Return how many standbys of a flavour tuple each user shall have."""
    return context.configuration.standby.flavours.get(flavours, 0)


def ids(context: Context, flavours: str) -> list[int]:
    """Return the ids of the caller's documents that were written as standbys of a flavour tuple."""
    return keys.candidates(context, KEY + flavours)


def forget(context: Context, flavours: str, runtime_id: int) -> None:
    """Do not look at a standby of the caller again, which has gone."""
    keys.forget(context, KEY + flavours, runtime_id)
    context.memory.standbys.remove(runtime_id)
    metrics.standby_ready.set(context.memory.standbys.count())


def blueprint(context: Context, planned: Plan, flavours: str) -> str:
    """Return a digest of everything that a standby is made of: templates, sizes, password."""
    specification = Specification.from_flavours(flavours, planned.flow.role_names)
    default = plan(context, specification, version=planned.version)
    made_of = [default.flow.id, default.flow.digest, default.attributes, default.vm_templates]
    text = json.dumps(made_of, sort_keys=True).encode()
    return hashlib.blake2b(text, digest_size=16).hexdigest()


def _stored(context: Context, runtime_ids: Iterable[int]) -> Iterator[Runtime]:
    """Yield those of the runtimes that are not gone."""
    for runtime_id in runtime_ids:
        with suppress(NotFound):
            yield context.runtimes.get(runtime_id)


# ---- removing -----------------------------------------------------------------------------------


def remove(context: Context, standby: Runtime) -> None:
    """Remove a standby, whose lock is held, with service and VMs, as far as that is possible."""
    try:
        intents.remove(context, standby)
        forget(context, standby.flavour_tuple, standby.id)
    except EngineError as error:
        log.engine.warning("Standby %s is not removed yet: %s", standby.id, error)


def _remove_waiting(context: Context, runtime_id: int) -> None:
    """Remove a standby, unless it is being taken."""
    with suppress(Locked, NotFound), locked(context, runtime_id) as lock:
        if lock.runtime.phase is Phase.STANDBY:
            remove(context, lock.runtime)


def make_room(context: Context, planned: Plan, flavours: str, known: Sequence[int]) -> None:
    """Remove the user's standbys, of whatever flavours, where the quota is full and that helps.

    A create comes before them. ``known`` are the ids of those of the create's own flavours; some
    may be ending already.
    """
    try:
        others = set(context.configuration.standby.flavours) - {flavours}
        standby_ids = [*known, *(number for name in others for number in ids(context, name))]
        if not standby_ids or _has_room(context, planned):
            return
        waiting = [r for r in _stored(context, standby_ids) if r.phase is Phase.STANDBY]
        freed = [function for runtime in waiting for function in runtime.functions.values()]
        if len(waiting) == len(standby_ids) and not _has_room(context, planned, freed):
            return
        for runtime in waiting:
            _remove_waiting(context, runtime.id)
        for _ in context.cloud.deadline.at_most(ENDING_SECONDS).polls():
            if _has_room(context, planned):
                return
    except EngineError as error:
        log.engine.warning("Standbys may use up the quota of a create: %s", error)


def _has_room(context: Context, planned: Plan, freed: Sequence[Function] = ()) -> bool:
    try:
        quota.check_new(context.cloud, list(planned.functions.values()), freed)
    except CapacityRefused:
        return False
    return True


# ---- replenishing --------------------------------------------------------------------------------


def replenish_later(context: Context, flavours: str) -> None:
    """Create the missing standbys in the background, with as much time as a request has."""
    if required(context, flavours):
        context.cloud.submit_in_background(
            lambda cloud: _replenish(context.with_client(cloud), flavours),
            context.configuration.timeout_seconds,
        )


def _replenish(context: Context, flavours: str) -> None:
    """Create the standbys of a flavour tuple that the caller lacks. Raises no Exception."""
    try:
        ready = _without_broken(context, _counted(context, flavours))
        missing = required(context, flavours) - len(ready)
        for _ in range(min(missing, _allowed(context))):
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
    intent = planned.intent(context, specification, KEY + flavours)
    intent = dataclasses.replace(intent, blueprint=blueprint(context, planned, flavours))
    runtime = intents.write_intent(context, intent)
    if len(_counted(context, flavours, before=runtime.id)) >= required(context, flavours):
        # Other engines created enough in the same moment: the lowest ids stay.
        context.runtimes.remove(runtime.id)
        return
    intents.start(context, runtime, planned, Phase.STANDBY)
    context.memory.standbys.add(runtime.id, runtime.owner_id, seconds)
    metrics.standby_ready.set(context.memory.standbys.count())


def _counted(context: Context, flavours: str, before: int | None = None) -> list[Runtime]:
    """Return the caller's standbys that are ready, being created or being taken, oldest first."""
    known = [n for n in ids(context, flavours) if before is None or n < before]
    found = {runtime.id: runtime for runtime in _stored(context, known)}
    for gone in set(known) - found.keys():
        forget(context, flavours, gone)
    unresolved = [r for r in found.values() if abandoned.is_abandoned(context, r)]
    abandoned.resolve_all(context, unresolved)
    return [r for r in found.values() if r.phase in COUNTED and r not in unresolved]


def _without_broken(context: Context, standbys: list[Runtime]) -> list[Runtime]:
    """Remove the standbys with a VM that has failed or ended. Returns the others."""
    waiting = [runtime for runtime in standbys if runtime.phase is Phase.STANDBY]
    vm_ids = [vm_id for runtime in waiting for vm_id in runtime.vm_ids]
    vms = context.holdings_of(context.user().id).vms(vm_ids)
    broken = [r for r in waiting if State.ERROR in Snapshot.from_vms(r, vms, None).states]
    for runtime in broken:
        _remove_waiting(context, runtime.id)
    return [runtime for runtime in standbys if runtime not in broken]


def _allowed(context: Context) -> int:
    """Return how many more the caller may request from this process, which knows of no other one.

    It has its part of the maximum for all users, and the caller a share of that: one at least.
    """
    configuration, standbys = context.configuration, context.memory.standbys
    maximum = max(1, configuration.standby.max_runtimes // configuration.server.workers)
    own = configuration.limits.of_one_user(maximum) - standbys.count(context.user().id)
    return min(maximum - standbys.count(), own)
