"""Delays: counts and ratios only."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from provision_engine.sandbox import Sandbox
from provision_engine.sandbox.latency import MEASURED_MILLISECONDS, Latency
from provision_engine.sandbox.oned import METHODS

from .client import Caller


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


def test_unknown_calls_have_a_delay_too() -> None:
    latency = Latency("measured")
    assert 0 < latency.seconds("oned", "one.no.such") < latency.seconds("oneflow", "GET /no")


def test_reading_through_oneflow_is_far_slower() -> None:
    flow, one = MEASURED_MILLISECONDS["GET /service/N"], MEASURED_MILLISECONDS["one.document.info"]
    assert flow / one > 100


def test_the_table_names_methods_there_are() -> None:
    named = {name for name in MEASURED_MILLISECONDS if name.startswith("one.")}
    assert named <= set(METHODS)


def test_a_sandbox_takes_its_time() -> None:
    """The quickest of some calls each, so that a busy machine does not matter."""
    with Sandbox(latency="measured") as slow, Sandbox() as quick:
        took = [_quickest(sandbox) for sandbox in (slow, quick)]
    assert took[0] > 3 * took[1]
    assert took[0] >= MEASURED_MILLISECONDS["GET /service_template"] / 1000


def _quickest(sandbox: Sandbox) -> float:
    caller, seconds = Caller(sandbox), []
    for _ in range(4):
        start = time.monotonic()
        assert caller.flow("GET", "/service_template")[0] == 200
        seconds.append(time.monotonic() - start)
    return min(seconds)


def test_an_unknown_profile() -> None:
    with pytest.raises(ValueError, match="imagined"):
        Sandbox(latency="imagined")


def test_a_busy_oned_keeps_others_waiting() -> None:
    """One client gets 436 pairs a second from the measured one, and eight get but 640."""
    latency, clients, calls = Latency("measured", factor=10), 8, 6

    def work() -> None:
        for _ in range(calls):
            latency.pass_time("oned", "one.vm.info")

    alone_seconds = _seconds(work)
    threads = [threading.Thread(target=work) for _ in range(clients)]
    together_seconds = _seconds(lambda: _run(threads))
    assert together_seconds > 2.5 * alone_seconds  # 5.45 in theory; 1 where nobody waits


def _run(threads: list[threading.Thread]) -> None:
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _seconds(work: Callable[[], None]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
