"""The lifecycle of VMs: moves them along the tables of ``states.py``.

It also does the bookkeeping: history records, the capacity of hosts, quotas and addresses.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from provision_engine.sandbox import devices, errors, states
from provision_engine.sandbox.errors import OneError
from provision_engine.sandbox.faults import Drivers
from provision_engine.sandbox.states import (
    ACTIONS,
    CLEANUP_DELETE,
    DISK_RESIZES,
    DONE,
    EPILOG,
    HOTPLUG_RESIZE,
    PENDING,
    POWEROFF,
    PROLOG,
    RUNNING,
    STEPS,
    Position,
    Step,
    position_of,
    state_name,
)
from provision_engine.sandbox.store import History, Host, Store, User, Vm


class Lifecycle:
    """Moves VMs along the tables and does the bookkeeping."""

    def __init__(self, store: Store, drivers: Drivers) -> None:
        self.store = store
        self.drivers = drivers
        self.watchers: list[Callable[[Vm], None]] = []

    def enter(self, vm: Vm, to: Position) -> None:
        """Puts a VM into a state, and schedules the next step if that state is transient."""
        vm.came_from = state_name(vm)
        vm.state, vm.lcm_state = to
        vm.step += 1
        vm.changed()
        step = STEPS.get(to)
        if step is not None:
            self.store.agenda.put(self._duration(step), "vm", vm.id, vm.step)
        elif to == DONE:
            self._done(vm)
        elif to == PENDING:
            self._leave_host(vm)
            if vm.came_from in _PROLOGS:
                vm.template.set("AUTOMATIC_DS_REQUIREMENTS", _RESUMED_DS_REQUIREMENTS)
            self.store.agenda.put(self.store.timings.schedule_seconds, "schedule")
        for watcher in self.watchers:
            watcher(vm)

    def _duration(self, step: Step) -> float:
        driver = self.drivers.get(step.driver)
        if driver is not None and driver.slow_seconds:
            return driver.slow_seconds
        if driver is not None and driver.fails and step.driver == "boot":
            return self.store.timings.boot_failure_seconds
        return float(getattr(self.store.timings, step.duration))

    def advance(self, vm_id: int, planned_step: int) -> None:
        """Ends a VM's stay in a transient position."""
        vm = self.store.vms.find(vm_id)
        if vm is None or vm.step != planned_step:
            return  # its state has changed since this step was scheduled
        step = STEPS[position_of(vm)]
        driver = self.drivers.get(step.driver)
        if driver is not None and driver.fails:
            self._book(vm, step.failed)
            self.enter(vm, step.failed_to)
        else:
            self._book(vm, step.done)
            self.enter(vm, step.to)

    def deploy(self, vm: Vm, host: Host) -> None:
        """Deploys a VM on the host that the scheduler chose."""
        now = self.store.agenda.seconds()
        vm.host_id = host.id
        host.take(vm.cpu, vm.memory_mb)
        devices.place(vm, self.store.release)
        if vm.history:
            vm.history[-1].etime = vm.history[-1].etime or now
        vm.history.append(History(len(vm.history), host.id, host.name, now, pstime=now))
        self.enter(vm, _PROLOGS.get(vm.came_from, PROLOG))

    def act(self, vm: Vm, name: str, user: User, request_id: int) -> None:
        """Carries out an action; 0x0800 if the VM's state does not allow it."""
        action = ACTIONS.get(name)
        here = position_of(vm)
        to = action.leads.get(here) if action else None
        if action is None or to is None:
            raise OneError(errors.ACTION, states.refusal(name, vm))
        if to == here == DONE:
            return
        self._before_leaving(vm, to)
        number = _NOTED_AS.get(to, action.number)
        if name.startswith("terminate"):  # whoever ends a VM (scenario service-of-another)
            user = self.store.owner_of(vm)
        if name != "resume" or to in states.RESUMING:
            self._note_action(vm, number, user, request_id)
        self.enter(vm, to)

    def recover(self, vm: Vm, operation: int, user: User, request_id: int) -> None:
        """one.vm.recover: deletes, retries or ends the step of a VM that hangs or failed."""
        here = position_of(vm)
        if operation == states.RECOVER_DELETE:
            self.delete(vm, user, request_id)
        elif operation == states.RECOVER_RETRY and here in states.RETRIES:
            self.enter(vm, states.RETRIES[here])
        elif operation == states.RECOVER_SUCCESS and here in STEPS:
            self._book(vm, STEPS[here].done)
            self.enter(vm, STEPS[here].to)
        elif operation == states.RECOVER_FAILURE and here in STEPS:
            self._book(vm, STEPS[here].failed)
            self.enter(vm, STEPS[here].failed_to)
        else:
            verb = _RECOVERIES.get(operation, "recover")
            text = f"Could not perform a {verb} on VM {vm.id}, wrong state {state_name(vm)}."
            raise OneError(errors.ACTION, text)

    def delete(self, vm: Vm, user: User, request_id: int) -> None:
        """Ends a VM in any state."""
        if position_of(vm) != DONE:
            self._note_action(vm, states.TERMINATE_HARD, user, request_id)
            self._book(vm, "ended")
            self.enter(vm, DONE)

    def resize(self, vm: Vm, cpu: float, memory_mb: int, vcpu: int, by: tuple[User, int]) -> None:
        """Resizes a VM, at once or, if it is running, through HOTPLUG_RESIZE."""
        vm.before_resize = (vm.cpu, vm.memory_mb, vm.vcpu)
        here = position_of(vm)
        if self.store.release.resize_makes_history and vm.history:
            self._next_record(vm, states.RESIZE_ACTION, by, is_off=here == POWEROFF)
        self._set_size(vm, cpu, memory_mb, vcpu)
        if here == RUNNING:
            old = vm.before_resize
            members = {"CPU": f"{old[0]:g}", "MEMORY": str(old[1]), "VCPU": str(old[2])}
            vm.template.set("RESIZE", members)
            self.enter(vm, HOTPLUG_RESIZE)
        vm.changed()

    def resize_disk(self, vm: Vm, disk: dict[str, str], size_mb: int, by: tuple[User, int]) -> None:
        """Grows a disk; meanwhile the VM is in DISK_RESIZE."""
        to = DISK_RESIZES[position_of(vm)]
        self._next_record(vm, states.DISK_RESIZE_ACTION, by)
        more_mb = size_mb - int(disk["SIZE"])
        self.store.owner_of(vm).quotas.take({"SYSTEM_DISK_SIZE": float(more_mb)})
        disk.update(RESIZE="YES", SIZE_PREV=disk["SIZE"], SIZE=str(size_mb))
        self.enter(vm, to)

    def _set_size(self, vm: Vm, cpu: float, memory_mb: int, vcpu: int) -> None:
        more = {"CPU": cpu - vm.cpu, "MEMORY": float(memory_mb - vm.memory_mb)}
        running = {f"RUNNING_{name}": amount for name, amount in more.items()}
        self.store.owner_of(vm).quotas.take(more | running)
        host = self.store.host_of(vm)
        if host:
            host.take(cpu - vm.cpu, memory_mb - vm.memory_mb)
        has_vcpu = vcpu != vm.vcpu or vm.template.get("VCPU") is not None
        vm.cpu, vm.memory_mb, vm.vcpu = cpu, memory_mb, vcpu
        vm.template.set("CPU", f"{cpu:g}")
        vm.template.set("MEMORY", str(memory_mb))
        if has_vcpu:
            vm.template.set("VCPU", str(vcpu))

    def change_owner(self, vm: Vm, user: User | None) -> None:
        """Moves a VM's usage to the quotas of a new owner; 0x0800 if the VM is DONE."""
        if position_of(vm) == DONE:
            raise OneError(errors.ACTION, "Could not change VM ownership, wrong state")
        if user is not None:
            self.count(vm, self.store.owner_of(vm), -1)
            self.count(vm, user, 1)

    def count(self, vm: Vm, owner: User, sign: int) -> None:
        """Adds a VM to the quotas of a user, or (-1) subtracts it."""
        owner.quotas.take({name: sign * amount for name, amount in footprint(vm).items()})
        owner.quotas.leases_used += sign * len(vm.template.vectors("NIC"))
        owner.quotas.image_used += sign * any("IMAGE" in d for d in vm.template.vectors("DISK"))

    def _next_record(self, vm: Vm, action: int, by: tuple[User, int], is_off: bool = False) -> None:
        """Closes the history record and adds the next one on the same host."""
        now = self.store.agenda.seconds()
        last = _last(vm)
        was = last.action
        user, request_id = by
        last.etime = now
        last.retime = last.retime or now
        last.action, last.uid, last.gid, last.request_id = action, user.id, user.gid, request_id
        record = History(last.seq + 1, last.host_id, last.hostname, now, rstime=now)
        if is_off:  # the new record repeats that the VM is off (7.4, scenario update)
            record.retime, record.action = now, was
        vm.history.append(record)

    def _note_action(self, vm: Vm, number: int, user: User, request_id: int) -> None:
        if vm.history:
            last = _last(vm)
            last.action, last.uid, last.gid, last.request_id = (
                number, user.id, user.gid, request_id,
            )  # fmt: skip

    def _before_leaving(self, vm: Vm, to: Position) -> None:
        now = self.store.agenda.seconds()
        if to in states.RESUMING:
            last = _last(vm)
            last.etime = now
            vm.history.append(History(last.seq + 1, last.host_id, last.hostname, now, rstime=now))
        elif to == DONE:
            self._book(vm, "ended")
        elif to == EPILOG and vm.history:
            self._book(vm, "shut_down")

    def _book(self, vm: Vm, what: str) -> None:
        if what:
            _BOOKINGS[what](self, vm)

    def _done(self, vm: Vm) -> None:
        self._leave_host(vm)
        self.store.live_vms.pop(vm.id, None)
        if not vm.is_retired:
            self.store.vms.remove(vm)
            vm.is_retired = True
            self.store.vms.add(vm)
        for nic in (*vm.template.vectors("NIC"), *vm.template.vectors("NIC_ALIAS")):
            network = self.store.networks.find(int(nic["NETWORK_ID"]))
            if network is not None:
                network.release(nic["MAC"])
        self.count(vm, self.store.owner_of(vm), -1)
        if vm.history or self.store.release.drops_actions_of_undeployed:
            vm.scheduled.clear()
        self.store.agenda.put(0.0, "schedule")

    def _leave_host(self, vm: Vm) -> None:
        host = self.store.host_of(vm)
        if host:
            host.take(-vm.cpu, -vm.memory_mb)
            vm.host_id = None
            devices.leave(vm)

    def _prolog_done(self, vm: Vm) -> None:
        _last(vm).petime = _last(vm).rstime = self.store.agenda.seconds()

    def _booted(self, vm: Vm) -> None:
        vm.deploy_id = _deploy_id(vm)
        vm.user_template.remove("ERROR")
        if vm.came_from in _RESUMED:  # oned drops the resume action from the new record
            self._forget_action(vm)

    def _forget_action(self, vm: Vm) -> None:
        last = _last(vm)
        last.action, last.uid, last.gid, last.request_id = 0, -1, -1, -1

    def _boot_failed(self, vm: Vm) -> None:
        _last(vm).retime = self.store.agenda.seconds()
        stamp = in_words(self.store.agenda.now())
        vm.user_template.set("ERROR", f"{stamp}: DEPLOY: {_deploy_id(vm)}")

    def _prolog_failed(self, vm: Vm) -> None:
        self._note_error(vm, "Error executing image transfer script")

    def _epilog_failed(self, vm: Vm) -> None:
        self._note_error(vm, "Error executing image transfer script")

    def _note_error(self, vm: Vm, message: str) -> None:
        vm.user_template.set("ERROR", f"{in_words(self.store.agenda.now())}: {message}")

    def _shut_down(self, vm: Vm) -> None:
        last = _last(vm)
        now = self.store.agenda.seconds()
        last.retime = last.retime or now
        last.estime = now

    def _ended(self, vm: Vm) -> None:
        now = vm.etime = self.store.agenda.seconds()
        if vm.history:
            last = _last(vm)
            last.retime = last.retime or now
            last.estime = last.estime or now
            last.eetime = last.etime = now

    def _deleted(self, vm: Vm) -> None:
        now = vm.etime = self.store.agenda.seconds()
        if vm.history:
            last = _last(vm)
            last.etime = now
            last.petime = last.petime or now
            last.retime = now if last.rstime else 0

    def _powered_off(self, vm: Vm) -> None:
        _last(vm).retime = self.store.agenda.seconds()

    def _left_host(self, vm: Vm) -> None:
        last = _last(vm)
        last.etime = last.eetime = self.store.agenda.seconds()
        last.estime = last.estime or last.etime
        last.retime = last.retime or last.etime
        self._leave_host(vm)

    def _resized(self, vm: Vm) -> None:
        vm.template.remove("RESIZE")
        vm.before_resize = None

    def _resize_failed(self, vm: Vm) -> None:
        if vm.before_resize:
            self._set_size(vm, *vm.before_resize)
        self._resized(vm)

    def _disk_resized(self, vm: Vm) -> None:
        for disk in vm.template.vectors("DISK"):
            disk.pop("RESIZE", None)
            disk.pop("SIZE_PREV", None)

    def _disk_failed(self, vm: Vm) -> None:
        for disk in vm.template.vectors("DISK"):
            if "SIZE_PREV" in disk:
                back_mb = int(disk["SIZE_PREV"]) - int(disk["SIZE"])
                self.store.owner_of(vm).quotas.take({"SYSTEM_DISK_SIZE": float(back_mb)})
                disk["SIZE"] = disk["SIZE_PREV"]
        self._disk_resized(vm)


