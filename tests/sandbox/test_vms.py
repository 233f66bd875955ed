"""The lifecycle of VMs: states, sizes, hosts, requirements, quotas and scheduled actions."""

from __future__ import annotations

import dataclasses
import re

import pytest

from provision_engine.sandbox import Sandbox
from provision_engine.sandbox.expressions import ExpressionError, compile_requirements
from provision_engine.sandbox.states import ACTIONS, STEPS, Position, VmState

from .client import SLOW_STEPS, Caller, contents, pass_time, state, vm_of

AUTHORIZATION, NO_EXISTS, ACTION, INTERNAL = 0x200, 0x400, 0x800, 0x2000


def _vm(sandbox: Sandbox, extra: str = "", user: str = "devuser") -> int:
    """A PENDING VM without a service."""
    vm = Caller(sandbox, user).good("template.instantiate", 0, "vm", False, extra, False)
    assert isinstance(vm, int)
    return vm


def _running(sandbox: Sandbox, extra: str = "") -> int:
    vm = _vm(sandbox, extra)
    pass_time(sandbox, 3)
    assert sandbox.store.vm_state(vm) == "RUNNING"
    return vm


def test_a_vm_boots_in_the_configured_time(sandbox: Sandbox) -> None:
    vm = _vm(sandbox)
    seen = []
    for _ in range(5):
        seen.append(sandbox.store.vm_state(vm))
        pass_time(sandbox, 1)
    assert seen == ["PENDING", "PROLOG", "BOOT", "RUNNING", "RUNNING"]


def test_timestamps_do_not_depend_on_when_they_are_read(sandbox: Sandbox) -> None:
    vm = _vm(sandbox)
    born = sandbox.store.vm(vm).stime
    pass_time(sandbox, 1000)
    (record,) = sandbox.store.vm(vm).history
    assert (record.stime - born, record.rstime - born) == (1, 2)


def test_the_scheduling_window_of_7(sandbox: Sandbox) -> None:
    """A second VM does not wait longer than the first: they are scheduled together."""
    first = _vm(sandbox)
    pass_time(sandbox, 0.9)
    second = _vm(sandbox)
    pass_time(sandbox, 0.1)
    assert [sandbox.store.vm_state(v) for v in (first, second)] == ["PROLOG", "PROLOG"]


def test_hot_resize(sandbox: Sandbox) -> None:
    vm, caller = _running(sandbox), Caller(sandbox)
    caller.good("vm.resize", vm, "CPU=2\nVCPU=2\nMEMORY=256", True)
    assert sandbox.store.vm_state(vm) == "HOTPLUG_RESIZE"
    assert "<RESIZE><CPU><![CDATA[1]]>" in caller.good("vm.info", vm, False)
    code, message = caller.refused("vm.resize", vm, "CPU=3", True)
    assert (code, message.endswith("in state HOTPLUG_RESIZE")) == (ACTION, True)
    pass_time(sandbox, 1)
    shown = caller.good("vm.info", vm, False)
    assert "<RESIZE>" not in shown
    assert "<MEMORY><![CDATA[256]]></MEMORY>" in shown
    assert sandbox.store.user("devuser").quotas.used["CPU"] == 2


def test_a_failed_resize_goes_back(sandbox: Sandbox) -> None:
    vm, caller = _running(sandbox), Caller(sandbox)
    sandbox.faults.drivers.set("resize", fails=True)
    sandbox.faults.drivers.set("disk-resize", fails=True)
    caller.good("vm.resize", vm, "CPU=2", True)
    pass_time(sandbox, 1)
    caller.good("vm.diskresize", vm, 0, "2048")
    pass_time(sandbox, 1)
    assert sandbox.store.vm_state(vm) == "RUNNING"
    assert sandbox.store.vm(vm).cpu == 1
    assert sandbox.store.vm(vm).template.vectors("DISK")[0]["SIZE"] == "1024"
    assert sum(host.used_cpu_percent for host in sandbox.store.hosts()) == 100


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, "1024"), "New disk size has to be greater than current one"),
        ((0, "x"), "New disk size has to be greater than current one"),
        ((3, "4096"), "VM disk does not exist"),
    ],
)
def test_disk_refusals(sandbox: Sandbox, arguments: tuple[object, ...], message: str) -> None:
    code, text = Caller(sandbox).refused("vm.diskresize", _running(sandbox), *arguments)
    assert (code, text) == (ACTION, f"[one.vm.diskresize] {message}")


