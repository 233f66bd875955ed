"""Standby runtimes: ready before they are asked for.

After a create of a flavour that engine.conf names, further runtimes of it are created with the
caller's credentials, and leased, so that OpenNebula ends those that nobody took. A later create
of the same user takes one (``handover``). The rules that make this safe stand in
docs/architecture.md.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress

from provision_engine import log, metrics
from provision_engine.engine import quota
from provision_engine.engine.context import Context
from provision_engine.engine.runtime.model import Function, Phase, Runtime
from provision_engine.engine.runtime.plan import Plan, plan
from provision_engine.engine.runtime.snapshot import Snapshot
from provision_engine.engine.runtime.specification import Specification
from provision_engine.engine.runtime.states import State
from provision_engine.engine.safety import abandoned, intents, keys
from provision_engine.engine.safety.locks import locked
from provision_engine.engine.time_limits import ENDING_SECONDS
from provision_engine.errors import CapacityRefused, EngineError, Locked, NotFound

COUNTED = (Phase.STANDBY, Phase.CREATING, Phase.TAKEN)
KEY = "standby:"
"""In the place of an idempotency key, which is a hexadecimal digest: so the index finds them."""


def is_kept(context: Context, flavours: str) -> bool:
    """Whether standbys of a flavour tuple are kept at all."""
    return bool(context.configuration.standby.flavours.get(flavours))


def candidates(context: Context, flavours: str) -> list[int]:
    """The ids of the caller's documents that were written as standbys of a flavour tuple."""
    return keys.candidates(context, KEY + flavours)


def forget(context: Context, flavours: str, runtime_id: int) -> None:
    keys.forget(context, KEY + flavours, runtime_id)
    context.memory.standbys.remove(runtime_id)
    metrics.standbys_ready(context.memory.standbys.count())


def blueprint(context: Context, planned: Plan, flavours: str) -> str:
    """A digest of everything that a standby is made of: templates, sizes, password."""
    specification = Specification.from_flavours(flavours, planned.flow.role_names)
    default = plan(context, specification, version=planned.version)
    made_of = [default.flow.id, default.flow.digest, default.attributes, default.vm_templates]
    text = json.dumps(made_of, sort_keys=True).encode()
    return hashlib.blake2b(text, digest_size=16).hexdigest()


# ---- removing -----------------------------------------------------------------------------------


def remove(context: Context, standby: Runtime) -> None:
    """Remove a standby, whose lock is held, with service and VMs, as far as that is possible."""
    try:
        intents.remove(context, standby)
        forget(context, standby.flavour_tuple, standby.id)
    except EngineError as error:
        log.engine.warning("Standby %s is not removed yet: %s", standby.id, error)


def remove_waiting(context: Context, runtime_id: int) -> None:
    """Remove a standby, unless it is being taken."""
    with suppress(Locked, NotFound), locked(context, runtime_id) as lock:
        if lock.runtime.phase is Phase.STANDBY:
            remove(context, lock.runtime)


def make_room(context: Context, planned: Plan, flavours: str, known: Sequence[int]) -> None:
    """Where the user's quota is full, remove the standbys in it, of whatever flavours, if that
    helps: a create comes before them.

    ``known`` are the ids of those of the create's own flavours; some may be ending already.
    """
    try:
        others = set(context.configuration.standby.flavours) - {flavours}
        ids = [*known, *(number for name in others for number in candidates(context, name))]
        if not ids or _has_room(context, planned):
            return
        waiting = [r for r in _stored(context, ids) if r.phase is Phase.STANDBY]
        freed = [function for runtime in waiting for function in runtime.functions.values()]
        if len(waiting) == len(ids) and not _has_room(context, planned, freed):
            return
        for runtime in waiting:
            remove_waiting(context, runtime.id)
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


def _stored(context: Context, ids: Iterable[int]) -> Iterator[Runtime]:
    """Those of the runtimes that are not gone."""
    for runtime_id in ids:
        with suppress(NotFound):
            yield context.runtimes.get(runtime_id)


# ---- ordering -----------------------------------------------------------------------------------


def missing(context: Context, flavours: str) -> int:
    """How many standbys of a flavour tuple the caller lacks, as far as the maximum allows."""
    wanted = context.configuration.standby.flavours.get(flavours, 0)
    if not wanted:
        return 0
    lacking = wanted - len(_without_broken(context, _living(context, flavours)))
    return max(0, min(lacking, _room(context)))


def is_surplus(context: Context, ordered: Runtime) -> bool:
    """Whether other engines have ordered enough in the same moment: the lowest ids stay."""
    flavours = ordered.flavour_tuple
    wanted = context.configuration.standby.flavours.get(flavours, 0)
    return len(_living(context, flavours, before=ordered.id)) >= wanted


def _living(context: Context, flavours: str, before: int | None = None) -> list[Runtime]:
    """The caller's standbys that are ready, being created or being taken, the oldest first.

    TAKEN counts: the taker orders a replacement, or gives it back.
    """
    known = candidates(context, flavours)
    ids = [number for number in known if before is None or number < before]
    found = {runtime.id: runtime for runtime in _stored(context, ids)}
    for gone in set(ids) - found.keys():
        forget(context, flavours, gone)
    leftovers = [r for r in found.values() if abandoned.is_abandoned(context, r)]
    abandoned.resolve_all(context, leftovers)
    return [r for r in found.values() if r.phase in COUNTED and r not in leftovers]


def _without_broken(context: Context, living: list[Runtime]) -> list[Runtime]:
    """Those of which no VM has failed or ended; the others are removed."""
    waiting = [runtime for runtime in living if runtime.phase is Phase.STANDBY]
    if not waiting:
        return living
    ids = [vm_id for runtime in waiting for vm_id in runtime.vm_ids]
    vms = context.holdings(waiting[0]).vms(ids)
    broken = [r for r in waiting if State.ERROR in Snapshot.taken(r, vms, None).states]
    for runtime in broken:
        remove_waiting(context, runtime.id)
    return [runtime for runtime in living if runtime not in broken]


def _room(context: Context) -> int:
    """How many more the caller may order from this process, which knows of no other process.

    It has its part of the maximum for all users, and the caller a share of that: one at least.
    """
    configuration, ordered = context.configuration, context.memory.standbys
    maximum = max(1, configuration.standby.max_runtimes // configuration.server.workers)
    own = configuration.limits.of_one_user(maximum) - ordered.count(context.user().id)
    return min(maximum - ordered.count(), own)
