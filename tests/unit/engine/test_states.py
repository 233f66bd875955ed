"""States of VMs and services as the STATE of a function."""

from __future__ import annotations

import pyone
import pytest

from provision_engine.cloud.objects import Service, Vm, parse
from provision_engine.engine.runtime import states
from provision_engine.engine.runtime.states import Condition, Reason, State
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


@pytest.mark.parametrize(
    ("state", "word"),
    [
        (pyone.VM_STATE.STOPPED, "stopped"),
        (pyone.VM_STATE.SUSPENDED, "suspended"),
        (pyone.VM_STATE.POWEROFF, "powered off"),
        (pyone.VM_STATE.UNDEPLOYED, "undeployed"),
        (pyone.VM_STATE.DONE, "gone"),
    ],
)
class TestAVmThatDoesNotRun:
    def test_is_an_error_that_says_so(self, state: pyone.VM_STATE, word: str) -> None:
        seen = states.from_vm(vm(state.value, 0))
        assert seen.state is State.ERROR
        assert word in seen.text

    def test_says_so_even_where_an_older_error_is_left(
        self, state: pyone.VM_STATE, word: str
    ) -> None:
        old = "<ERROR>Tue Nov 24 01:48:26 2026: DEPLOY: failed</ERROR>"
        assert word in states.from_vm(vm(state.value, 0, user_template=old)).text


@pytest.mark.parametrize("name", ["INIT", "PENDING", "HOLD", "CLONING"])
def test_a_vm_that_was_not_started_yet_is_pending(name: str) -> None:
    assert states.from_vm(vm(pyone.VM_STATE[name].value, 0)).state is State.PENDING


@pytest.mark.parametrize("name", ["LCM_INIT", "PROLOG", "BOOT", "BOOT_POWEROFF", "PROLOG_RESUME"])
def test_a_vm_on_its_way_to_run_is_pending(name: str) -> None:
    assert states.from_vm(vm(3, pyone.LCM_STATE[name].value)).state is State.PENDING


@pytest.mark.parametrize(
    "name", ["HOTPLUG_RESIZE", "DISK_RESIZE", "HOTPLUG", "HOTPLUG_NIC", "MIGRATE", "DISK_SNAPSHOT"]
)
def test_a_vm_that_changes_is_updating(name: str) -> None:
    assert states.from_vm(vm(3, pyone.LCM_STATE[name].value)).state is State.UPDATING


def test_an_unknown_state_of_a_later_release_is_an_error() -> None:
    assert states.from_vm(vm(99, 0)).state is State.ERROR


def test_an_unknown_life_cycle_state_is_an_error_too() -> None:
    assert states.from_vm(vm(3, 999)).state in State


def test_the_error_of_a_failed_vm_holds_its_own_text() -> None:
    failed = vm(3, 36, user_template="<ERROR>DEPLOY: no room</ERROR>")
    seen = states.from_vm(failed)
    assert seen.state is State.ERROR
    assert "DEPLOY: no room" in seen.text


def test_an_old_error_is_forgotten_when_the_vm_runs() -> None:
    seen = states.from_vm(vm(3, 3, user_template="<ERROR>DEPLOY: failed</ERROR>"))
    assert seen == Condition(State.RUNNING)


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


@pytest.mark.parametrize("state", [6, 7, 9, 13, 14])
def test_a_failed_service_without_a_log_names_its_state(state: int) -> None:
    seen = states.from_service(service(state))
    assert seen.state is State.ERROR
    assert "FAILED" in seen.text


@pytest.mark.parametrize("state", [3, 5, 12])
def test_a_service_on_its_way_out_is_an_error(state: int) -> None:
    seen = states.from_service(service(state))
    assert (seen.state, seen.reason) == (State.ERROR, Reason.ENDING)
    assert seen.text


def test_no_service_and_no_vm_is_an_error() -> None:
    seen = states.from_service(None)
    assert (seen.state, seen.reason) == (State.ERROR, Reason.SERVICE_GONE)
    assert "gone" in seen.text


@pytest.mark.parametrize("state", [0, 1, 11])
def test_a_service_that_deploys_is_pending(state: int) -> None:
    assert states.from_service(service(state)).state is State.PENDING


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
