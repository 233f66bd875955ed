"""The life of a VM, as tables: what follows by itself, and what an action may lead to.

A position is the pair of a VM's state and, while it is ACTIVE, its life-cycle state. `STEPS` says
how long a VM stays in a passing position and what comes next, `ACTIONS` which action is possible
where. Everything else is bookkeeping: history records, the host's capacity, quotas.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from enum import IntEnum
from typing import NamedTuple

from provision_engine.sandbox import errors
from provision_engine.sandbox.errors import OneError
from provision_engine.sandbox.faults import Drivers
from provision_engine.sandbox.store import History, Host, Store, User, Vm


class VmState(IntEnum):
    """States of a VM."""

    INIT = 0
    PENDING = 1
    HOLD = 2
    ACTIVE = 3
    STOPPED = 4
    SUSPENDED = 5
    DONE = 6
    POWEROFF = 8
    UNDEPLOYED = 9


class LcmState(IntEnum):
    """Life-cycle states of an ACTIVE VM, as far as the sandbox's VMs get into them."""

    LCM_INIT = 0
    PROLOG = 1
    BOOT = 2
    RUNNING = 3
    SAVE_STOP = 5
    SAVE_SUSPEND = 6
    EPILOG_STOP = 10
    EPILOG = 11
    SHUTDOWN = 12
    UNKNOWN = 16
    SHUTDOWN_POWEROFF = 18
    BOOT_POWEROFF = 20
    BOOT_SUSPENDED = 21
    BOOT_STOPPED = 22
    CLEANUP_DELETE = 23
    SHUTDOWN_UNDEPLOY = 29
    EPILOG_UNDEPLOY = 30
    BOOT_UNDEPLOY = 32
    BOOT_FAILURE = 36
    PROLOG_FAILURE = 39
    EPILOG_FAILURE = 40
    DISK_RESIZE = 62
    DISK_RESIZE_POWEROFF = 63
    DISK_RESIZE_UNDEPLOYED = 64
    HOTPLUG_RESIZE = 66


Position = tuple[VmState, LcmState]


def _active(lcm_state: LcmState) -> Position:
    return VmState.ACTIVE, lcm_state


def _still(state: VmState) -> Position:
    return state, LcmState.LCM_INIT


PENDING = _still(VmState.PENDING)
HOLD = _still(VmState.HOLD)
POWEROFF = _still(VmState.POWEROFF)
SUSPENDED = _still(VmState.SUSPENDED)
STOPPED = _still(VmState.STOPPED)
UNDEPLOYED = _still(VmState.UNDEPLOYED)
DONE = _still(VmState.DONE)
PROLOG = _active(LcmState.PROLOG)
BOOT = _active(LcmState.BOOT)
RUNNING = _active(LcmState.RUNNING)
UNKNOWN = _active(LcmState.UNKNOWN)
SHUTDOWN = _active(LcmState.SHUTDOWN)
EPILOG = _active(LcmState.EPILOG)
BOOT_FAILURE = _active(LcmState.BOOT_FAILURE)
HOTPLUG_RESIZE = _active(LcmState.HOTPLUG_RESIZE)
DISK_RESIZE = _active(LcmState.DISK_RESIZE)
DISK_RESIZE_POWEROFF = _active(LcmState.DISK_RESIZE_POWEROFF)
DISK_RESIZE_UNDEPLOYED = _active(LcmState.DISK_RESIZE_UNDEPLOYED)

FAILURES = frozenset(
    _active(s) for s in (LcmState.BOOT_FAILURE, LcmState.PROLOG_FAILURE, LcmState.EPILOG_FAILURE)
)
TROUBLE = FAILURES | {UNKNOWN, POWEROFF, SUSPENDED, STOPPED, UNDEPLOYED}
"""Where a VM of a running service makes the service WARNING (scenario update: POWEROFF)."""

PASSING_WHILE_UP = frozenset({HOTPLUG_RESIZE, DISK_RESIZE})
"""Where a VM is for a moment without its service minding."""


