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
from typing import Any

import pytest

from provision_engine.sandbox import Sandbox, Timings
from tests.support.calls import Call
from tests.support.client import RUNTIMES, SPECIFICATIONS, Response
from tests.support.engine import EngineProcess, engine_process
from tests.support.installation import Target
from tests.support.opennebula import OpenNebula
from tests.support.proxy import Proxy
from tests.support.waiting import wait_until

from .crash_matrix import SANDBOX_TIMEOUT_SECONDS, Outcome, matrix, table
from .lanes import check, stale_seconds, until_accepted

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


@pytest.fixture
def proxy(sandbox: Sandbox) -> Iterator[Proxy]:
    with Proxy(sandbox) as proxy:
        yield proxy


def limits(timeout_seconds: float) -> dict[str, Any]:
    """Settings with which a dead engine's locks are soon broken."""
    return {
        "timeout": timeout_seconds,
        "lock": {"stale_seconds": stale_seconds(timeout_seconds)},
    }


def create(engine: EngineProcess, **headers: str) -> Response:
    return engine.request("POST", RUNTIMES, SPECIFICATIONS["FAAS"], headers=headers)


@contextlib.contextmanager
def dying_at(proxy: Proxy, engine: EngineProcess, name: str, moment: str) -> Iterator[None]:
    """The engine is killed at its first call of that name, and its client gets no response."""

    def on_call(made: Call, when: str) -> None:
        if (made.name, when) == (name, moment):
            engine.kill()
            raise ConnectionAbortedError("the engine is dead")

    proxy.on_call = on_call
    with pytest.raises((OSError, http.client.HTTPException)):
        yield
    proxy.on_call = None


def is_all(one: OpenNebula, engine: EngineProcess, runtimes: int) -> bool:
    """Whether a list shows so many runtimes, and nothing else is there."""
    expected = dict.fromkeys(("runtimes", "services", "VMs"), runtimes) | {"locks": 0}
    return len(engine.request("GET", RUNTIMES).json) == runtimes and one.count() == expected


@pytest.mark.parametrize(
    ("call", "left"), [("document.allocate", 0), (INSTANTIATE, 0), ("document.update", 1)]
)
def test_without_a_key_what_nobody_was_told_of_is_undone(
    proxy: Proxy, one: OpenNebula, tmp_path: Path, call: str, left: int
) -> None:
    """Nobody knows its id, so a list is what finds it."""
    with engine_process(tmp_path, proxy, **limits(SANDBOX_TIMEOUT_SECONDS)) as engine:
        with dying_at(proxy, engine, call, "after"):
            create(engine)
        assert one.count()["runtimes"] == 1
        engine.start()
        wait_until(lambda: is_all(one, engine, left))


def test_a_repetition_takes_over_no_service_whose_vms_are_ending(
    sandbox: Sandbox, proxy: Proxy, one: OpenNebula, tmp_path: Path
) -> None:
    """The engine that died had begun to undo it; the service tells of that later than its VMs."""
    sandbox.timings = Timings(shutdown_seconds=60.0)
    key = {"Idempotency-Key": "one"}
    with engine_process(tmp_path, proxy) as engine:
        with dying_at(proxy, engine, "document.update", "before"):
            create(engine, **key)
        (former,) = one.vm_ids()
        wait_until(lambda: one.vm_state(former) == "RUNNING")
        one.call("vm.action", "terminate", former)
        engine.start()
        created = create(engine, **key)
        assert created.status == 201
        assert one.vm_state(created.runtime["FAAS"]["VM_ID"]) != "SHUTDOWN"


def test_a_service_that_appears_after_the_repetition_is_ended(
    proxy: Proxy, one: OpenNebula, tmp_path: Path
) -> None:
    """oneflow had its start in the queue when the engine died, and another engine took over."""
    is_queued, may_start = threading.Event(), threading.Event()
    key = {"Idempotency-Key": "one"}

    def on_call(made: Call, moment: str) -> None:
        if made.name == INSTANTIATE and moment == "before" and not is_queued.is_set():
            is_queued.set()
            dying.kill()
            may_start.wait(60)

    with (
        engine_process(tmp_path / "dying", proxy, **limits(REPETITION_SECONDS)) as dying,
        engine_process(tmp_path / "other", proxy, **limits(REPETITION_SECONDS)) as other,
    ):
        proxy.on_call = on_call
        try:
            with pytest.raises((OSError, http.client.HTTPException)):
                create(dying, **key)
            response = until_accepted(lambda: create(other, **key), (201,))
        finally:
            may_start.set()
        wait_until(lambda: one.count()["services"] == 2)
        wait_until(lambda: is_all(one, other, 1))
        assert one.vm_state(response.runtime["FAAS"]["VM_ID"]) == "RUNNING"
