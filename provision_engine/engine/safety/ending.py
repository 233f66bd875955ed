"""End VMs and services, whatever their state. Everything that ends a runtime goes through here.

oneflow removes a service although its VMs live on, and OpenNebula terminates a VM only in some of
its states. So the VMs themselves are looked at: what can be terminated is terminated, and each
other one is given an order to OpenNebula itself, which is carried out as soon as the VM's state
allows, with every engine dead. Source: the scenarios delete-while-booting, delete-while-resizing,
order-to-end-while-booting and slow-shutdown of the recordings.

A oneflow that is killed may have created VMs that it never wrote into their service. They are
searched for where a service lacks VMs, has some of another user, or is gone before its VMs were
known.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from contextlib import suppress

from provision_engine import log
from provision_engine.cloud import template
from provision_engine.cloud.enums import ServiceState
from provision_engine.cloud.objects import Service, Vm
from provision_engine.engine.runtime import states
from provision_engine.engine.runtime.model import Phase, Runtime
from provision_engine.engine.safety import leases, services
from provision_engine.engine.safety.ownership import Holdings
from provision_engine.engine.time_limits import ORDER_LEAST_SECONDS
from provision_engine.errors import ActionRefused, EngineError, Forbidden, Locked, NotFound

ATTEMPTS = 6
"""A service goes at once, or with the third attempt; each costs 0.2 s of oneflow's time."""
GRACE_SECONDS = 20
"""Time for a guest to shut down, before OpenNebula ends its VM the hard way."""
_UNDEPLOYABLE = frozenset(
    {ServiceState.RUNNING, ServiceState.WARNING, ServiceState.COOLDOWN, ServiceState.HOLD}
)
"""States in which oneflow undeploys a service; in the others it has to be recovered with delete."""


def end(
    holdings: Holdings, service_ids: Iterable[int], vm_ids: Iterable[int] = ()
) -> frozenset[int]:
    """End services of one owner with all their VMs, and further VMs. Returns the ids of all VMs.

    When this returns, each service is gone or on its way out, and each VM is gone or carries an
    order to end. Other users' things stay. Raises Locked where it has to be repeated,
    and the errors of the calls.
    """
    ending = _Ending(holdings, vm_ids)
    try:
        for service_id in service_ids:
            ending.end_service(service_id)
    except Locked:
        ending.end_vms()
        raise
    except EngineError:
        ending.order_all()
        raise
    return ending.end_vms()


def end_runtime(holdings: Holdings, runtime: Runtime) -> frozenset[int]:
    """End all that runs for a runtime, whether its service was written down or not."""
    if runtime.service_id is not None and runtime.phase is not Phase.REPLACING:
        return end(holdings, [runtime.service_id], runtime.vm_ids)
    known = [] if runtime.service_id is None else [runtime.service_id]
    started = services.find(holdings, runtime.service_name, newer_than=runtime.id)
    return end(holdings, [*known, *(service.id for service in started)], runtime.vm_ids)


def alive(holdings: Holdings, vm_ids: Collection[int]) -> list[Vm]:
    """Return those of the VMs that are not gone yet."""
    return [vm for vm in holdings.vms(list(vm_ids)).values() if states.is_alive(vm)]