class Step(NamedTuple):
    """What follows a passing position: after which duration, where to, with which bookkeeping."""

    duration: str
    to: Position
    done: str = ""
    driver: str = ""
    """The driver that may fail here."""
    failed_to: Position | None = None
    failed: str = ""


STEPS: dict[Position, Step] = {
    PROLOG: Step("prolog_seconds", BOOT, "prolog_done"),
    BOOT: Step("boot_seconds", RUNNING, "booted", "boot", BOOT_FAILURE, "boot_failed"),
    SHUTDOWN: Step("shutdown_seconds", EPILOG, "shut_down"),
    EPILOG: Step("epilog_seconds", DONE, "ended"),
    HOTPLUG_RESIZE: Step("resize_seconds", RUNNING, "resized", "resize", RUNNING, "resize_failed"),
    DISK_RESIZE: Step(
        "disk_resize_seconds", RUNNING, "disk_resized", "disk-resize", RUNNING, "disk_failed"
    ),
    DISK_RESIZE_POWEROFF: Step("disk_resize_seconds", POWEROFF, "disk_resized"),
    DISK_RESIZE_UNDEPLOYED: Step("disk_resize_seconds", UNDEPLOYED, "disk_resized"),
    _active(LcmState.SHUTDOWN_POWEROFF): Step("poweroff_seconds", POWEROFF, "powered_off"),
    _active(LcmState.SAVE_SUSPEND): Step("poweroff_seconds", SUSPENDED, "powered_off"),
    _active(LcmState.SAVE_STOP): Step("poweroff_seconds", _active(LcmState.EPILOG_STOP)),
    _active(LcmState.EPILOG_STOP): Step("epilog_seconds", STOPPED, "left_host"),
    _active(LcmState.SHUTDOWN_UNDEPLOY): Step(
        "poweroff_seconds", _active(LcmState.EPILOG_UNDEPLOY)
    ),
    _active(LcmState.EPILOG_UNDEPLOY): Step("epilog_seconds", UNDEPLOYED, "left_host"),
    _active(LcmState.BOOT_POWEROFF): Step("resume_seconds", RUNNING, "booted", "boot"),
    _active(LcmState.BOOT_SUSPENDED): Step("resume_seconds", RUNNING, "booted", "boot"),
    _active(LcmState.CLEANUP_DELETE): Step("epilog_seconds", DONE, "ended"),
}


class Action(NamedTuple):
    """An action of one.vm.action: its number in history records, and where it leads from where."""

    number: int
    verb: str
    leads: dict[Position, Position]


