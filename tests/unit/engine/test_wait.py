"""Waiting for a runtime: when it ends, and with what."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from provision_engine.engine.actions import read
from provision_engine.engine.actions.wait import IsDone, IsRecovered, wait_until
from provision_engine.engine.runtime.model import Runtime
from provision_engine.engine.runtime.snapshot import Observation, Snapshot
from provision_engine.engine.runtime.states import Condition, State
from tests.unit.engine.samples import Cloud, context
from tests.unit.support import function

SECONDS = 20.0
RUNTIME = Runtime(851, "lamp", {"FAAS": function("nature", 1, 1, 1, 7)})


def snapshot(*states: State, number: int = 0) -> Snapshot:
    """``number`` distinguishes two snapshots."""
    roles = zip(("FAAS", "DAAS"), states, strict=False)
    runtime = replace(RUNTIME, lease_seconds=1, lease_ends_at=number)
    return Snapshot(runtime, {role: Observation(Condition(state)) for role, state in roles})


class Looks:
    """A runtime whose states the test sets, the last one again and again; it counts the reads."""

    def __init__(self, *states: State) -> None:
        self.states, self.taken = list(states), 0

    def take(self) -> Snapshot:
        self.taken += 1
        state = self.states.pop(0) if len(self.states) > 1 else self.states[0]
        return snapshot(state, number=self.taken)


@pytest.fixture(autouse=True)
def _reads(monkeypatch: pytest.MonkeyPatch) -> None:
    """A caller's OpenNebula is the `Looks` of the test."""
    monkeypatch.setattr(read, "get_runtime", lambda caller, runtime_id: caller.cloud.oned.take())


def wait(
    looks: Looks,
    seconds: float = SECONDS,
    is_gone: Callable[[], bool] = lambda: False,
    is_done: IsDone = Snapshot.is_settled,
) -> Snapshot:
    return wait_until(is_done, context(Cloud(looks)), 851, seconds, is_gone)


def state_of(seen: Snapshot) -> State:
    return seen.conditions["FAAS"].state


@pytest.mark.parametrize("state", [State.RUNNING, State.ERROR, State.SUSPENDED])
def test_a_wait_ends_when_the_runtime_is_settled(state: State) -> None:
    looks = Looks(State.PENDING, State.UPDATING, state)
    assert state_of(wait(looks)) == state
    assert looks.taken == 3


def test_when_the_time_is_over_the_last_snapshot_is_returned() -> None:
    looks = Looks(State.UPDATING)
    assert state_of(wait(looks, 0)) == State.UPDATING
    assert looks.taken == 1


def test_a_disconnected_client_ends_its_wait() -> None:
    looks = Looks(State.PENDING)
    wait(looks, is_gone=lambda: True)
    assert looks.taken == 1


# ---- when a wait is over ------------------------------------------------------------------------

RUNNING, ERROR, PENDING, UPDATING, SUSPENDED = (
    State.RUNNING,
    State.ERROR,
    State.PENDING,
    State.UPDATING,
    State.SUSPENDED,
)


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        ([RUNNING], True),
        ([ERROR], True),
        ([SUSPENDED], True),
        ([PENDING], False),
        ([UPDATING], False),
        ([RUNNING, ERROR], True),
        ([ERROR, PENDING], False),
    ],
)
def test_a_runtime_is_settled_when_no_function_moves(states: list[State], expected: bool) -> None:
    assert snapshot(*states).is_settled() is expected


@pytest.mark.parametrize(
    ("seen", "is_done"),
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
def test_a_recovery_has_an_outcome(seen: list[list[State]], is_done: list[bool]) -> None:
    is_recovered = IsRecovered()
    assert [is_recovered(snapshot(*states)) for states in seen] == is_done


def test_what_a_wait_is_for_is_up_to_the_request() -> None:
    looks = Looks(State.ERROR)
    seen = wait(looks, is_done=lambda seen: (seen.ends_at or 0) >= 3)
    assert (seen.ends_at, looks.taken) == (3, 3)