class _Ending:
    """The VMs that are being ended, as they were last read."""

    def __init__(self, holdings: Holdings, vm_ids: Iterable[int]) -> None:
        self._holdings = holdings
        self._vm_ids = set(vm_ids)
        self._alive: list[Vm] | None = None
        """Those that were alive when they were last read; None where that is too long ago."""
        self._lost: list[Vm] = []
        """VMs that no service names any more."""
        self._ordered: set[int] = set()
        self._shutting_down: set[int] = set()

    def end_service(self, service_id: int) -> None:
        """Remove a service, with orders for the VMs that it would leave alive.

        Its response does not tell whether oneflow goes on by itself: that is read each time.
        """
        for attempt in range(ATTEMPTS + 1):
            service = self._look(service_id)
            if attempt == 0 and not (service.is_complete if service else self._vm_ids):
                self._find_lost_vms(service_id)
            if service is None:
                return
            self._order_busy_vms()
            # oneflow may lose sight of a service whose VMs ended all at once.
            is_forgotten = attempt == 0 and not self._alive
            if states.service_ends_by_itself(service) and not is_forgotten:
                self._shutting_down |= set(service.vm_ids)
                return
            if attempt < ATTEMPTS:
                self._alive = None  # from here on their states change
                try:
                    self._remove(service)
                except ActionRefused as refusal:
                    log.engine.info("Service %s is not removed yet: %s", service_id, refusal)
                except NotFound:
                    return
        raise Locked(f"OpenNebula does not remove service {service_id} yet")

    def _look(self, service_id: int) -> Service | None:
        """Read a service and the VMs that are to be ended; None where it is gone."""
        service, vms = self._holdings.service_and_vms(service_id, self._vm_ids)
        if service is not None and (others := set(service.vm_ids) - self._vm_ids):
            self._vm_ids |= others
            vms = vms | self._holdings.vms(list(others))
        self._alive = [vm for vm in vms.values() if states.is_alive(vm)]
        return service

    def _find_lost_vms(self, service_id: int) -> None:
        """Order the end of VMs that name a service, before it is gone and its id forgotten."""
        for vm in self._holdings.all_vms():
            if vm.service_id == service_id and vm.id not in self._vm_ids:
                log.engine.warning("VM %s of service %s is in no role of it", vm.id, service_id)
                self._order(vm, 0)
                self._lost.append(vm)

    def _remove(self, service: Service) -> None:
        cloud = self._holdings.cloud
        if not self._holdings.are_the_callers():
            # oneflow would end whatever VMs the owner names in it, with the rights of the caller.
            with suppress(ActionRefused, Forbidden):  # an administrator may break its owner's lock
                cloud.oned.unlock_document(service.id)
            cloud.oned.delete_document(service.id)
        elif service.state in _UNDEPLOYABLE:
            cloud.oneflow.delete_service(service.id)
        else:
            cloud.oneflow.purge_service(service.id)

    def _order_busy_vms(self) -> None:
        """Order the end of VMs before their service is gone: they end even if this process dies."""
        for vm in self._alive or ():
            if not (states.can_be_ended(vm) or states.is_ending(vm)):
                self._order(vm, 0)

    def order_all(self) -> None:
        """Have OpenNebula itself end what is alive, because the time does not suffice for more."""
        deadline = self._holdings.cloud.deadline.at_least(ORDER_LEAST_SECONDS)
        self._holdings = self._holdings.with_deadline(deadline)
        with suppress(EngineError):
            for vm in alive(self._holdings, self._vm_ids):
                self._order(vm, 0)

    def end_vms(self) -> frozenset[int]:
        """Terminate each VM that may be alive, or order its end. Returns the ids of all VMs."""
        known = alive(self._holdings, self._vm_ids) if self._alive is None else self._alive
        for vm in (*known, *self._lost):
            if states.is_ending(vm) or vm.id in self._shutting_down:
                self._order(vm, GRACE_SECONDS)
            elif not states.can_be_ended(vm):
                self._order(vm, 0)
            else:
                try:
                    self._holdings.cloud.oned.act_on_vm(vm.id, leases.END)
                except ActionRefused:  # its state has just changed
                    self._order(vm, 0)
                except NotFound:
                    pass
        return frozenset(self._vm_ids.union(vm.id for vm in self._lost))

    def _order(self, vm: Vm, in_seconds: int) -> None:
        """Have OpenNebula itself end a VM from then on, as soon as its state allows."""
        at = int(self._holdings.cloud.now()) + in_seconds
        if vm.scheduled_actions is None and vm.id not in self._ordered:
            vm = self._holdings.vm(vm.id)  # only this call tells what is ordered already
        if vm.id in self._ordered or leases.is_ending_by(vm, at):
            return
        order = template.render({"SCHED_ACTION": leases.action(str(at))})
        try:
            self._holdings.cloud.oned.add_scheduled_action(vm.id, order)
        except (ActionRefused, NotFound) as error:  # it is gone by now
            log.engine.info("VM %s takes no order to end: %s", vm.id, error)
        self._ordered.add(vm.id)
