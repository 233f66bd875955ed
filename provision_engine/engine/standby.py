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
from collections.abc import Mapping
from contextlib import suppress

from provision_engine import log, metrics
from provision_engine.cloud import template
from provision_engine.cloud.objects import Vm
from provision_engine.engine import (
    abandoned,
    attributes,
    idempotency,
    leases,
    preflight,
    quota,
    resize,
    services,
    states,
)
from provision_engine.engine import intent as intents
from provision_engine.engine.context import Context
from provision_engine.engine.locks import locked
from provision_engine.engine.model import Phase, Runtime
from provision_engine.engine.plan import Plan, plan
from provision_engine.engine.resize import Resize
from provision_engine.engine.snapshot import Snapshot
from provision_engine.engine.specification import REQUIREMENTS, Specification
from provision_engine.engine.states import Condition, State
from provision_engine.errors import CapacityRefused, EngineError, Locked, NotFound, UpdateFailed

SHARE = 0.5
"""Of a request's time, for taking a standby."""
LEAST_LEASE_SECONDS = 15
"""A standby that OpenNebula ends earlier is not handed out any more."""
ENDING_SECONDS = 3.0
"""How long the end of the VMs of standbys is waited for that use up the quota of a create."""
COUNTED = (Phase.STANDBY, Phase.CREATING, Phase.TAKEN)
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
    if not is_kept(context, flavours):
        return None
    candidates = _candidates(context, flavours)
    if not specification.scheduling.get(REQUIREMENTS):
        taking = _Taking(context, planned, intent, _blueprint(context, planned, flavours))
        if taken := taking.take_first(candidates):
            return taken
        metrics.standby_missed()
    if candidates:
        _make_room(_with_share(context), planned)
    return None


class _Taking:
    """One create that looks for a standby."""

    def __init__(self, context: Context, planned: Plan, intent: Runtime, blueprint: str) -> None:
        self._patient = context
        # Where a standby takes too long, there has to be time left for a create without it.
        self._context = _with_share(context)
        self._planned, self._intent, self._blueprint = planned, intent, blueprint

    def take_first(self, candidates: list[int]) -> tuple[Snapshot, bool] | None:
        """Hand over the first standby that fits; None where none does."""
        for runtime_id in candidates:
            try:
                if taken := self._take(runtime_id):
                    return taken
            except (Locked, NotFound):
                continue
            except EngineError as error:
                log.engine.warning("Standby %s is not taken: %s", runtime_id, error)
                break
        return None

    def _take(self, runtime_id: int) -> tuple[Snapshot, bool] | None:
        """Hand over one standby; None where it does not fit. Raises Locked, NotFound."""
        context = self._context
        with locked(context.cloud, runtime_id, context.stale_seconds):
            standby = context.runtimes.get(runtime_id)
            if standby.phase is not Phase.STANDBY:
                return None
            return self._hand_over(standby)

    def _hand_over(self, standby: Runtime) -> tuple[Snapshot, bool] | None:
        """The same for the holder of its lock."""
        vms = self._context.cloud.oned.vms(standby.vm_ids)
        seen = Snapshot.taken(standby, vms, None).states
        if standby.blueprint != self._blueprint or State.ERROR in seen:
            self._discard(standby)
            return None
        resizes = _resizes(standby, vms, self._planned)
        if seen != {State.RUNNING} or _ends_soon(standby, vms) or not _are_possible(resizes):
            return None
        standby = self._context.runtimes.mark(standby, Phase.TAKEN)
        heir, winner = self._heir(standby)
        if winner:
            return Snapshot.unseen(winner), False
        heir, seen_vms = self._adapted(standby, heir, resizes)
        metrics.standby_taken(time.time() - standby.created_at)
        log.engine.info("Standby %s became runtime %s", standby.id, heir.id)
        return Snapshot.handed_over(heir, seen_vms), True

    def _heir(self, standby: Runtime) -> tuple[Runtime, Runtime | None]:
        """The document of the create, which owns the standby's service from now on.

        Where another create with the same key was first, its runtime, and the standby waits
        again; likewise where this raises, unless the document may still appear.
        """
        heir = self._write_heir(standby)
        winner: Runtime | None = None
        is_first = False
        try:
            if heir.key:
                winner = idempotency.find(self._context, heir.key, heir.digest, before=heir.id)
            is_first = winner is None
        finally:
            if not is_first:
                self._give_back(standby, heir)
        return heir, winner

    def _write_heir(self, standby: Runtime) -> Runtime:
        vm_ids = {role: function.vm_id for role, function in standby.functions.items()}
        intended = dataclasses.replace(
            self._intent.with_vms(vm_ids),
            service_id=standby.service_id,
            service_name=standby.service_name,
            is_lease_renewed=self._intent.lease_seconds is not None,
        )
        try:
            return intents.write(self._context, intended)
        except EngineError as error:
            if services.is_unsure(error):  # it would own the service of whoever takes this next
                self._discard(standby)
            else:
                self._give_back(standby, None)
            raise

    def _give_back(self, standby: Runtime, heir: Runtime | None) -> None:
        """Let a standby wait for its create again; the heir's document goes first."""
        deadline = self._context.cloud.deadline.at_least(intents.WITHDRAW_LEAST_SECONDS)
        runtimes = self._context.until(deadline).runtimes
        try:
            if heir is not None:
                runtimes.remove(heir.id)
            runtimes.put_back(standby)
        except EngineError as error:
            log.engine.warning("Standby %s is not given back: %s", standby.id, error)

    def _adapted(
        self, standby: Runtime, heir: Runtime, resizes: list[Resize]
    ) -> tuple[Runtime, Mapping[int, Vm]]:
        """The runtime, ready as it was asked for, and its VMs. Where this raises, all of it has
        been removed.
        """
        try:
            vms = _adapt(self._context, heir, resizes)
            heir = self._context.runtimes.ready(heir)
        except BaseException:
            self._discard(heir)
            self._remove_document(standby)
            raise
        self._remove_document(standby)
        return heir, vms

    def _remove_document(self, standby: Runtime) -> None:
        """Of a standby whose service has another owner. One that stays does no harm."""
        context = self._patient
        _forget(context, standby.flavour_tuple, standby.id)
        try:
            context.runtimes.remove(standby.id)
        except EngineError as error:
            log.engine.warning("Document %s is left to a later request: %s", standby.id, error)

    def _discard(self, runtime: Runtime) -> None:
        """Remove a standby that cannot be handed out; the create goes on without it."""
        _remove(_with_share(self._patient), runtime)


