"""Killed at any call that changes something, the engine leaves one runtime or none."""

from __future__ import annotations

import http.client
from collections.abc import Iterator
from pathlib import Path

import pytest

from provision_engine.sandbox import CallRecord, Sandbox
from tests.reliability.crash_matrix import (
    OPERATIONS,
    STALE_SECONDS,
    TIMEOUT_SECONDS,
    matrix,
    name_of,
    table,
)
from tests.support.client import RUNTIMES, SPECIFICATIONS
from tests.support.engine import EngineProcess, settings_for
from tests.support.waiting import wait_until


def test_one_runtime_or_none_whenever_it_is_killed(tmp_path: Path) -> None:
    """Everything: python tests/reliability/crash_matrix.py."""
    outcomes = matrix(["7.4.0"], list(OPERATIONS), ["FAAS-DAAS"], True, tmp_path)
    outcomes += matrix(["6.8.0"], ["create", "delete"], ["FAAS"], True, tmp_path)
    shown = table(outcomes)
    print(shown)
    assert not [outcome for outcome in outcomes if outcome.wrong], shown
    struck = {(o.case.operation, o.case.call) for o in outcomes if o.status is not None}
    assert struck >= {
        ("create", "document.allocate"),
        ("create", "POST service_template/action"),
        ("create", "document.update"),
        ("update", "vm.resize"),
        ("update", "document.update"),
        ("delete", "DELETE service"),
        ("delete", "document.delete"),
        ("recover", "POST service/action"),
    }, shown


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
    """Nobody can ask for it by its id, so a list is what meets it."""
    settings = settings_for(sandbox, timeout=TIMEOUT_SECONDS, lock={"stale_seconds": STALE_SECONDS})
    engine = EngineProcess(tmp_path / "engine", settings)
    engine.start()

    def on_call(record: CallRecord, moment: str) -> None:
        if moment == "after" and name_of(record) == call:
            engine.kill()

    sandbox.on_call = on_call
    try:
        with pytest.raises((OSError, http.client.HTTPException)):
            engine.request("POST", RUNTIMES, SPECIFICATIONS["FAAS"])
        sandbox.on_call = None
        assert sandbox.store.count()["runtimes"] == 1
        engine.start()

        def is_settled() -> bool:
            listed = engine.request("GET", RUNTIMES).json
            wanted = {"runtimes": left, "services": left, "vms": left}
            return len(listed) == left and sandbox.store.count() == wanted

        wait_until(is_settled)
    finally:
        engine.kill()
