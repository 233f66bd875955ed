"""States of VMs and services as the STATE of a function."""

from __future__ import annotations

import pyone
import pytest

from provision_engine.cloud.objects import Service, Vm, parse
from provision_engine.engine.runtime import states
from provision_engine.engine.runtime.states import (
    UNNAMED_REQUIREMENTS,
    Condition,
    Explanation,
    Reason,
    State,
    explain,
)
from tests.unit.support import recorded, vm
from tests.unit.support import service as service_of

FAILED = {s.value for s in pyone.LCM_STATE if s.name.endswith("FAILURE") or s.name == "UNKNOWN"}


@pytest.mark.parametrize("state", list(pyone.VM_STATE))
def test_every_vm_state_has_a_state_and_an_error_says_why(state: pyone.VM_STATE) -> None:
    seen = states.from_vm(vm(state.value))
    assert seen.state in State
    assert (seen.text and seen.reason) or seen.state is not State.ERROR


@pytest.mark.parametrize("state", list(pyone.LCM_STATE))
def test_every_life_cycle_state_has_a_state(state: pyone.LCM_STATE) -> None:
    seen = states.from_vm(vm(3, state.value))
    assert (seen.state is State.ERROR) is (state.value in FAILED), state.name
    assert (seen.text and seen.reason) or seen.state is not State.ERROR


@pytest.mark.parametrize("state", sorted(FAILED))
def test_a_failure_names_its_life_cycle_state(state: int) -> None:
    assert pyone.LCM_STATE(state).name in states.from_vm(vm(3, state)).text


OLD_ERROR = "<ERROR>Tue Nov 24 01:48:26 2026: DEPLOY: failed</ERROR>"


@pytest.mark.parametrize(
    ("names", "state"),
    [
        ("INIT PENDING HOLD CLONING", State.PENDING),
        ("STOPPED SUSPENDED POWEROFF UNDEPLOYED DONE CLONING_FAILURE", State.ERROR),
        ("LCM_INIT PROLOG BOOT BOOT_POWEROFF PROLOG_RESUME", State.PENDING),
        ("HOTPLUG_RESIZE DISK_RESIZE HOTPLUG HOTPLUG_NIC MIGRATE DISK_SNAPSHOT", State.UPDATING),
    ],
)
def test_the_state_of_a_vm_is_that_of_the_contract(names: str, state: State) -> None:
    for name in names.split():
        is_lcm = name in pyone.LCM_STATE.__members__
        number = (3, pyone.LCM_STATE[name]) if is_lcm else (pyone.VM_STATE[name], 0)
        assert states.from_vm(vm(*number)).state is state, name


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("STOPPED", "stopped"),
        ("SUSPENDED", "suspended"),
        ("POWEROFF", "powered off"),
        ("UNDEPLOYED", "undeployed"),
        ("DONE", "gone"),
    ],
)
def test_a_vm_that_does_not_run_says_so_also_where_an_older_error_is_left(
    name: str, words: str
) -> None:
    for user_template in ("", OLD_ERROR):
        seen = states.from_vm(vm(pyone.VM_STATE[name], 0, user_template=user_template))
        assert words in seen.text


def test_a_state_of_a_later_release_is_an_error_or_an_update() -> None:
    assert states.from_vm(vm(99, 0)).state is State.ERROR
    assert states.from_vm(vm(3, 999)).state is State.UPDATING


def test_the_error_of_a_vm_is_shown_while_it_has_failed_and_forgotten_when_it_runs() -> None:
    error = "<ERROR>DEPLOY: no room</ERROR>"
    failed = states.from_vm(vm(3, 36, user_template=error))
    assert failed.state is State.ERROR
    assert "DEPLOY: no room" in failed.text
    assert states.from_vm(vm(3, 3, user_template=error)) == Condition(State.RUNNING)


@pytest.mark.parametrize(
    ("report", "ready", "state"),
    [
        ("YES", "", State.PENDING),
        ("YES", "NO", State.PENDING),
        ("YES", "YES", State.RUNNING),
        ("yes", "yes", State.RUNNING),
        ("NO", "", State.RUNNING),
        ("", "NO", State.RUNNING),
    ],
)
def test_a_vm_that_has_to_report_is_pending_until_it_is_ready(
    report: str, ready: str, state: State
) -> None:
    context = f"<CONTEXT><REPORT_READY>{report}</REPORT_READY></CONTEXT>"
    waiting = vm(template=f"<CPU>1</CPU>{context}", user_template=f"<READY>{ready}</READY>")
    assert states.from_vm(waiting).state is state


RECORDED_STATES = {
    (3, 3): State.RUNNING,
    (3, 62): State.UPDATING,
    (3, 66): State.UPDATING,
    (8, 0): State.ERROR,
    (6, 0): State.ERROR,
    (3, 36): State.ERROR,
    (3, 2): State.PENDING,
    (1, 0): State.PENDING,
}


