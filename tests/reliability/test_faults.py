"""OpenNebula may fail in any way: the answer is right and in time, and nothing is left behind."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.reliability.fault_matrix import KINDS, OPERATIONS, Lane, matrix, new_lane, table
from tests.support.client import RUNTIMES, SPECIFICATIONS


def test_every_operation_stands_every_fault_of_each_backend() -> None:
    """From its first call on; at every call: python tests/reliability/fault_matrix.py."""
    outcomes = matrix(["7.4.0"], list(OPERATIONS), list(KINDS), "first")
    shown = table(outcomes)
    print(shown)
    assert not [outcome for outcome in outcomes if outcome.wrong], shown
    reached = {(o.case.operation, o.case.backend) for o in outcomes if o.status is not None}
    with_oneflow = ("create", "create with key", "delete", "recover")
    assert reached == {(operation, "oned") for operation in OPERATIONS} | {
        (operation, "oneflow") for operation in with_oneflow
    }


def test_an_answer_of_the_last_step_may_be_lost() -> None:
    outcomes = matrix(["6.8.0"], ["create", "create with key"], ["cut", "error"], "changes")
    assert not [outcome for outcome in outcomes if outcome.wrong], table(outcomes)
    assert {o.case.call for o in outcomes if o.status} >= {"document.update", "document.allocate"}


@pytest.fixture
def lane() -> Iterator[Lane]:
    lane = new_lane("7.4.0")
    yield lane
    lane.sandbox.stop()


NOTHING = {"runtimes": 0, "services": 0, "vms": 0}


def test_a_oneflow_that_is_down_leaves_nothing_even_for_a_moment(lane: Lane) -> None:
    """Nothing was started for certain, so that the document can go at once."""
    lane.sandbox.faults.set("oneflow", "refuse")
    answer = lane.ask("POST", RUNTIMES, SPECIFICATIONS["FAAS"])
    assert (answer.status, answer.headers["Retry-After"]) == (503, "5")
    assert lane.sandbox.store.count() == NOTHING


@pytest.mark.parametrize("method", ["one.document.allocate", "one.document.update"])
def test_one_lost_answer_leaves_nothing(lane: Lane, method: str) -> None:
    lane.sandbox.faults.set("oned", "cut", method=method, times=1)
    assert lane.ask("POST", RUNTIMES, SPECIFICATIONS["FAAS"]).status == 502
    assert lane.sandbox.store.count() == NOTHING


def test_a_lost_answer_to_instantiate_leaves_nothing(lane: Lane) -> None:
    """The service is there, and is found by its name."""
    lane.sandbox.faults.set("oneflow", "cut", method="POST", times=1)
    assert lane.ask("POST", RUNTIMES, SPECIFICATIONS["FAAS"]).status == 502
    starts = [call for call in lane.sandbox.calls if call.path.startswith("/service_template")]
    assert len(starts) == 1
    assert lane.sandbox.store.count() == NOTHING


def test_connections_that_were_closed_meanwhile_cost_nothing(lane: Lane) -> None:
    """oned and oneflow were started again, and the engine's kept-alive connections are dead."""
    made = lane.ask("POST", RUNTIMES, SPECIFICATIONS["FAAS"]).body["SERVERLESS_RUNTIME"]
    lane.sandbox.restart()
    assert lane.ask("GET", f"{RUNTIMES}/{made['ID']}").status == 200
    assert lane.ask("POST", RUNTIMES, SPECIFICATIONS["FAAS"]).status == 201
    lane.sandbox.restart()
    assert lane.ask("DELETE", f"{RUNTIMES}/{made['ID']}").status == 204
    assert lane.sandbox.store.count() == {"runtimes": 1, "services": 1, "vms": 1}