_ENDS: dict[Position, Position] = {
    PENDING: DONE, HOLD: DONE, RUNNING: SHUTDOWN, UNKNOWN: SHUTDOWN,
    POWEROFF: EPILOG, SUSPENDED: EPILOG, STOPPED: EPILOG, UNDEPLOYED: EPILOG,
} | dict.fromkeys(FAILURES, EPILOG)  # fmt: skip
_POWERS_OFF = {
    RUNNING: _active(LcmState.SHUTDOWN_POWEROFF),
    UNKNOWN: _active(LcmState.SHUTDOWN_POWEROFF),
}
_UNDEPLOYS = {
    RUNNING: _active(LcmState.SHUTDOWN_UNDEPLOY),
    POWEROFF: _active(LcmState.EPILOG_UNDEPLOY),
}
ACTIONS: dict[str, Action] = {
    "terminate": Action(27, "terminate", _ENDS),
    "terminate-hard": Action(28, "terminate", _ENDS),
    "undeploy": Action(5, "undeploy", _UNDEPLOYS),
    "undeploy-hard": Action(6, "undeploy", _UNDEPLOYS),
    "hold": Action(7, "hold", {PENDING: HOLD}),
    "release": Action(8, "release", {HOLD: PENDING}),
    "stop": Action(9, "stop", {RUNNING: _active(LcmState.SAVE_STOP)}),
    "suspend": Action(10, "suspend", {RUNNING: _active(LcmState.SAVE_SUSPEND)}),
    "resume": Action(
        11,
        "resume",
        {
            POWEROFF: _active(LcmState.BOOT_POWEROFF),
            SUSPENDED: _active(LcmState.BOOT_SUSPENDED),
            UNKNOWN: BOOT,
            STOPPED: PENDING,
            UNDEPLOYED: PENDING,
        },
    ),
    "reboot": Action(15, "reboot", {RUNNING: RUNNING}),
    "reboot-hard": Action(16, "reboot", {RUNNING: RUNNING}),
    "poweroff": Action(19, "power off", _POWERS_OFF),
    "poweroff-hard": Action(20, "power off", _POWERS_OFF),
}
RESCHED_FLAGS = {"resched": 1, "unresched": 0}
"""These two only set a flag; they need ADMIN rights (scenario update)."""
TERMINATE_HARD, DISK_RESIZE_ACTION, RESIZE_ACTION = 28, 29, 35
RESIZABLE = {PENDING, HOLD, POWEROFF, UNDEPLOYED, RUNNING, UNKNOWN}
DISK_RESIZES = {
    RUNNING: DISK_RESIZE,
    POWEROFF: DISK_RESIZE_POWEROFF,
    UNDEPLOYED: DISK_RESIZE_UNDEPLOYED,
}
RECOVER_FAILURE, RECOVER_SUCCESS, RECOVER_RETRY, RECOVER_DELETE = 0, 1, 2, 3
_RESUMING = {_active(s) for s in (LcmState.BOOT_POWEROFF, LcmState.BOOT_SUSPENDED)}


def position_of(vm: Vm) -> Position:
    """Where a VM is."""
    return VmState(vm.state), LcmState(vm.lcm_state)


def state_name(vm: Vm) -> str:
    """The name oned gives that position in messages: the life-cycle state if it is ACTIVE."""
    state, lcm_state = position_of(vm)
    return lcm_state.name if state is VmState.ACTIVE else state.name