def test_a_disk_grows(sandbox: Sandbox) -> None:
    vm, caller = _running(sandbox), Caller(sandbox)
    caller.good("vm.diskresize", vm, 0, "2048")
    assert sandbox.store.vm_state(vm) == "DISK_RESIZE"
    assert "<SIZE_PREV><![CDATA[1024]]>" in caller.good("vm.info", vm, False)
    pass_time(sandbox, 1)
    assert sandbox.store.vm(vm).template.vectors("DISK")[0]["SIZE"] == "2048"


_REFUSES_RESIZE = ["PROLOG", "BOOT", "HOTPLUG_RESIZE", "DISK_RESIZE", "SHUTDOWN", "DONE"]


@pytest.mark.parametrize("where", _REFUSES_RESIZE)
def test_sizes_are_refused_by_state(sandbox: Sandbox, where: str) -> None:
    vm, caller = _running(sandbox), Caller(sandbox)
    sandbox.store.put_vm(vm, where)
    assert caller.refused("vm.resize", vm, "CPU=2", True)[1].endswith(f"in state {where}")
    assert f"wrong state {where}" in caller.refused("vm.diskresize", vm, 0, "4096")[1]


@pytest.mark.parametrize("name", sorted(ACTIONS))
def test_actions_are_possible_where_the_table_says(sandbox: Sandbox, name: str) -> None:
    action = ACTIONS[name]
    for start in [RUNNING, POWEROFF, PENDING, HOTPLUG, DONE]:
        vm = _running(sandbox)
        state_, lcm = start
        sandbox.store.put_vm(vm, lcm.name if state_ is VmState.ACTIVE else state_.name)
        answer = Caller(sandbox).one("vm.action", name, vm)
        assert answer[0] is (start in action.leads), (name, start, answer)
        if not answer[0]:
            why = "wrong state" if name.startswith("terminate") else "not available for state"
            assert (answer[2], why in answer[1]) == (ACTION, True)


RUNNING: Position = next(step.to for step in STEPS.values() if step.driver == "boot")
POWEROFF = next(p for p in ACTIONS["resume"].leads if p[0] is VmState.POWEROFF)
PENDING = next(iter(ACTIONS["hold"].leads))
HOTPLUG = next(p for p, step in STEPS.items() if step.duration == "resize_seconds")
DONE = ACTIONS["terminate"].leads[PENDING]


def test_every_transient_position_ends_in_a_stable_one() -> None:
    for start in STEPS:
        position, steps = start, 0
        while position in STEPS:
            position, steps = STEPS[position].to, steps + 1
            assert steps < 5, start
    durations = {field.name for field in dataclasses.fields(SLOW_STEPS)}
    assert {step.duration for step in STEPS.values()} <= durations


def test_off_and_on_again(sandbox: Sandbox) -> None:
    vm, caller = _running(sandbox), Caller(sandbox)
    caller.good("vm.action", "poweroff", vm)
    pass_time(sandbox, 1)
    assert sandbox.store.vm_state(vm) == "POWEROFF"
    caller.good("vm.resize", vm, "MEMORY=64", True)
    assert sandbox.store.vm_state(vm) == "POWEROFF"
    caller.good("vm.action", "resume", vm)
    pass_time(sandbox, 1)
    assert (sandbox.store.vm_state(vm), sandbox.store.vm(vm).memory_mb) == ("RUNNING", 64)
    caller.good("vm.action", "undeploy", vm)
    pass_time(sandbox, 2)
    assert sandbox.store.vm_state(vm) == "UNDEPLOYED"
    assert sum(host.used_cpu_percent for host in sandbox.store.hosts()) == 0
    caller.good("vm.action", "resume", vm)
    pass_time(sandbox, 3)
    assert sandbox.store.vm_state(vm) == "RUNNING"
    assert [record.seq for record in sandbox.store.vm(vm).history] == list(
        range(len(sandbox.store.vm(vm).history))
    )


