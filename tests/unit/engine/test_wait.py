"""When a wait for a recovery is over. ``contract/test_wait.py`` shows how requests wait."""

from __future__ import annotations

import pytest

from provision_engine.engine.actions.wait import IsRecovered
from provision_engine.engine.runtime.model import Runtime
from provision_engine.engine.runtime.snapshot import Observation, Snapshot
from provision_engine.engine.runtime.states import Condition, State

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
        assert is_recovered(Snapshot(Runtime(851, "lamp", {}), observed)) is expected
