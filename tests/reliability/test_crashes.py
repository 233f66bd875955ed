"""Killed at any call that changes something, the engine leaves one runtime or none.

Everything, also on a real OpenNebula: python tests/reliability/crash_matrix.py
"""

from __future__ import annotations

import contextlib
import http.client
import itertools
import threading
from collections.abc import Collection, Iterator
from pathlib import Path

import pytest

from provision_engine.sandbox import Timings
from tests.support.calls import Call
from tests.support.client import RUNTIMES
from tests.support.engine import EngineProcess
from tests.support.installation import Target
from tests.support.waiting import wait_until

from .crash_matrix import SANDBOX_TIMEOUT_SECONDS, Outcome, engine_of, matrix, table
from .lanes import Lane, check, open_lane, until_accepted, until_count
from .operations import create, create_with_key

INSTANTIATE = "POST service_template/action"
STANDBY_SECONDS = 8.0
"""More than a busy machine needs to create a standby: an order that fails is not repeated."""
REPETITION_SECONDS = 5.0
"""More than a busy machine needs to repeat a create; a stale lock is older than two of these."""
CHANGES = {
    ("create with key", "document.allocate"),
    ("create with key", "POST service_template/action"),
    ("create with key", "document.update"),
    ("update", "vm.resize"),
    ("update", "document.update"),
    ("delete", "DELETE service"),
    ("delete", "document.delete"),
}


def killed(
    directory: Path,
    release: str,
    operations: list[str],
    runtime: str,
    only: Collection[str] | None = None,
    timeout_seconds: float = SANDBOX_TIMEOUT_SECONDS,
) -> list[Outcome]:
    """Outcomes of kills at the calls that change something, or at some of them; none of them may
    be wrong.
    """
    aim = Target(releases=(release,))
    outcomes = matrix(
        aim, operations, [runtime], "changes", directory, timeout_seconds=timeout_seconds, only=only
    )
    check(outcomes, table(outcomes))
    return outcomes


@pytest.mark.parametrize(
    ("release", "runtime"), [("7.4.0", "FAAS-DAAS"), ("6.8.0", "FAAS")], ids=str
)
def test_one_runtime_or_none_whenever_it_is_killed(
    tmp_path: Path, release: str, runtime: str
) -> None:
    outcomes = killed(tmp_path, release, ["create with key", "update", "delete"], runtime)
    assert {(o.case.operation, o.case.call) for o in outcomes if o.status is not None} >= CHANGES


def test_one_runtime_whenever_a_recovery_is_killed(tmp_path: Path) -> None:
    outcomes = killed(tmp_path, "7.4.0", ["recover", "replace"], "FAAS")
    assert {o.case.operation for o in outcomes if o.status is not None} == {"recover", "replace"}


def test_one_runtime_whenever_an_engine_is_killed_that_takes_or_orders_a_standby(
    tmp_path: Path,
) -> None:
    """At the calls after which another document owns the service."""
    writes = ("document.allocate", "document.update", "document.delete")
    operations = ["take standby", "order standby"]
    only = (*writes, INSTANTIATE)
    outcomes = killed(tmp_path, "7.4.0", operations, "FAAS", only, STANDBY_SECONDS)
    reached = {(o.case.operation, o.case.call) for o in outcomes if o.status is not None}
    assert reached == {
        *itertools.product(["take standby"], writes),
        *itertools.product(["order standby"], [*writes[:2], INSTANTIATE]),
    }


@contextlib.contextmanager
def lane_of(directory: Path, timeout_seconds: float) -> Iterator[Lane]:
    """With an engine that can be killed, and whose locks are soon broken then."""
    with open_lane("7.4.0", Target(), directory, timeout_seconds, is_process=True) as lane:
        lane.key = "one"
        yield lane


@pytest.fixture
def lane(tmp_path: Path) -> Iterator[Lane]:
    with lane_of(tmp_path, SANDBOX_TIMEOUT_SECONDS) as lane:
        yield lane


@contextlib.contextmanager
def dying_at(lane: Lane, name: str, moment: str) -> Iterator[None]:
    """The engine is killed at its first call of that name, and its client gets no response."""

    def on_call(made: Call, when: str) -> None:
        if (made.name, when) == (name, moment):
            engine_of(lane).kill()
            raise ConnectionAbortedError("the engine is dead")

    lane.proxy.on_call = on_call
    with pytest.raises((OSError, http.client.HTTPException)):
        yield
    lane.proxy.on_call, lane.is_unsure = None, True


@pytest.mark.parametrize(
    ("call", "left"), [("document.allocate", 0), (INSTANTIATE, 0), ("document.update", 1)]
)
def test_without_a_key_what_nobody_was_told_of_is_undone(lane: Lane, call: str, left: int) -> None:
    """Nobody knows its id, so a list is what finds it."""
    with dying_at(lane, call, "after"):
        create(lane)
    assert lane.opennebula.count()["runtimes"] == 1
    engine_of(lane).start()
    assert until_count(lane, lane.expected(left)) == ""
    assert len(lane.request("GET", RUNTIMES).json) == left


def test_a_repetition_takes_over_no_service_whose_vms_are_ending(lane: Lane) -> None:
    """The engine that died had begun to undo it; the service tells of that later than its VMs."""
    one, sandbox = lane.opennebula, lane.installation.sandbox
    assert sandbox is not None
    sandbox.timings = Timings(shutdown_seconds=60.0)
    with dying_at(lane, "document.update", "before"):
        create_with_key(lane)
    (former,) = one.vm_ids()
    wait_until(lambda: one.vm_state(former) == "RUNNING")
    one.call("vm.action", "terminate", former)
    engine_of(lane).start()
    created = until_accepted(lambda: create_with_key(lane), (201,))
    assert one.vm_state(created.runtime["FAAS"]["VM_ID"]) != "SHUTDOWN"


def test_a_service_that_appears_after_the_repetition_is_ended(tmp_path: Path) -> None:
    """oneflow had its start in the queue when the engine died, and another engine took over."""
    is_queued, may_start = threading.Event(), threading.Event()

    def on_call(made: Call, moment: str) -> None:
        if made.name == INSTANTIATE and moment == "before" and not is_queued.is_set():
            is_queued.set()
            engine_of(lane).kill()
            may_start.wait(60)

    with lane_of(tmp_path, REPETITION_SECONDS) as lane:
        other = EngineProcess(tmp_path / "other", engine_of(lane).settings)
        other.start()
        lane.proxy.on_call = on_call
        with contextlib.closing(other):
            try:
                with pytest.raises((OSError, http.client.HTTPException)):
                    create_with_key(lane)
                lane.port, lane.is_unsure = other.port, True
                response = until_accepted(lambda: create_with_key(lane), (201,))
            finally:
                may_start.set()
            one = lane.opennebula
            wait_until(lambda: one.count()["services"] == 2)
            assert until_count(lane, lane.expected(1)) == ""
            assert one.vm_state(response.runtime["FAAS"]["VM_ID"]) == "RUNNING"