def test_the_end_of_a_vm_releases_everything(sandbox: Sandbox) -> None:
    vm, caller = _running(sandbox), Caller(sandbox)
    caller.good("vm.action", "terminate-hard", vm)
    pass_time(sandbox, 2)
    assert sandbox.store.vm_state(vm) == "DONE"
    assert sandbox.store.live_vms() == []
    assert set(sandbox.store.user("devuser").quotas.used.values()) == {0}
    assert sum(host.used_memory_kb for host in sandbox.store.hosts()) == 0
    assert f"<ID>{vm}<" not in caller.good("vmpool.info", -3, -1, -1, -1, "")
    assert f"<ID>{vm}<" in caller.good("vmpool.info", -3, -1, -1, -2, "")
    assert f"<ID>{vm}<" in caller.good("vmpool.infoset", str(vm), False)


def test_recover_needs_admin_rights(sandbox: Sandbox) -> None:
    sandbox.faults.drivers.set("boot", fails=True)
    vm = _vm(sandbox)
    pass_time(sandbox, 3)
    assert sandbox.store.vm_state(vm) == "BOOT_FAILURE"
    assert "<ERROR>" in Caller(sandbox).good("vm.info", vm, False)
    assert Caller(sandbox).refused("vm.recover", vm, 2)[0] == AUTHORIZATION
    sandbox.faults.clear()
    Caller(sandbox, "oneadmin").good("vm.recover", vm, 2)
    pass_time(sandbox, 1)
    assert sandbox.store.vm_state(vm) == "RUNNING"
    assert "<ERROR>" not in Caller(sandbox).good("vm.info", vm, False)
    assert Caller(sandbox).refused("vm.action", "resched", vm)[0] == AUTHORIZATION
    Caller(sandbox, "oneadmin").good("vm.action", "resched", vm)
    assert sandbox.store.vm(vm).resched == 1
    Caller(sandbox, "oneadmin").good("vm.recover", vm, 3)
    assert sandbox.store.vm_state(vm) == "DONE"


def test_vms_wait_for_a_full_host(sandbox: Sandbox) -> None:
    sandbox.store.set_hosts(1)
    first, second = _vm(sandbox, "CPU=6"), _vm(sandbox, "CPU=4")
    pass_time(sandbox, 10)
    assert [sandbox.store.vm_state(v) for v in (first, second)] == ["RUNNING", "PENDING"]
    seen = Caller(sandbox).good("vm.info", second, False)
    assert re.search("No host with enough capacity to deploy|Not enough CPU on hosts: 0", seen)
    code, message = Caller(sandbox).refused("vm.resize", first, "CPU=9", True)
    assert (code, message) == (ACTION, "[one.vm.resize] Not enough CPU: 900/800")
    assert Caller(sandbox).one("vm.resize", first, "CPU=9", False)[0]
    pass_time(sandbox, 1)
    Caller(sandbox).good("vm.action", "terminate", first)
    pass_time(sandbox, 10)
    assert sandbox.store.vm_state(second) == "RUNNING"
    assert "SCHED_MESSAGE" not in Caller(sandbox).good("vm.info", second, False)


def test_new_requirements_are_scheduled(sandbox: Sandbox) -> None:
    vm = _vm(sandbox, 'SCHED_REQUIREMENTS="ENERGY=50"')
    pass_time(sandbox, 10)
    shown = Caller(sandbox).good("vm.info", vm, False)
    assert "Cannot dispatch VM: No host meets" in shown
    Caller(sandbox).good("vm.update", vm, 'SCHED_REQUIREMENTS="NAME = \\"host02\\""', 1)
    pass_time(sandbox, 10)
    assert sandbox.store.vm(vm).history[0].hostname == "host02"


HOST = {"NAME": "host00", "FREE_CPU": "300", "CLUSTERS": "0,1", "ID": "0"}


