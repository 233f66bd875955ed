"""The delays of calls. `time.sleep` is replaced, so that no test depends on real time."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from provision_engine.sandbox import Sandbox
from provision_engine.sandbox.latency import (
    MEASURED_MILLISECONDS,
    REQUEST_MILLISECONDS,
    SATURATION,
    Latency,
)
from provision_engine.sandbox.oned import METHODS

from .client import DEADLINE_SECONDS, Caller

SLEEP = "provision_engine.sandbox.latency.time.sleep"


def test_off_by_default() -> None:
    assert Latency().seconds("oneflow", "POST /service_template/0/action") == 0


@pytest.mark.parametrize(
    ("backend", "line", "key"),
    [
        ("oned", "one.vm.info", "one.vm.info"),
        ("oneflow", "GET /service/12", "GET /service/N"),
        ("oneflow", "GET /service?x=1", "GET /service"),
        ("oneflow", "POST /service_template/7/action", "POST /service_template/N/action"),
    ],
)
def test_measured(backend: str, line: str, key: str) -> None:
    seconds = Latency("measured").seconds(backend, line)
    assert seconds == MEASURED_MILLISECONDS[key] / 1000
    assert Latency("measured", factor=2).seconds(backend, line) == 2 * seconds


def test_calls_that_were_not_measured_are_delayed_too() -> None:
    latency = Latency("measured")
    assert 0 < latency.seconds("oned", "one.no.such") < latency.seconds("oneflow", "GET /no")


def test_reading_through_oneflow_is_far_slower() -> None:
    flow, one = MEASURED_MILLISECONDS["GET /service/N"], MEASURED_MILLISECONDS["one.document.info"]
    assert flow / one > 100


def test_the_table_contains_only_existing_methods() -> None:
    named = {name for name in MEASURED_MILLISECONDS if name.startswith("one.")}
    assert named <= set(METHODS)


@pytest.mark.parametrize(
    ("profile", "delay_seconds"),
    [(None, 0), ("measured", MEASURED_MILLISECONDS["GET /service_template"] / 1000)],
)
def test_a_sandbox_delays_each_call(
    profile: str | None, delay_seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []
    monkeypatch.setattr(SLEEP, slept.append)
    with Sandbox(latency=profile) as sandbox:
        assert Caller(sandbox).flow("GET", "/service_template")[0] == 200
    assert sum(slept) == pytest.approx(delay_seconds)


def test_a_multicall_pays_for_its_request_once(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr(SLEEP, slept.append)
    with Sandbox(latency="measured") as sandbox:
        Caller(sandbox).multicall(("document.info", 6, False), ("vmpool.infoset", "1", True))
    both = [MEASURED_MILLISECONDS[f"one.{name}"] for name in ("document.info", "vmpool.infoset")]
    assert sum(slept) == pytest.approx((sum(both) - REQUEST_MILLISECONDS) / 1000)


def test_an_unknown_profile_is_rejected() -> None:
    with pytest.raises(ValueError, match="imagined"):
        Sandbox(latency="imagined")


def test_a_busy_oned_executes_part_of_each_call_exclusively(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Eight clients together overlap in the other part of a call, but never in this one."""
    clients, latency = 8, Latency("measured")
    seconds = latency.seconds("oned", "one.vm.info")
    exclusive_seconds = seconds * SATURATION["oned"]
    exclusive, all_overlap = threading.Lock(), threading.Barrier(clients)
    collisions: list[float] = []

    def sleep(slept_seconds: float) -> None:
        if slept_seconds == exclusive_seconds:
            if not exclusive.acquire(blocking=False):
                collisions.append(slept_seconds)
                return
            threading.Event().wait(0.001)  # lets the other threads run
            exclusive.release()
        else:
            all_overlap.wait(DEADLINE_SECONDS)

    monkeypatch.setattr(SLEEP, sleep)
    with ThreadPoolExecutor(clients) as pool:
        calls = [pool.submit(latency.pass_time, "oned", "one.vm.info") for _ in range(clients)]
    for call in calls:
        call.result()
    assert collisions == []