@pytest.mark.parametrize(
    "seen", recorded("vms"), ids=lambda s: f"{s['scenario']}-{s['state']}-{s['lcm_state']}"
)
def test_recorded_vms_have_the_state_of_the_contract(seen: dict) -> None:
    recorded_vm = Vm.from_xml(parse(seen["xml"]))
    state = states.from_vm(recorded_vm).state
    if recorded_vm.must_report_ready and not recorded_vm.is_ready:
        assert state is State.PENDING
    else:
        assert state is RECORDED_STATES[seen["state"], seen["lcm_state"]]


def service(state: int, *messages: str) -> Service:
    log = [{"severity": "E", "message": m} for m in messages]
    return service_of({"state": state, "log": log, "roles": [{"name": "FAAS", "nodes": []}]})


@pytest.mark.parametrize("state", [6, 7, 9, 13, 14])
def test_a_failed_service_shows_in_functions_without_vm(state: int) -> None:
    seen = states.from_service(service(state, "older", "quota reached"))
    assert seen == Condition(State.ERROR, "quota reached", Reason.DEPLOY_FAILED)
    seen = states.from_service(service(state))
    assert seen.state is State.ERROR
    assert "FAILED" in seen.text, "without a log, its state is named"


def test_the_first_vm_of_each_role_is_found_also_where_oneflow_wrote_text() -> None:
    body = {
        "roles": [
            {"name": "FAAS", "nodes": [{"deploy_id": "12"}, {"deploy_id": 13}]},
            {"name": "DAAS", "nodes": None},
            {"name": "X", "nodes": [{}]},
        ]
    }
    assert states.vm_ids(service_of(body)) == {"FAAS": 12, "DAAS": None, "X": None}


@pytest.mark.parametrize("log", [None, "text", [None, 3], {}])
def test_an_invalid_log_is_empty(log: object) -> None:
    found = service_of({"log": log})
    assert found.log == ()
    assert states.last_error(found) == ""


# ---- messages; they are those of the recordings --------------------------------------------------

ROLE = "Role FAAS : Instantiate failed for template 0; [one.template.instantiate] "
DATE = "Tue Nov 24 01:49:35 2026: "
SCHEDULER = (
    f"{DATE}Cannot dispatch VM: No host meets capacity and SCHED_REQUIREMENTS: (CLUSTER_ID = 0)"
    " & !(PUBLIC_CLOUD = YES) & !(PIN_POLICY = PINNED)"
)
NO_TEMPLATE = (
    "Error allocating a new virtual machine template. MEMORY attribute must be a"
    " positive integer value."
)


def limit(count: int, metric: str, whose: str = "user [2]") -> str:
    return f"{whose} limit of {count} reached for {metric} quota in VM."


HOST, CAPACITY, QUOTA = Reason.NO_MATCHING_HOST, Reason.NO_CAPACITY, Reason.QUOTA
FULL = "no host has enough free CPU and memory"
DISPATCH = f"{DATE}Cannot dispatch VM: "


@pytest.mark.parametrize(
    ("message", "text", "reason"),
    [
        (f"{SCHEDULER} & ( ENERGY=50 )", "no host satisfies ENERGY=50", HOST),
        (f"{SCHEDULER} & ( (A > 1) & (B < 2) )", "no host satisfies (A > 1) & (B < 2)", HOST),
        (SCHEDULER, FULL, CAPACITY),
        (f"{DISPATCH}No host with enough capacity to deploy the VM", FULL, CAPACITY),
        (f"{DATE}[HOST] Not enough CPU on hosts: 0,1", FULL, CAPACITY),
        (f"{DISPATCH}No host meets SCHED_REQUIREMENTS", UNNAMED_REQUIREMENTS, HOST),
        (
            f"{DATE}Error in SCHED_REQUIREMENTS: 'A >> 1', error: syntax error",
            "the requirements cannot be parsed",
            HOST,
        ),
        (f"{ROLE}User [2] : {limit(1, 'VMS')}", "user quota of 1 VM reached", QUOTA),
        (limit(2, "VMS"), "user quota of 2 VMs reached", QUOTA),
        (limit(4, "CPU", "group [1]"), "group quota of 4 cores reached", QUOTA),
        (limit(512, "MEMORY"), "user quota of 512 MB of memory reached", QUOTA),
        (limit(1, "RUNNING_VMS"), "user quota of 1 running VM reached", QUOTA),
        (limit(7, "LEASES"), "user quota of 7 LEASES reached", QUOTA),
        (
            f"{ROLE}Error getting virtual machine template [999].",
            "VM template 999 does not exist",
            None,
        ),
        (
            f"{ROLE}User [2] : Not authorized to perform USE TEMPLATE [2].",
            "the user may not use VM template 2",
            None,
        ),
        (f"{ROLE}{NO_TEMPLATE}", NO_TEMPLATE, None),
        (f"{DATE}DEPLOY: host00: dummy", "DEPLOY: host00: dummy", None),
        ("{0} {what} %s", "{0} {what} %s", None),
        ("", "", None),
    ],
)
def test_a_message_becomes_words_and_a_reason(
    message: str, text: str, reason: Reason | None
) -> None:
    assert explain(message) == Explanation(text, reason)