@pytest.mark.parametrize(
    ("expression", "matches"),
    [
        ("", True),
        ("FREE_CPU > 10", True),
        ("FREE_CPU > 300", False),
        ("free_cpu<301", True),
        ('NAME = "host00"', True),
        ('NAME = "host*"', True),
        ("NAME != host00", False),
        ("ENERGY=50", False),
        ("ENERGY!=50", False),
        ("!(ENERGY=50)", True),
        ("FREE_CPU > 10 & NAME = host01", False),
        ("FREE_CPU > 10 | NAME = host01", True),
        ("(ENERGY=50 | ID=0) & !(NAME=host01)", True),
        ("CLUSTERS @> 1", True),
    ],
)
def test_requirements(expression: str, matches: bool) -> None:
    assert compile_requirements(expression)(HOST) is matches


@pytest.mark.parametrize("expression", ["NO SUCH (", "(", "A", "A=", "A=1 &", "A=1)", "A ~ 1"])
def test_invalid_requirements(sandbox: Sandbox, expression: str) -> None:
    with pytest.raises(ExpressionError):
        compile_requirements(expression)
    vm = _vm(sandbox, f'SCHED_REQUIREMENTS="{expression}"')
    pass_time(sandbox, 10)
    assert sandbox.store.vm_state(vm) == "PENDING"


@pytest.mark.parametrize(
    ("limits", "extra", "metric"),
    [
        ({"VMS": 0}, "", "VMS"),
        ({"CPU": 1}, "CPU=2", "CPU"),
        ({"MEMORY": 100}, "", "MEMORY"),
        ({"RUNNING_VMS": 0}, "", "RUNNING_VMS"),
        ({"SYSTEM_DISK_SIZE": 100}, "", "SYSTEM_DISK_SIZE"),
    ],
)
def test_quotas(sandbox: Sandbox, limits: dict[str, float], extra: str, metric: str) -> None:
    sandbox.store.set_quota("devuser", **limits)
    code, message = Caller(sandbox).refused("template.instantiate", 0, "", False, extra, False)
    assert code == AUTHORIZATION
    assert message.endswith(f"limit of {limits[metric]} reached for {metric} quota in VM.")
    assert sandbox.store.live_vms() == []
    assert _vm(sandbox, extra, "other") >= 0


def test_quotas_hold_for_a_resize(sandbox: Sandbox) -> None:
    vm = _running(sandbox)
    sandbox.store.set_quota("devuser", CPU=2)
    assert Caller(sandbox).refused("vm.resize", vm, "CPU=3", True)[0] == AUTHORIZATION
    assert Caller(sandbox).good("vm.resize", vm, "CPU=2", True) == vm


def test_disks_count_in_the_quota(sandbox: Sandbox) -> None:
    vm, caller = _running(sandbox), Caller(sandbox)
    sandbox.store.set_quota("devuser", SYSTEM_DISK_SIZE=3000)
    used = sandbox.store.user("devuser").quotas.used
    assert caller.refused("vm.diskresize", vm, 0, "4000")[0] == AUTHORIZATION
    caller.good("vm.diskresize", vm, 0, "2048")
    pass_time(sandbox, 1)
    assert used["SYSTEM_DISK_SIZE"] == 2048
    sandbox.faults.drivers.set("disk-resize", fails=True)
    caller.good("vm.diskresize", vm, 0, "2500")
    pass_time(sandbox, 1)
    assert sandbox.store.vm(vm).template.vectors("DISK")[0]["SIZE"] == "2048"
    assert used["SYSTEM_DISK_SIZE"] == 2048
    caller.good("vm.action", "terminate-hard", vm)
    pass_time(sandbox, 3)
    assert sandbox.store.vm_state(vm) == "DONE"
    assert used["SYSTEM_DISK_SIZE"] == 0


def test_a_scheduled_action_ends_a_vm(sandbox: Sandbox) -> None:
    vm = _running(sandbox, 'SCHED_ACTION=[ACTION="terminate-hard",TIME="+10"]')
    assert "<ACTION>terminate-hard</ACTION>" in Caller(sandbox).good("vm.info", vm, False)
    pass_time(sandbox, 6)
    assert sandbox.store.vm_state(vm) == "RUNNING"
    pass_time(sandbox, 3)
    assert sandbox.store.vm_state(vm) == "DONE"
    assert sandbox.store.vm(vm).history[-1].action == 28