class Lifecycle:
    """Moves VMs along the tables and keeps their books."""

    def __init__(self, store: Store, drivers: Drivers) -> None:
        self.store = store
        self.drivers = drivers
        self.watchers: list[Callable[[Vm], None]] = []

    def enter(self, vm: Vm, to: Position) -> None:
        """Puts a VM where it goes, and onto the agenda if it does not stay there."""
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
        """A VM's time in a passing position is over."""
        vm = self.store.vms.find(vm_id)
        if vm is None or vm.step != planned_step:
            return  # it went another way meanwhile
        step = STEPS[position_of(vm)]
        driver = self.drivers.get(step.driver)
        if driver is not None and driver.fails:
            self._book(vm, step.failed or "boot_failed")
            self.enter(vm, step.failed_to or BOOT_FAILURE)
        else:
            self._book(vm, step.done)
            self.enter(vm, step.to)

    def deploy(self, vm: Vm, host: Host) -> None:
        """The scheduler found a host."""
        now = self.store.agenda.seconds()
        vm.host_id = host.id
        host.take(vm.cpu, vm.memory_mb)
        vm.template.set("TM_MAD_SYSTEM", "dummy")
        if vm.history:
            vm.history[-1].etime = vm.history[-1].etime or now
        vm.history.append(History(len(vm.history), host.id, host.name, now, pstime=now))
        self.enter(vm, PROLOG)

    def act(self, vm: Vm, name: str, user: User, request_id: int) -> None:
        """Carries out an action; 0x0800 if it is not possible where the VM is."""
        action = ACTIONS.get(name)
        to = action.leads.get(position_of(vm)) if action else None
        if action is None or to is None:
            verb = action.verb if action else name
            raise OneError(
                errors.ACTION,
                f'Error performing action "{name}":'
                f" Could not {verb} VM {vm.id}, wrong state {state_name(vm)}.",
            )
        self._note_action(vm, action.number, user, request_id)
        self._before_leaving(vm, to)
        self.enter(vm, to)

    def recover(self, vm: Vm, operation: int, user: User, request_id: int) -> None:
        """What one.vm.recover does with a VM that hangs or failed."""
        if operation == RECOVER_DELETE:
            self.delete(vm, user, request_id)
        elif operation == RECOVER_RETRY and position_of(vm) == BOOT_FAILURE:
            self.enter(vm, BOOT)
        elif operation == RECOVER_SUCCESS and position_of(vm) in STEPS:
            step = STEPS[position_of(vm)]
            self._book(vm, step.done)
            self.enter(vm, step.to)
        elif operation == RECOVER_FAILURE and position_of(vm) == BOOT:
            self._book(vm, "boot_failed")
            self.enter(vm, BOOT_FAILURE)
        else:
            raise OneError(
                errors.ACTION, f"Recover action is not available for state {state_name(vm)}"
            )

    def delete(self, vm: Vm, user: User, request_id: int) -> None:
        """Ends a VM wherever it is."""
        if position_of(vm) != DONE:
            self._note_action(vm, TERMINATE_HARD, user, request_id)
            self._book(vm, "ended")
            self.enter(vm, DONE)

    def resize(self, vm: Vm, cpu: float, memory_mb: int, vcpu: int, by: tuple[User, int]) -> None:
        """Gives a VM another size, at once or by way of HOTPLUG_RESIZE."""
        vm.before_resize = (vm.cpu, vm.memory_mb, vm.vcpu)
        here = position_of(vm)
        if self.store.release.resize_makes_history and vm.history:
            self._next_record(vm, RESIZE_ACTION, by, is_off=here == POWEROFF)
        self._set_size(vm, cpu, memory_mb, vcpu)
        if here == RUNNING:
            old = vm.before_resize
            members = {"CPU": f"{old[0]:g}", "MEMORY": str(old[1]), "VCPU": str(old[2])}
            vm.template.set("RESIZE", members)
            self.enter(vm, HOTPLUG_RESIZE)
        vm.changed()

    def resize_disk(self, vm: Vm, disk: dict[str, str], size_mb: int, by: tuple[User, int]) -> None:
        """Grows a disk; the VM passes through DISK_RESIZE."""
        to = DISK_RESIZES[position_of(vm)]
        self._next_record(vm, DISK_RESIZE_ACTION, by)
        more_mb = size_mb - int(disk["SIZE"])
        self.store.users[vm.uid].quotas.take({"SYSTEM_DISK_SIZE": float(more_mb)})
        disk.update(RESIZE="YES", SIZE_PREV=disk["SIZE"], SIZE=str(size_mb))
        self.enter(vm, to)

    def _set_size(self, vm: Vm, cpu: float, memory_mb: int, vcpu: int) -> None:
        more = {"CPU": cpu - vm.cpu, "MEMORY": float(memory_mb - vm.memory_mb)}
        running = {f"RUNNING_{name}": amount for name, amount in more.items()}
        self.store.users[vm.uid].quotas.take(more | running)
        host = self.store.host_of(vm)
        if host:
            host.take(cpu - vm.cpu, memory_mb - vm.memory_mb)
        vm.cpu, vm.memory_mb, vm.vcpu = cpu, memory_mb, vcpu
        for name, value in (("CPU", f"{cpu:g}"), ("MEMORY", memory_mb), ("VCPU", vcpu)):
            vm.template.set(name, str(value))

    def _next_record(self, vm: Vm, action: int, by: tuple[User, int], is_off: bool = False) -> None:
        """Closes the history record and opens the next one on the same host."""
        now = self.store.agenda.seconds()
        last = _last(vm)
        was = last.action
        user, request_id = by
        last.etime = now
        last.retime = last.retime or now
        last.action, last.uid, last.gid, last.request_id = action, user.id, user.gid, request_id
        record = History(last.seq + 1, last.host_id, last.hostname, now, rstime=now)
        if is_off:  # the new record tells that the VM is still off (7.4, scenario update)
            record.retime, record.action = now, was
        vm.history.append(record)

    def _note_action(self, vm: Vm, number: int, user: User, request_id: int) -> None:
        if vm.history and number not in (ACTIONS["resume"].number,):
            last = _last(vm)
            last.action, last.uid, last.gid, last.request_id = (
                number, user.id, user.gid, request_id,
            )  # fmt: skip

    def _before_leaving(self, vm: Vm, to: Position) -> None:
        now = self.store.agenda.seconds()
        if to in _RESUMING:
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
        for nic in vm.template.vectors("NIC"):
            octets = [int(part) for part in nic["IP"].split(".")]
            self.store.release_address(octets[1] << 16 | octets[2] << 8 | octets[3])
        quotas = self.store.users[vm.uid].quotas
        quotas.take({name: -amount for name, amount in footprint(vm).items()})
        quotas.leases_used -= len(vm.template.vectors("NIC"))
        quotas.image_used -= 1
        vm.scheduled.clear()
        self.store.agenda.put(0.0, "schedule")

    def _leave_host(self, vm: Vm) -> None:
        host = self.store.host_of(vm)
        if host:
            host.take(-vm.cpu, -vm.memory_mb)
            vm.host_id = None

    def _prolog_done(self, vm: Vm) -> None:
        _last(vm).petime = _last(vm).rstime = self.store.agenda.seconds()

    def _booted(self, vm: Vm) -> None:
        vm.deploy_id = _deploy_id(vm)
        vm.user_template.remove("ERROR")

    def _boot_failed(self, vm: Vm) -> None:
        _last(vm).retime = self.store.agenda.seconds()
        stamp = in_words(self.store.agenda.now())
        vm.user_template.set("ERROR", f"{stamp}: DEPLOY: {_deploy_id(vm)}")

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

    def _powered_off(self, vm: Vm) -> None:
        _last(vm).retime = self.store.agenda.seconds()

    def _left_host(self, vm: Vm) -> None:
        now = self.store.agenda.seconds()
        _last(vm).retime = _last(vm).etime = now
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
                self.store.users[vm.uid].quotas.take({"SYSTEM_DISK_SIZE": float(back_mb)})
                disk["SIZE"] = disk["SIZE_PREV"]
        self._disk_resized(vm)


