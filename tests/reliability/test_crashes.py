"""Killed at any call that changes something, the engine leaves one runtime or none.

Everything, also on a real OpenNebula: python tests/reliability/crash_matrix.py
"""

from __future__ import annotations

import http.client
import itertools
import threading
from collections.abc import Collection, Iterator
from pathlib import Path

import pytest

from provision_engine.sandbox import Sandbox, Timings
from tests.support.calls import Call
from tests.support.client import RUNTIMES, SPECIFICATIONS, Response
from tests.support.engine import EngineProcess, settings_for
from tests.support.installation import Target
from tests.support.opennebula import OpenNebula
from tests.support.proxy import Proxy
from tests.support.users import USER
from tests.support.waiting import wait_until

from .crash_matrix import SANDBOX_TIMEOUT_SECONDS, Outcome, matrix, stale_seconds, table
from .lanes import until_accepted

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
    shown = table(outcomes)
    print(shown)
    assert not [outcome for outcome in outcomes if outcome.wrong], shown
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


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox() as sandbox:
        yield sandbox


@pytest.mark.parametrize(
    ("call", "left"),
    [("document.allocate", 0), ("POST service_template/action", 0), ("document.update", 1)],
)
def test_without_a_key_what_nobody_was_told_of_is_undone(
    sandbox: Sandbox, tmp_path: Path, call: str, left: int
) -> None:
    """Nobody knows its id, so a list is what finds it."""
    opennebula = OpenNebula(sandbox.oned_url, sandbox.oneflow_url, USER)
    stale = stale_seconds(SANDBOX_TIMEOUT_SECONDS)
    with Proxy(sandbox) as proxy:
        settings = settings_for(
            proxy, timeout=SANDBOX_TIMEOUT_SECONDS, lock={"stale_seconds": stale}
        )
        engine = EngineProcess(tmp_path / "engine", settings)
        engine.start()

        def on_call(made: Call, moment: str) -> None:
            if moment == "after" and made.name == call:
                engine.kill()

        proxy.on_call = on_call
        try:
            with pytest.raises((OSError, http.client.HTTPException)):
                engine.request("POST", RUNTIMES, SPECIFICATIONS["FAAS"])
            proxy.on_call = None
            assert opennebula.count()["runtimes"] == 1
            engine.start()

            def is_resolved() -> bool:
                listed = engine.request("GET", RUNTIMES).json
                expected = {"runtimes": left, "services": left, "VMs": left, "locks": 0}
                return len(listed) == left and opennebula.count() == expected

            wait_until(is_resolved)
        finally:
            engine.kill()


def test_a_repetition_takes_over_no_service_whose_vms_are_ending(tmp_path: Path) -> None:
    """The engine that died had begun to undo it; the service tells of that later than its VMs."""
    with Sandbox(timings=Timings(shutdown_seconds=60.0)) as sandbox, Proxy(sandbox) as proxy:
        opennebula = OpenNebula(sandbox.oned_url, sandbox.oneflow_url, USER)
        engine = EngineProcess(tmp_path / "engine", settings_for(proxy))
        engine.start()

        def create() -> Response:
            key = {"Idempotency-Key": "one"}
            return engine.request("POST", RUNTIMES, SPECIFICATIONS["FAAS"], headers=key)

        def on_call(made: Call, moment: str) -> None:
            if moment == "before" and made.name == "document.update":
                engine.kill()
                raise ConnectionAbortedError("the engine is dead")

        proxy.on_call = on_call
        try:
            with pytest.raises((OSError, http.client.HTTPException)):
                create()
            proxy.on_call = None
            (former,) = opennebula.vm_ids()
            wait_until(lambda: opennebula.vm_state(former) == "RUNNING")
            opennebula.call("vm.action", "terminate", former)
            engine.start()
            created = create()
            assert created.status == 201
            assert opennebula.vm_state(created.runtime["FAAS"]["VM_ID"]) != "SHUTDOWN"
        finally:
            engine.kill()


def test_a_service_that_appears_after_the_repetition_is_ended(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    """oneflow had its start in the queue when the engine died, and another engine took over."""
    opennebula = OpenNebula(sandbox.oned_url, sandbox.oneflow_url, USER)
    is_queued, may_start = threading.Event(), threading.Event()

    def on_call(made: Call, moment: str) -> None:
        if made.name == INSTANTIATE and moment == "before" and not is_queued.is_set():
            is_queued.set()
            dying.kill()
            may_start.wait(60)

    with Proxy(sandbox) as proxy:
        lock = {"stale_seconds": stale_seconds(REPETITION_SECONDS)}
        settings = settings_for(proxy, timeout=REPETITION_SECONDS, lock=lock)
        dying, other = (EngineProcess(tmp_path / name, settings) for name in ("dying", "other"))

        def create(engine: EngineProcess) -> Response:
            key = {"Idempotency-Key": "one"}
            return engine.request("POST", RUNTIMES, SPECIFICATIONS["FAAS"], headers=key)

        proxy.on_call = on_call
        try:
            dying.start()
            other.start()
            with pytest.raises((OSError, http.client.HTTPException)):
                create(dying)
            response = until_accepted(lambda: create(other), (201,))
            may_start.set()
            wait_until(lambda: opennebula.count()["services"] == 2)

            def only_one_is_left() -> bool:
                listed = other.request("GET", RUNTIMES).json
                one = {"runtimes": 1, "services": 1, "VMs": 1, "locks": 0}
                return len(listed) == 1 and opennebula.count() == one

            wait_until(only_one_is_left)
            vm_id = response.runtime["FAAS"]["VM_ID"]
            assert opennebula.vm_state(vm_id) == "RUNNING"
        finally:
            may_start.set()
            dying.kill()
            other.kill()
