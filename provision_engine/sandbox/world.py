"""Everything behind the two services: the store, what changes it, and the agenda's steps."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from provision_engine.sandbox import seeds
from provision_engine.sandbox.clock import Clock
from provision_engine.sandbox.errors import OneError
from provision_engine.sandbox.faults import Drivers
from provision_engine.sandbox.lifecycle import Lifecycle, in_words
from provision_engine.sandbox.machines import Machines
from provision_engine.sandbox.scheduler import Scheduler
from provision_engine.sandbox.service_body import UNEXPECTED, Crash, ServiceError
from provision_engine.sandbox.services import Services
from provision_engine.sandbox.store import Store, Vm
from provision_engine.sandbox.timings import Timings


class World:
    """One simulated OpenNebula, without its servers."""

    def __init__(
        self,
        version: str,
        clock: Clock | None = None,
        timings: Timings | None = None,
        drivers: Drivers | None = None,
        hosts: int = 100,
    ) -> None:
        self.store = Store(version, clock, timings, hosts)
        seeds.add_seeds(self.store)
        self.vms = Lifecycle(self.store, drivers or Drivers())
        self.machines = Machines(self.store, self.vms)
        self.services = Services(self.store, self.machines, self.vms)
        self.scheduler = Scheduler(self.store, self.vms)
        self.vms.watchers += [self.scheduler.watch, self.services.vm_changed]
        self._steps: dict[str, Callable[..., None]] = {
            "vm": self.vms.advance,
            "schedule": self.scheduler.run,
            "action": self._scheduled_action,
        }
        of_services: dict[str, Callable[[int], None]] = {
            "service-nets": self.services.deploy_nets,
            "service-deploy": self.services.deploy,
            "service-watch": self.services.watch,
            "service-failed": lambda service_id: self.services.watch(service_id, failures=True),
            "service-scale": self.services.scale_up,
            "service-cooled": self.services.cooled_down,
            "service-gone": self.services.gone,
        }
        self._steps |= {name: self._by_oneflow(step) for name, step in of_services.items()}

    @contextmanager
    def moment(self) -> Iterator[None]:
        """Exclusive access to the store, after all due steps are carried out."""
        with self.store.guard:
            self.catch_up()
            yield

    def catch_up(self) -> None:
        """Carries out all due steps."""
        agenda = self.store.agenda
        try:
            while (entry := agenda.take_due()) is not None:
                self._steps[entry.step](*entry.ids)
        finally:
            agenda.finish()

    def user_template_changed(self, vm: Vm) -> None:
        """Reacts to new requirements (the scheduler) and to READY (the VM's service)."""
        self.store.agenda.put(0.0, "schedule")
        self.services.vm_changed(vm)

    def _scheduled_action(self, vm_id: int, action_id: int) -> None:
        vm = self.store.vms.find(vm_id)
        action = vm.scheduled.get(action_id) if vm else None
        if vm is None or action is None or action.time > self.store.agenda.now():
            return  # it was deleted or postponed
        owner = self.store.owner_of(vm)
        request = self.store.begin_request() if self.store.release.scheduled_has_request_id else -1
        try:
            self.vms.act(vm, action.action, owner, request)
        except OneError as error:
            # It stays due and is retried until it succeeds (scenario order-to-end-while-booting).
            stamp = in_words(self.store.agenda.now())
            action.message = f"{stamp} : [{action.action}] {error.message}"
            delay = self.store.timings.action_retry_seconds
            self.store.agenda.put(delay, "action", vm_id, action_id)
        else:
            vm.scheduled.pop(action_id, None)
        vm.changed()

    def _by_oneflow(self, step: Callable[[int], None]) -> Callable[[int], None]:
        """A step of oneflow, if that runs; where a service is spoilt, it harms no other."""

        def do(service_id: int) -> None:
            with suppress(OneError, ServiceError, Crash, *UNEXPECTED):
                if not self.services.is_killed:
                    step(service_id)

        return do