_BOOKINGS: dict[str, Callable[[Lifecycle, Vm], None]] = {
    "prolog_done": Lifecycle._prolog_done,
    "booted": Lifecycle._booted,
    "boot_failed": Lifecycle._boot_failed,
    "shut_down": Lifecycle._shut_down,
    "ended": Lifecycle._ended,
    "powered_off": Lifecycle._powered_off,
    "left_host": Lifecycle._left_host,
    "resized": Lifecycle._resized,
    "resize_failed": Lifecycle._resize_failed,
    "disk_resized": Lifecycle._disk_resized,
    "disk_failed": Lifecycle._disk_failed,
}


def _last(vm: Vm) -> History:
    """The last history record; one to be thrown away for a VM that was never on a host."""
    return vm.history[-1] if vm.history else History(-1, 0, "", 0)


def _deploy_id(vm: Vm) -> str:
    return f"{_last(vm).hostname}:{vm.name}:dummy"


def in_words(seconds: float) -> str:
    """A time as oned writes it into messages, in UTC."""
    return time.strftime("%a %b %e %H:%M:%S %Y", time.gmtime(seconds))


def footprint(vm: Vm) -> dict[str, float]:
    """What a VM counts in its owner's quotas."""
    disks = sum(int(d.get("SIZE", "0")) for d in vm.template.vectors("DISK"))
    size = {"VMS": 1.0, "CPU": vm.cpu, "MEMORY": float(vm.memory_mb)}
    running = {f"RUNNING_{name}": amount for name, amount in size.items()}
    return size | running | {"SYSTEM_DISK_SIZE": float(disks)}
