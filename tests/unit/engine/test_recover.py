"""The remedy for a runtime with a function in ERROR."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from provision_engine.engine.actions import recover
from provision_engine.engine.actions.wait import IsRecovered
from provision_engine.engine.runtime.model import Runtime
from provision_engine.engine.runtime.snapshot import Observation, Snapshot
from provision_engine.engine.runtime.states import Condition, Reason, State
from provision_engine.errors import ActionRefused
from tests.unit.engine.opennebula import OpenNebula
from tests.unit.support import OWNER, function, vm

RESUMED = {
    Reason.SUSPENDED,
    Reason.STOPPED,
    Reason.POWERED_OFF,
    Reason.UNDEPLOYED,
    Reason.UNREACHABLE,
}
RETRIED = {Reason.QUOTA, Reason.DEPLOY_FAILED}
RUNTIME = Runtime(
    id=851,
    name="lamp",
    functions={"FAAS": function("nature", 1, 1, 1, 7), "DAAS": function("s3", 1, 1, 1, 8)},
    owner_id=OWNER,
    service_id=850,
)
REPLACED = dataclasses.replace(RUNTIME, service_id=860)
RUNS = Condition(State.RUNNING)


class NoRetry(OpenNebula):
    """A oneflow that does not try again."""

    def recover_service(self, service_id: int) -> None:
        super().recover_service(service_id)
        raise ActionRefused("nothing failed")


@pytest.fixture(autouse=True)
def _replacement(monkeypatch: pytest.MonkeyPatch) -> None:
    """A replacement is tested elsewhere, on the sandbox."""
    monkeypatch.setattr(recover, "_replace", lambda *_: REPLACED)


def failed(reason: Reason | None) -> Condition:
    return Condition(State.ERROR, "why", reason)


def seen(faas: Condition, daas: Condition = RUNS, runtime: Runtime = RUNTIME) -> Snapshot:
    observed = {
        role: Observation(condition, None if vm_id is None else vm(vm_id=vm_id))
        for (role, condition), vm_id in zip(
            {"FAAS": faas, "DAAS": daas}.items(),
            [function.vm_id for function in runtime.functions.values()],
            strict=True,
        )
    }
    return Snapshot(runtime, observed)


def apply(opennebula: OpenNebula, snapshot: Snapshot, *, may_replace_data: bool = True) -> Runtime:
    return recover.apply(opennebula.request(), snapshot, may_replace_data=may_replace_data)


@pytest.mark.parametrize("reason", [*Reason, None])
def test_each_reason_has_its_remedy(reason: Reason | None) -> None:
    opennebula = OpenNebula()
    runtime = apply(opennebula, seen(failed(reason)))
    if reason in RESUMED:
        assert (opennebula.events, runtime) == ([("resume", 7)], RUNTIME)
    elif reason in RETRIED:
        assert (opennebula.events, runtime) == ([("recover", 850)], RUNTIME)
    else:
        assert (opennebula.events, runtime) == ([], REPLACED)


@pytest.mark.parametrize("state", [s for s in State if s is not State.ERROR])
@pytest.mark.parametrize("reason", [Reason.SUSPENDED, Reason.FAILED, None])
def test_a_function_without_an_error_needs_no_remedy(state: State, reason: Reason | None) -> None:
    opennebula = OpenNebula()
    apply(opennebula, seen(failed(Reason.STOPPED), Condition(state, "why", reason)))
    assert opennebula.events == [("resume", 7)]


@pytest.mark.parametrize(
    ("one", "other", "done", "runtime"),
    [
        (Reason.STOPPED, Reason.SUSPENDED, [("resume", 7), ("resume", 8)], RUNTIME),
        (Reason.STOPPED, Reason.BOOT_FAILED, [], REPLACED),
        (Reason.DEPLOY_FAILED, Reason.BOOT_FAILED, [], REPLACED),
        (Reason.DEPLOY_FAILED, Reason.QUOTA, [("recover", 850)], RUNTIME),
    ],
)
def test_the_greater_remedy_of_two_helps_both_functions(
    one: Reason, other: Reason, done: list[Any], runtime: Runtime
) -> None:
    for pair in ((one, other), (other, one)):
        opennebula = OpenNebula()
        assert apply(opennebula, seen(*map(failed, pair))) == runtime
        assert opennebula.events == done


def test_if_oneflow_does_not_retry_the_runtime_is_replaced() -> None:
    opennebula = NoRetry()
    assert apply(opennebula, seen(failed(Reason.QUOTA))) == REPLACED
    assert opennebula.events == [("recover", 850)]


def test_a_runtime_without_a_service_is_replaced() -> None:
    opennebula = OpenNebula()
    bare = dataclasses.replace(RUNTIME, service_id=None)
    assert apply(opennebula, seen(failed(Reason.QUOTA), runtime=bare)) == REPLACED
    assert opennebula.events == []


def test_the_disk_of_a_daas_is_lost_only_if_that_is_allowed() -> None:
    lost = seen(failed(Reason.BOOT_FAILED))
    with pytest.raises(ActionRefused) as caught:
        apply(OpenNebula(), lost, may_replace_data=False)
    assert caught.value.remedy == "replace"
    assert apply(OpenNebula(), lost, may_replace_data=True) == REPLACED


def test_a_daas_that_never_had_a_vm_has_no_disk_to_lose() -> None:
    never = RUNTIME.with_vms({"DAAS": None})
    lost = seen(failed(Reason.BOOT_FAILED), failed(Reason.DEPLOY_FAILED), never)
    assert apply(OpenNebula(), lost, may_replace_data=False) == REPLACED


RUNNING, ERROR, PENDING, SUSPENDED = State.RUNNING, State.ERROR, State.PENDING, State.SUSPENDED


@pytest.mark.parametrize(
    ("states", "is_done"),
    [
        # It is in ERROR at first: the recovery has only just started.
        ([[ERROR], [ERROR], [PENDING], [RUNNING]], [False, False, False, True]),
        ([[ERROR], [PENDING], [ERROR]], [False, False, True]),
        ([[PENDING], [ERROR]], [False, True]),
        # Between two looks it may have been settled for a moment.
        ([[PENDING], [SUSPENDED], [ERROR]], [False, False, True]),
        ([[RUNNING]], [True]),
        ([[RUNNING, ERROR], [RUNNING, PENDING], [RUNNING, RUNNING]], [False, False, True]),
        ([[PENDING, ERROR], [RUNNING, ERROR]], [False, True]),
        ([[SUSPENDED]], [False]),
    ],
)
def test_a_recovery_has_an_outcome(states: list[list[State]], is_done: list[bool]) -> None:
    is_recovered = IsRecovered()
    for of_functions, expected in zip(states, is_done, strict=True):
        observed = {str(n): Observation(Condition(s)) for n, s in enumerate(of_functions)}
        assert is_recovered(Snapshot(RUNTIME, observed)) is expected
