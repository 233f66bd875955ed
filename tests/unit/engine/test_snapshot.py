"""A runtime with the conditions of its VMs."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from provision_engine.engine.runtime.model import Phase, Runtime
from provision_engine.engine.runtime.snapshot import Snapshot
from provision_engine.engine.runtime.states import Condition, Reason, State
from tests.unit.support import function, service, vm

FAAS = function("nature", 1, 100, 1000, 7)
DAAS = function("s3", 1, 100, 1000, 8)
RUNTIME = Runtime(id=851, name="lamp", functions={"FAAS": FAAS}, service_id=850, created_at=5)
BOTH = dataclasses.replace(RUNTIME, functions={"FAAS": FAAS, "DAAS": DAAS})
NEVER_HAD_A_VM = RUNTIME.with_vms({"FAAS": None})

DEPLOYING = service({"state": 1, "roles": []})
RUNNING = service({"state": 2, "roles": []})
ENDING = service({"state": 3})
FAILED = service(
    {
        "state": 7,
        "log": [{"severity": "E", "message": "no such template", "timestamp": 99}],
        "roles": [],
    }
)


def faas(snapshot: Snapshot) -> tuple[State, Reason | None]:
    condition = snapshot.conditions["FAAS"]
    return condition.state, condition.reason


@pytest.mark.parametrize(
    ("runtime", "service", "state", "reason"),
    [
        (RUNTIME, None, State.ERROR, Reason.SERVICE_GONE),
        (RUNTIME, RUNNING, State.ERROR, Reason.GONE),
        (RUNTIME, FAILED, State.ERROR, Reason.DEPLOY_FAILED),
        (RUNTIME, ENDING, State.ERROR, Reason.GONE),
        (NEVER_HAD_A_VM, None, State.ERROR, Reason.SERVICE_GONE),
        (NEVER_HAD_A_VM, ENDING, State.ERROR, Reason.ENDING),
        (NEVER_HAD_A_VM, DEPLOYING, State.PENDING, Reason.DEPLOYING),
        (NEVER_HAD_A_VM, RUNNING, State.PENDING, Reason.DEPLOYING),
        (NEVER_HAD_A_VM, FAILED, State.ERROR, Reason.DEPLOY_FAILED),
    ],
)
def test_a_function_without_a_vm_is_explained_by_its_service(
    runtime: Runtime, service: Any, state: State, reason: Reason
) -> None:
    assert faas(Snapshot.from_vms(runtime, {}, service)) == (state, reason)


def test_a_service_that_failed_shows_in_the_function_it_left_without_a_vm() -> None:
    seen = Snapshot.from_vms(BOTH.with_vms({"DAAS": None}), {7: vm()}, FAILED)
    assert seen.conditions == {
        "FAAS": Condition(State.RUNNING),
        "DAAS": Condition(State.ERROR, "no such template", Reason.DEPLOY_FAILED),
    }
    assert seen.observed["DAAS"].since == 99
    assert list(seen.vms) == ["FAAS"]


@pytest.mark.parametrize(
    ("is_suspended", "state", "expected"),
    [
        (True, (5, 0), (State.SUSPENDED, Reason.SUSPENDED)),
        (False, (5, 0), (State.ERROR, Reason.SUSPENDED)),
        (True, (4, 0), (State.ERROR, Reason.STOPPED)),
        (True, (8, 0), (State.ERROR, Reason.POWERED_OFF)),
        (True, (9, 0), (State.ERROR, Reason.UNDEPLOYED)),
        (True, (3, 36), (State.ERROR, Reason.BOOT_FAILED)),
        (True, (3, 3), (State.RUNNING, None)),
    ],
)
def test_a_vm_is_suspended_only_if_that_was_requested_here(
    is_suspended: bool, state: tuple[int, int], expected: tuple[State, Reason | None]
) -> None:
    runtime = dataclasses.replace(RUNTIME, is_suspended=is_suspended)
    assert faas(Snapshot.from_vms(runtime, {7: vm(*state)}, RUNNING)) == expected


@pytest.mark.parametrize(
    ("message", "text", "reason"),
    [
        ("No host meets SCHED_REQUIREMENTS", "no host satisfies A > 1", Reason.NO_MATCHING_HOST),
        (
            "No host with enough capacity to deploy the VM",
            "no host has enough free CPU and memory",
            Reason.NO_CAPACITY,
        ),
    ],
)
def test_a_vm_without_a_host_shows_what_its_user_required(
    message: str, text: str, reason: Reason
) -> None:
    runtime = dataclasses.replace(RUNTIME, scheduling={"REQUIREMENTS": "a > 1"})
    waiting = dataclasses.replace(vm(1, 0), sched_message=f"Cannot dispatch VM: {message}")
    seen = Snapshot.from_vms(runtime, {7: waiting}, RUNNING)
    assert seen.conditions["FAAS"] == Condition(State.PENDING, text, reason)


@pytest.mark.parametrize("is_suspended", [True, False])
def test_a_vm_on_its_way_to_be_suspended_is_updating(is_suspended: bool) -> None:
    runtime = dataclasses.replace(RUNTIME, is_suspended=is_suspended)
    saving = vm(3, 5)  # SAVE_SUSPEND
    seen = Snapshot.from_vms(runtime, {7: saving}, RUNNING)
    assert faas(seen) == (State.UPDATING, Reason.CHANGING)
    assert not seen.is_settled()


@pytest.mark.parametrize(
    ("phase", "reason", "since"),
    [(Phase.CREATING, Reason.ORDERED, 5), (Phase.REPLACING, Reason.REPLACING, 50)],
)
def test_a_runtime_being_created_is_pending_whatever_its_old_vms_do(
    phase: Phase, reason: Reason, since: int
) -> None:
    runtime = dataclasses.replace(RUNTIME, phase=phase, intended_at=50)
    seen = Snapshot.from_vms(runtime, {7: vm(3, 36)}, FAILED)
    assert faas(seen) == (State.PENDING, reason)
    assert seen.observed["FAAS"].since == since
    assert not seen.vms


@pytest.mark.parametrize(
    ("faas", "daas", "is_settled"),
    [
        ((3, 3), (3, 3), True),
        ((3, 3), (3, 36), True),
        ((3, 3), (1, 0), False),
        ((3, 62), (3, 36), False),
    ],
)
def test_it_is_settled_when_no_function_is_in_a_transient_state(
    faas: tuple[int, int], daas: tuple[int, int], is_settled: bool
) -> None:
    vms = {7: vm(*faas, vm_id=7), 8: vm(*daas, vm_id=8)}
    assert Snapshot.from_vms(BOTH, vms, RUNNING).is_settled() is is_settled


def test_the_vm_of_a_standby_that_is_handed_over_may_have_the_id_0() -> None:
    first = RUNTIME.with_vms({"FAAS": 0})
    assert Snapshot.pending(first, {0: vm(vm_id=0)}).vms["FAAS"].id == 0