_PROLOGS = {
    "STOPPED": states.active(states.LcmState.PROLOG_RESUME),
    "UNDEPLOYED": states.active(states.LcmState.PROLOG_UNDEPLOY),
}
"""The prolog of a VM that returns from that state to a host."""
_RECOVERIES = {
    states.RECOVER_FAILURE: "recover failure",
    states.RECOVER_SUCCESS: "recover success",
    states.RECOVER_RETRY: "retry",
}
_NOTED_AS = {EPILOG: states.ACTIONS["terminate"].number, CLEANUP_DELETE: states.DELETE_ACTION}
"""The number that history records give to any action that leads to that position."""
_RESUMED_DS_REQUIREMENTS = '("CLUSTERS/ID" @> 0) & (TM_MAD = "dummy")'
_RESUMED = ("POWEROFF", "SUSPENDED")

_BOOKINGS: dict[str, Callable[[Lifecycle, Vm], None]] = {
    "prolog_done": Lifecycle._prolog_done,
    "booted": Lifecycle._booted,
    "boot_failed": Lifecycle._boot_failed,
    "prolog_failed": Lifecycle._prolog_failed,
    "epilog_failed": Lifecycle._epilog_failed,
    "shut_down": Lifecycle._shut_down,
    "ended": Lifecycle._ended,
    "deleted": Lifecycle._deleted,
    "stayed_running": Lifecycle._forget_action,
    "powered_off": Lifecycle._powered_off,
    "left_host": Lifecycle._left_host,
    "resized": Lifecycle._resized,
    "resize_failed": Lifecycle._resize_failed,
    "disk_resized": Lifecycle._disk_resized,
    "disk_failed": Lifecycle._disk_failed,
}


def _last(vm: Vm) -> History:
    """The last history record; a dummy for a VM that was never on a host."""
    return vm.history[-1] if vm.history else History(-1, 0, "", 0)


def _deploy_id(vm: Vm) -> str:
    return f"{_last(vm).hostname}:{vm.name}:dummy"


def in_words(seconds: float) -> str:
    """A time as in oned's messages, in UTC."""
    return time.strftime("%a %b %e %H:%M:%S %Y", time.gmtime(seconds))


def footprint(vm: Vm) -> dict[str, float]:
    """What a VM adds to its owner's quota usage."""
    disks = sum(int(d.get("SIZE", "0")) for d in vm.template.vectors("DISK"))
    size = {"VMS": 1.0, "CPU": vm.cpu, "MEMORY": float(vm.memory_mb)}
    running = {f"RUNNING_{name}": amount for name, amount in size.items()}
    return size | running | {"SYSTEM_DISK_SIZE": float(disks)}
