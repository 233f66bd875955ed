"""Handing a standby over to a create: its service and VMs become those of another document.

The steps, and what a crash after each of them leaves, stand in docs/architecture.md.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from provision_engine import log, metrics
from provision_engine.cloud import template
from provision_engine.cloud.objects import Vm
from provision_engine.engine.actions import resize
from provision_engine.engine.actions.resize import Resize
from provision_engine.engine.context import Context
from provision_engine.engine.runtime import attributes, services, states
from provision_engine.engine.runtime.model import Phase, Runtime
from provision_engine.engine.runtime.plan import Plan
from provision_engine.engine.runtime.snapshot import Snapshot
from provision_engine.engine.runtime.specification import REQUIREMENTS, Specification
from provision_engine.engine.runtime.states import Condition, State
from provision_engine.engine.safety import idempotency, leases
from provision_engine.engine.safety import intent as intents
from provision_engine.engine.safety.locks import locked
from provision_engine.engine.standby import candidates as standbys
from provision_engine.errors import EngineError, Locked, NotFound, UpdateFailed

SHARE = 0.5
"""Of a request's time, for taking a standby."""
LEAST_LEASE_SECONDS = 15
"""A standby that OpenNebula ends earlier is not handed out any more."""


def take(
    context: Context, specification: Specification, planned: Plan, intent: Runtime
) -> Snapshot | None:
    """Hand a standby over to a create; None where there is none that fits.

    ``intent`` is what the create would write. A standby that turns out to be broken is removed,
    and never the caller's concern. Raises OtherCreateIsFirst.
    """
    flavours = specification.flavour_tuple
    known: list[int] = []
    if standbys.is_kept(context, flavours):
        known = standbys.candidates(context, flavours)
        if not specification.scheduling.get(REQUIREMENTS):
            blueprint = standbys.blueprint(context, planned, flavours)
            if taken := _Taking(context, planned, intent, blueprint).take_first(known):
                return taken
            metrics.standby_missed()
    standbys.make_room(_with_share(context), planned, flavours, known)
    return None


class _Taking:
    """One create that looks for a standby."""

    def __init__(self, context: Context, planned: Plan, intent: Runtime, blueprint: str) -> None:
        self._patient = context
        # Where a standby takes too long, there has to be time left for a create without it.
        self._context = _with_share(context)
        self._planned, self._intent, self._blueprint = planned, intent, blueprint

    def take_first(self, candidates: list[int]) -> Snapshot | None:
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

    def _take(self, runtime_id: int) -> Snapshot | None:
        """Hand over one standby; None where it does not fit. Raises Locked, NotFound."""
        context = self._context
        with locked(context, runtime_id):
            standby = context.runtimes.get(runtime_id)
            if standby.phase is not Phase.STANDBY:
                return None
            return self._hand_over(standby)

    def _hand_over(self, standby: Runtime) -> Snapshot | None:
        """The same for the holder of its lock."""
        vms = self._context.holdings(standby).vms(standby.vm_ids)
        seen = Snapshot.taken(standby, vms, None).states
        if standby.blueprint != self._blueprint or State.ERROR in seen:
            self._discard(standby)
            return None
        resizes = _resizes(standby, vms, self._planned)
        if (
            seen != {State.RUNNING}
            or _ends_soon(self._context, standby, vms)
            or not _are_possible(resizes)
        ):
            return None
        standby = self._context.runtimes.mark(standby, Phase.TAKEN)
        heir = self._heir(standby)
        heir, seen_vms = self._adapted(standby, heir, resizes)
        metrics.standby_taken(self._context.now() - standby.created_at)
        log.engine.info("Standby %s became runtime %s", standby.id, heir.id)
        return Snapshot.handed_over(heir, seen_vms)

    def _heir(self, standby: Runtime) -> Runtime:
        """The document of the create, which owns the standby's service from now on.

        Where this raises, for one because another create with the same key was first, the standby
        waits again, unless the document may still appear.
        """
        heir = self._write_heir(standby)
        try:
            idempotency.check_first(self._context, heir)
        except BaseException:
            self._give_back(standby, heir)
            raise
        return heir

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
        standbys.forget(context, standby.flavour_tuple, standby.id)
        try:
            context.runtimes.remove(standby.id)
        except EngineError as error:
            log.engine.warning("Document %s is left to a later request: %s", standby.id, error)

    def _discard(self, runtime: Runtime) -> None:
        """Remove a standby that cannot be handed out; the create goes on without it."""
        standbys.remove(_with_share(self._patient), runtime)


def _with_share(context: Context) -> Context:
    """The same request, with a share of the time that it has left."""
    deadline = context.cloud.deadline
    return context.until(deadline.at_most(deadline.remaining_seconds * SHARE))


def _ends_soon(context: Context, standby: Runtime, vms: Mapping[int, Vm]) -> bool:
    """Whether OpenNebula might end a standby before its lease is lifted."""
    end = leases.ends_at(standby, vms.values())
    return end is not None and end - context.now() < LEAST_LEASE_SECONDS


def _resizes(standby: Runtime, vms: Mapping[int, Vm], planned: Plan) -> list[Resize]:
    return [
        Resize.between(role, vms[function.vm_id], planned.functions[role].sizes)
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
    vms = context.holdings(heir).vms(heir.vm_ids)
    conditions = [_condition(vms.get(vm_id)) for vm_id in heir.vm_ids]
    if any(condition.state is not State.RUNNING for condition in conditions):
        raise UpdateFailed("; ".join(condition.text for condition in conditions))
    return vms


def _condition(vm: Vm | None) -> Condition:
    return states.of_missing_vm(None, had_vm=True) if vm is None else states.of_vm(vm)