def _with_share(context: Context) -> Context:
    """The same request, with a share of the time that it has left."""
    deadline = context.cloud.deadline
    return context.until(deadline.at_most(deadline.remaining_seconds * SHARE))


def _ends_soon(standby: Runtime, vms: Mapping[int, Vm]) -> bool:
    """Whether OpenNebula might end a standby before its lease is lifted."""
    end = leases.ends_at(standby, vms.values())
    return end is not None and end - time.time() < LEAST_LEASE_SECONDS


def _resizes(standby: Runtime, vms: Mapping[int, Vm], planned: Plan) -> list[Resize]:
    return [
        Resize.to(role, vms[function.vm_id], planned.functions[role])
        for role, function in standby.functions.items()
        if function.vm_id is not None and function.vm_id in vms
    ]


def _are_possible(resizes: list[Resize]) -> bool:
    return not any(resize.exceeds_maximum() or resize.shrinks_disk for resize in resizes)


def _adapt(context: Context, heir: Runtime, resizes: list[Resize]) -> Mapping[int, Vm]:
    """Give the VMs what the request asks for: sizes, texts, the lease. The VMs as they are then.

    Raises UpdateFailed where one of them has ended meanwhile.
    """
    resize.apply(context.cloud, resizes)
    values = attributes.user_attributes(heir.scheduling, heir.device_info)
    for vm_id in heir.vm_ids:
        if values:
            context.cloud.oned.update_vm(vm_id, template.render(values))
        if heir.lease_ends_at is None:
            leases.lift(context.cloud, vm_id)
        else:
            leases.renew(context.cloud, vm_id, heir.lease_ends_at)
    vms = context.cloud.oned.vms(heir.vm_ids)
    conditions = [_condition(vms.get(vm_id)) for vm_id in heir.vm_ids]
    if any(condition.state is not State.RUNNING for condition in conditions):
        raise UpdateFailed("; ".join(condition.text for condition in conditions))
    return vms


def _condition(vm: Vm | None) -> Condition:
    return states.of_missing_vm(None, had_vm=True) if vm is None else states.of_vm(vm)


# ---- removing -----------------------------------------------------------------------------------


def _remove(context: Context, standby: Runtime) -> None:
    """Remove a standby, whose lock is held, with service and VMs, as far as that is possible."""
    try:
        abandoned.remove(context, standby)
        _forget(context, standby.flavour_tuple, standby.id)
    except EngineError as error:
        log.engine.warning("Standby %s is not removed yet: %s", standby.id, error)


def _remove_waiting(context: Context, runtime_id: int) -> None:
    """Remove a standby, unless it is being taken."""
    with suppress(Locked, NotFound), locked(context.cloud, runtime_id, context.stale_seconds):
        runtime = context.runtimes.get(runtime_id)
        if runtime.phase is Phase.STANDBY:
            _remove(context, runtime)


def _make_room(context: Context, planned: Plan) -> None:
    """Where the user's quota is full, remove the standbys in it: a create comes before them."""
    try:
        if _has_room(context, planned):
            return
        for flavours in context.configuration.standby.flavours:
            for runtime_id in _candidates(context, flavours):
                _remove_waiting(context, runtime_id)
        for _ in context.cloud.deadline.at_most(ENDING_SECONDS).polls():
            if _has_room(context, planned):
                return
    except EngineError as error:
        log.engine.warning("Standbys may use up the quota of a create: %s", error)


def _has_room(context: Context, planned: Plan) -> bool:
    try:
        quota.check_new(context.cloud, list(planned.functions.values()))
    except CapacityRefused:
        return False
    return True


# ---- ordering -----------------------------------------------------------------------------------


def missing(context: Context, flavours: str) -> int:
    """How many standbys of a flavour tuple the caller lacks, as far as the maximum allows."""
    wanted = context.configuration.standby.flavours.get(flavours, 0)
    if not wanted:
        return 0
    lacking = wanted - len(_without_broken(context, _living(context, flavours)))
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
    """The caller's standbys that are ready, being created or being taken, the oldest first.

    Who takes one orders the next, or gives it back.
    """
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
        elif runtime.phase in COUNTED:
            found.append(runtime)
    return found


def _without_broken(context: Context, living: list[Runtime]) -> list[Runtime]:
    """Those of which no VM has failed or ended; the others are removed."""
    waiting = [runtime for runtime in living if runtime.phase is Phase.STANDBY]
    vms = context.cloud.oned.vms([vm_id for runtime in waiting for vm_id in runtime.vm_ids])
    broken = [r for r in waiting if State.ERROR in Snapshot.taken(r, vms, None).states]
    for runtime in broken:
        _remove_waiting(context, runtime.id)
    return [runtime for runtime in living if runtime not in broken]


def _share(context: Context) -> int:
    """Of the maximum for all users, the part of one process, and one at least: no process knows
    of another.
    """
    configuration = context.configuration
    return max(1, configuration.standby.max_runtimes // configuration.server.workers)
