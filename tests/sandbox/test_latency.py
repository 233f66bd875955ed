"""The delays of calls. `time.sleep` is replaced, so that no test depends on real time."""

from __future__ import annotations

import pytest

from provision_engine.sandbox import Sandbox
from provision_engine.sandbox.latency import (
    MEASURED_MILLISECONDS,
    REQUEST_MILLISECONDS,
    Latency,
)
from provision_engine.sandbox.oned import METHODS
from tests.support.opennebula import OpenNebula
from tests.support.users import USER

SLEEP = "provision_engine.sandbox.latency.time.sleep"


@pytest.mark.parametrize(
    ("backend", "line", "key"),
    [
        ("oned", "one.vm.info", "one.vm.info"),
        ("oneflow", "GET /service?x=1", "GET /service"),
        ("oneflow", "POST /service_template/7/action", "POST /service_template/N/action"),
    ],
)
def test_a_call_takes_as_long_as_measured(backend: str, line: str, key: str) -> None:
    seconds = MEASURED_MILLISECONDS[key] / 1000
    assert Latency("measured").seconds(backend, line) == seconds
    assert Latency("measured", factor=2).seconds(backend, line) == 2 * seconds
    assert Latency("measured").seconds(backend, line, follows=True) == pytest.approx(
        seconds - REQUEST_MILLISECONDS / 1000
    )
    assert Latency().seconds(backend, line) == 0


def test_calls_that_were_not_measured_are_delayed_too() -> None:
    latency = Latency("measured")
    assert 0 < latency.seconds("oned", "one.no.such") < latency.seconds("oneflow", "GET /no")
    named = {name for name in MEASURED_MILLISECONDS if name.startswith("one.")}
    assert named <= set(METHODS)


@pytest.mark.parametrize("profile", [None, "measured"])
def test_a_sandbox_delays_each_call(profile: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr(SLEEP, slept.append)
    with Sandbox(latency=profile) as sandbox:
        one = OpenNebula(sandbox.oned_url, sandbox.oneflow_url, USER)
        assert one.flow("GET", "/service_template").status_code == 200
        one.version()
    expected = [
        MEASURED_MILLISECONDS[key] for key in ("GET /service_template", "one.system.version")
    ]
    assert sum(slept) == pytest.approx(sum(expected) / 1000 if profile else 0)