def test_a_scheduled_action_that_fails_is_retried(sandbox: Sandbox) -> None:
    sandbox.faults.drivers.set("boot", slow_seconds=20)
    vm = _vm(sandbox, 'SCHED_ACTION=[ACTION="terminate-hard",TIME="+10"]')
    pass_time(sandbox, 15)
    assert sandbox.store.vm_state(vm) == "BOOT"
    assert "wrong state BOOT" in Caller(sandbox).good("vm.info", vm, False)
    pass_time(sandbox, 15)
    assert sandbox.store.vm_state(vm) == "DONE"


def test_a_lease_is_renewed_and_removed(sandbox: Sandbox) -> None:
    vm, caller = _running(sandbox), Caller(sandbox)
    number = caller.good("vm.schedadd", vm, 'SCHED_ACTION=[ACTION="terminate-hard",TIME="+10"]')
    caller.good("vm.schedupdate", vm, number, 'SCHED_ACTION=[TIME="+60"]')
    pass_time(sandbox, 20)
    assert sandbox.store.vm_state(vm) == "RUNNING"
    second = caller.good("vm.schedadd", vm, 'SCHED_ACTION=[ACTION="poweroff-hard",TIME="+90"]')
    assert second == number + 1
    caller.good("vm.scheddelete", vm, number)
    assert caller.refused("vm.scheddelete", vm, number)[0] == NO_EXISTS
    pass_time(sandbox, 60)
    assert sandbox.store.vm_state(vm) == "RUNNING"
    pass_time(sandbox, 20)
    assert sandbox.store.vm_state(vm) == "POWEROFF"


def test_a_scheduled_action_may_be_absolute(sandbox: Sandbox) -> None:
    vm = _running(sandbox)
    at = sandbox.store.vm(vm).stime + 7
    Caller(sandbox).good("vm.schedadd", vm, f'SCHED_ACTION=[ACTION="suspend",TIME="{at}"]')
    pass_time(sandbox, 6)
    assert sandbox.store.vm_state(vm) == "SUSPENDED"


@pytest.mark.parametrize("text", ["A=1", 'SCHED_ACTION=[ACTION="fly",TIME="+1"]', "SCHED_ACTION=["])
def test_invalid_scheduled_actions(sandbox: Sandbox, text: str) -> None:
    assert Caller(sandbox).refused("vm.schedadd", _running(sandbox), text)[0] == INTERNAL


def test_addresses(sandbox: Sandbox) -> None:
    """6.x leases the lowest free address, 7.x the one after the last."""
    first = _running(sandbox)
    second = _running(sandbox)
    Caller(sandbox).good("vm.action", "terminate", first)
    pass_time(sandbox, 2)
    third = _running(sandbox)
    found = [sandbox.store.vm(v).template.vectors("NIC")[0]["IP"] for v in (second, third)]
    is_six = sandbox.world.store.release.version.startswith("6")
    assert found == ["10.0.0.2", "10.0.0.1" if is_six else "10.0.0.3"]


def test_a_driver_may_be_slow(sandbox: Sandbox) -> None:
    sandbox.faults.set_text("driver:boot:seconds=50")
    service = Caller(sandbox).instantiate(
        name="slow",
        roles=[{"name": "FAAS", **contents(sandbox.world.store.release.version, A="1")}],
    )
    pass_time(sandbox, 40)
    assert sandbox.store.vm_state(vm_of(sandbox, service)) == "BOOT"
    assert state(sandbox, service) == 1
    pass_time(sandbox, 20)
    assert state(sandbox, service) == 2


def test_a_vm_may_be_put_into_any_state(sandbox: Sandbox) -> None:
    vm = _vm(sandbox)
    sandbox.store.put_vm(vm, "BOOT", stays=True)
    pass_time(sandbox, 100)
    assert sandbox.store.vm_state(vm) == "BOOT"
    sandbox.store.put_vm(vm, "RUNNING")
    Caller(sandbox).good("vm.action", "poweroff", vm)
    pass_time(sandbox, 1)
    assert sandbox.store.vm_state(vm) == "POWEROFF"


@pytest.mark.parametrize("size", ["CPU=nan", "MEMORY=inf", "CPU=-1", "VCPU=x"])
def test_sizes_that_are_not_numbers(sandbox: Sandbox, size: str) -> None:
    assert Caller(sandbox).refused("vm.resize", _running(sandbox), size, True)[0] == ACTION
