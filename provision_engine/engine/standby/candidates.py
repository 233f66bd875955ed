"""Standby runtimes: ready before they are requested.

After a create of a flavour that engine.conf names, further runtimes of it are created with the
caller's credentials (``replenishing``), and leased, so that OpenNebula ends those that no create
took. A later create of the same user takes one (``handover``). The rules that make this safe
stand in docs/architecture.md.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress

from provision_engine import log, metrics
from provision_engine.engine import quota
from provision_engine.engine.context import Context
from provision_engine.engine.plan import Plan, plan
from provision_engine.engine.runtime.model import Function, Phase, Runtime
from provision_engine.engine.runtime.specification import Specification
from provision_engine.engine.safety import intents, keys
from provision_engine.engine.safety.locks import locked
from provision_engine.engine.time_limits import ENDING_SECONDS
from provision_engine.errors import CapacityRefused, EngineError, Locked, NotFound

KEY = "standby:"
"""In the place of an idempotency key, which is a hexadecimal digest: so the index finds them."""


def is_kept(context: Context, flavours: str) -> bool:
    """Return whether standbys of a flavour tuple are kept at all."""
    return bool(context.configuration.standby.flavours.get(flavours))


def ids(context: Context, flavours: str) -> list[int]:
    """Return the ids of the caller's documents that were written as standbys of a flavour tuple."""
    return keys.candidates(context, KEY + flavours)


def forget(context: Context, flavours: str, runtime_id: int) -> None:
    """Do not look at a standby of the caller again, which has gone."""
    keys.forget(context, KEY + flavours, runtime_id)
    context.memory.standbys.remove(runtime_id)
    metrics.standbys_ready(context.memory.standbys.count())


def blueprint(context: Context, planned: Plan, flavours: str) -> str:
    """Return a digest of everything that a standby is made of: templates, sizes, password."""
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
    """Remove the user's standbys, of whatever flavours, where the quota is full and that helps.

    A create comes before them. ``known`` are the ids of those of the create's own flavours; some
    may be ending already.
    """
    try:
        others = set(context.configuration.standby.flavours) - {flavours}
        standby_ids = [*known, *(number for name in others for number in ids(context, name))]
        if not standby_ids or _has_room(context, planned):
            return
        waiting = [r for r in stored(context, standby_ids) if r.phase is Phase.STANDBY]
        freed = [function for runtime in waiting for function in runtime.functions.values()]
        if len(waiting) == len(standby_ids) and not _has_room(context, planned, freed):
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


def stored(context: Context, runtime_ids: Iterable[int]) -> Iterator[Runtime]:
    """Yield those of the runtimes that are not gone."""
    for runtime_id in runtime_ids:
        with suppress(NotFound):
            yield context.runtimes.get(runtime_id)
