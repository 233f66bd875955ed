"""Hand a standby over to a create: its service and VMs become those of another document.

The steps, and what a crash after each of them leaves, stand in docs/architecture.md.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping

from provision_engine import log, metrics
from provision_engine.cloud import template
from provision_engine.cloud.objects import Vm
from provision_engine.engine.context import Context
from provision_engine.engine.plan import Plan
from provision_engine.engine.runtime import attributes
from provision_engine.engine.runtime.model import Function, Phase, Runtime
from provision_engine.engine.runtime.snapshot import Snapshot
from provision_engine.engine.runtime.specification import REQUIREMENTS, Specification
from provision_engine.engine.runtime.states import State
from provision_engine.engine.safety import intents, keys, leases, resize, services
from provision_engine.engine.safety.locks import locked
from provision_engine.engine.safety.resize import Resize
from provision_engine.engine.standby import stock
from provision_engine.engine.time_limits import STANDBY_SHARE, WITHDRAW_LEAST_SECONDS
from provision_engine.errors import EngineError, Locked, NotFound, UpdateFailed

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
    if stock.required(context, flavours):
        known = stock.ids(context, flavours)
        if not specification.scheduling.get(REQUIREMENTS):
            blueprint = stock.blueprint(context, planned, flavours)
            if taken := _Taking(context, planned, intent, blueprint).take_first(known):
                return taken
            metrics.standby_misses.inc()
    stock.make_room(_with_share(context), planned, flavours, known)
    return None


class _Taking:
    """One create that looks for a standby."""

    def __init__(self, context: Context, planned: Plan, intent: Runtime, blueprint: str) -> None:
        self._waiting = context
        # Where a standby takes too long, there has to be time left for a create without it.
        self._limited = _with_share(context)
        self._planned, self._intent, self._blueprint = planned, intent, blueprint

    def take_first(self, standby_ids: list[int]) -> Snapshot | None:
        """Hand over the first standby that fits; None where none does."""
        for runtime_id in standby_ids:
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
        with locked(self._limited, runtime_id) as lock:
            standby = lock.runtime
            if standby.phase is not Phase.STANDBY:
                return None
            snapshot = Snapshot.from_vms(standby, lock.vms, None)
            if standby.blueprint != self._blueprint or State.ERROR in snapshot.states:
                self._discard(standby)
                return None
            resizes = resize.between(snapshot, self._planned.functions)
            shares_fit = all(_has_share(r.vm, self._planned.functions[r.role]) for r in resizes)
            if not (shares_fit and _fits(snapshot, resizes, self._limited.now())):
                return None
            return self._hand_over(standby, resizes)

    def _hand_over(self, standby: Runtime, resizes: list[Resize]) -> Snapshot:
        """Give the service of a standby, whose lock is held, to the document of the create."""
        standby = self._limited.runtimes.mark(standby, Phase.TAKEN)
        new_runtime = self._write(standby)
        try:
            vms = _adapt(self._limited, new_runtime, resizes)
            new_runtime = self._limited.runtimes.settle(new_runtime)
        except BaseException:
            self._discard(new_runtime)
            self._remove_document(standby)
            raise
        self._remove_document(standby)
        metrics.standby_hits.inc()
        metrics.standby_age.observe(self._limited.now() - standby.created_at)
        log.engine.info("Standby %s became runtime %s", standby.id, new_runtime.id)
        return Snapshot.pending(new_runtime, vms)

    def _write(self, standby: Runtime) -> Runtime:
        """Write the document of the create, which owns the standby's service from now on.

        Where this raises, for one because another create with the same key was first, the standby
        waits again, unless the document may still appear.
        """
        vm_ids = {role: function.vm_id for role, function in standby.functions.items()}
        intended = dataclasses.replace(
            self._intent.with_vms(vm_ids),
            service_id=standby.service_id,
            service_name=standby.service_name,
            is_lease_renewed=self._intent.lease_seconds is not None,
        )
        try:
            new_runtime = intents.write_intent(self._limited, intended)
        except EngineError as error:
            if services.is_unsure(error):  # it would own the service of whoever takes this next
                self._discard(standby)
            else:
                self._give_back(standby, None)
            raise
        try:
            keys.check_first(self._limited, new_runtime)
        except BaseException:
            self._give_back(standby, new_runtime)
            raise
        return new_runtime

    def _give_back(self, standby: Runtime, new_runtime: Runtime | None) -> None:
        """Let a standby wait for its create again; the new runtime's document goes first."""
        deadline = self._limited.cloud.deadline.at_least(WITHDRAW_LEAST_SECONDS)
        runtimes = self._limited.with_deadline(deadline).runtimes
        try:
            if new_runtime is not None:
                runtimes.remove(new_runtime.id)
            runtimes.settle(standby, Phase.STANDBY)
        except EngineError as error:
            log.engine.warning("Standby %s is not given back: %s", standby.id, error)

    def _remove_document(self, standby: Runtime) -> None:
        """Delete the document of a standby that was handed over, or leave it to a later request."""
        stock.forget(self._waiting, standby.flavour_tuple, standby.id)
        try:
            self._waiting.runtimes.remove(standby.id)
        except EngineError as error:
            log.engine.warning("Document %s is left to a later request: %s", standby.id, error)

    def _discard(self, runtime: Runtime) -> None:
        """Remove a standby that cannot be handed out; the create goes on without it."""
        stock.remove(_with_share(self._waiting), runtime)


def _with_share(context: Context) -> Context:
    """Return the same request, with a share of the time that it has left."""
    return context.at_most(context.cloud.deadline.remaining_seconds * STANDBY_SHARE)


def _fits(snapshot: Snapshot, resizes: Iterable[Resize], now: float) -> bool:
    """Return whether a standby runs, lives long enough to lift its lease, and can be resized."""
    ends_soon = snapshot.ends_at is not None and snapshot.ends_at - now < LEAST_LEASE_SECONDS
    is_possible = not any(r.exceeds_maximum() or r.shrinks_disk for r in resizes)
    return snapshot.states == {State.RUNNING} and not ends_soon and is_possible


def _has_share(vm: Vm, function: Function) -> bool:
    """Return whether a VM has as much of its host's CPU as it would have without a standby."""
    return function.cpu_share is not None or vm.cpu_share >= (vm.vcpu or 1)


def _adapt(context: Context, new_runtime: Runtime, resizes: list[Resize]) -> Mapping[int, Vm]:
    """Give the VMs what is requested: sizes, texts, the lease. Returns them.

    Raises UpdateFailed where one of them has ended meanwhile.
    """
    resize.apply(context.cloud, resizes)
    values = attributes.user_attributes(new_runtime.scheduling, new_runtime.device_info, "")
    for vm_id in new_runtime.vm_ids:
        if values:
            context.cloud.oned.update_vm(vm_id, template.render(values))
        leases.schedule_end(context.cloud, vm_id, new_runtime.lease_ends_at)
    vms = context.holdings(new_runtime).vms(new_runtime.vm_ids)
    snapshot = Snapshot.from_vms(dataclasses.replace(new_runtime, phase=Phase.READY), vms, None)
    if snapshot.states != {State.RUNNING}:
        raise UpdateFailed("; ".join(known.text for known in snapshot.conditions.values()))
    return vms
