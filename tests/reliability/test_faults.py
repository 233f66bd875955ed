"""OpenNebula may fail in any way: the response is right, and nothing is left behind.

At every call, and on a real OpenNebula: python tests/reliability/fault_matrix.py
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.calls import Call
from tests.support.client import RUNTIMES
from tests.support.installation import Target
from tests.support.opennebula import RUNTIME
from tests.support.proxy import REFUSALS

from .fault_matrix import (
    KINDS,
    OPERATIONS,
    SANDBOX_TIMEOUT_SECONDS,
    Outcome,
    matrix,
    table,
)
from .lanes import NOTHING, Lane, check, open_lane, until_count

INSTANTIATE = "POST service_template/action"
ENDING = ("DELETE service", "POST service/action")
APART = ("recover", "replace", "take standby", "order standby")
"""These have tests of their own."""
CHANGES = [name for name in OPERATIONS if name not in APART]
SHORT = [kind for kind in KINDS if kind not in ("drip-body", "drip-chunks")]
"""What drips is the same to the engine, in headers, body and chunks."""


def faults(
    directory: Path, release: str, operations: list[str], kinds: list[str], which: str
) -> list[Outcome]:
    """Outcomes of these faults; none of them may be wrong."""
    aim = Target(releases=(release,))
    outcomes = matrix(aim, operations, ["FAAS"], kinds, which, directory)
    check(outcomes, table(outcomes))
    return outcomes


def test_every_operation_stands_every_fault_of_each_backend(tmp_path: Path) -> None:
    """From its first call on."""
    outcomes = faults(tmp_path, "7.4.0", CHANGES, SHORT, "first")
    reached = {(o.case.operation, o.case.backend) for o in outcomes if o.status is not None}
    with_oneflow = ("create", "create with key", "delete")
    assert reached == {(operation, "oned") for operation in CHANGES} | {
        (operation, "oneflow") for operation in with_oneflow
    }


def test_a_recovery_stands_every_fault_of_each_backend(tmp_path: Path) -> None:
    outcomes = faults(tmp_path, "7.4.0", ["recover", "replace"], SHORT, "first")
    assert {o.case.operation for o in outcomes if o.status is not None} == {"recover", "replace"}


def test_taking_and_ordering_a_standby_stands_every_fault_of_each_backend(tmp_path: Path) -> None:
    """Taking one needs no oneflow, and what fails after the response does not change it."""
    kinds = ["refuse", "hang", "error", "late", "stall"]
    outcomes = faults(tmp_path, "7.4.0", ["take standby", "order standby"], kinds, "first")
    reached = {(o.case.operation, o.case.backend) for o in outcomes if o.status is not None}
    assert reached == {
        ("take standby", "oned"),
        ("order standby", "oned"),
        ("order standby", "oneflow"),
    }
    assert {o.status for o in outcomes if o.case.operation == "order standby"} == {201}


def test_the_response_to_the_last_step_may_be_lost(tmp_path: Path) -> None:
    operations = ["create", "create with key"]
    outcomes = faults(tmp_path, "6.8.0", operations, ["cut", "error"], "changes")
    assert {o.case.call for o in outcomes if o.status} >= {"document.update", "document.allocate"}


def test_a_multicall_may_end_or_fail_at_each_of_its_calls(tmp_path: Path) -> None:
    """The calls before were done and the response is lost, or only this one is refused."""
    operations, kinds = ["read", "update", "delete"], ["cut", *REFUSALS]
    outcomes = faults(tmp_path, "6.8.0", operations, kinds, "batches")
    reached = {(o.case.operation, o.case.kind) for o in outcomes if o.status is not None}
    assert reached >= set(itertools.product(["read", "delete"], kinds))


@pytest.fixture
def lane(tmp_path: Path) -> Iterator[Lane]:
    with open_lane("7.4.0", Target(), tmp_path, SANDBOX_TIMEOUT_SECONDS) as lane:
        yield lane


def create(lane: Lane) -> int:
    return lane.request("POST", RUNTIMES, lane.members).status


def test_a_oneflow_that_is_down_leaves_nothing_even_for_a_moment(lane: Lane) -> None:
    """Nothing was started for certain, so that the document can go at once."""
    lane.proxy.set_fault("oneflow", "refuse")
    response = lane.request("POST", RUNTIMES, lane.members)
    assert (response.status, response.headers["Retry-After"]) == (503, "5")
    assert lane.opennebula.count() == NOTHING


@pytest.mark.parametrize("name", ["document.allocate", INSTANTIATE, "document.update"])
def test_one_lost_response_leaves_nothing(lane: Lane, name: str) -> None:
    """A service that was started is found by its name."""
    backend = "oneflow" if name == INSTANTIATE else "oned"
    lane.proxy.set_fault(backend, "cut", name=name, times=1)
    assert create(lane) == 502
    assert [call.name for call in lane.proxy.calls].count(INSTANTIATE) <= 1
    assert until_count(lane, NOTHING) == ""


@pytest.mark.parametrize(("operation", "phase"), [("create", "DELETING"), ("replace", "REPLACING")])
def test_what_is_undone_is_written_down_before_oneflow_is_asked_to_end_it(
    lane: Lane, operation: str, phase: str
) -> None:
    """oneflow may do it long after its response was given up; nobody takes the service over."""
    lane.key = "one"
    OPERATIONS[operation].prepare(lane)
    written: list[tuple[str, bool]] = []
    started = threading.Event()

    def on_call(call: Call, moment: str) -> None:
        if call.name == INSTANTIATE:
            started.set()
        if moment == "before" and started.is_set() and call.name in ENDING:
            (runtime_id,) = lane.opennebula.ids(RUNTIME)
            body = lane.opennebula.body_of(runtime_id)
            written.append((body["ENGINE"]["PHASE"], body.get("SERVICE_ID") is not None))

    lane.proxy.on_call = on_call
    lane.proxy.set_fault("oneflow", "cut", name=INSTANTIATE, times=1)
    assert OPERATIONS[operation].request(lane).status == 502
    assert set(written) == {(phase, operation == "replace")}


def test_connections_that_were_closed_meanwhile_cost_nothing(lane: Lane) -> None:
    """oned and oneflow were started again, and the engine's kept-alive connections are dead."""
    lane.runtime_id = lane.request("POST", RUNTIMES, lane.members).runtime["ID"]
    _restart(lane)
    assert lane.request("GET", lane.path).status == 200
    assert create(lane) == 201
    _restart(lane)
    assert lane.request("DELETE", lane.path).status == 204
    assert until_count(lane, lane.expected(1)) == ""


def _restart(lane: Lane) -> None:
    for backend in ("oned", "oneflow"):
        lane.proxy.set_fault(backend, "refuse")
    lane.proxy.clear_faults()
