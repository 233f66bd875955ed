"""Health and metrics of a real engine with several processes."""

from __future__ import annotations

import itertools
import os
import re
import signal
import threading
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from provision_engine.sandbox import Sandbox
from tests.support.client import RUNTIMES
from tests.support.engine import EngineProcess
from tests.support.waiting import wait_until

NATURE = {"NAME": "secret-name", "FAAS": {"FLAVOUR": "nature"}}
PREFIX = "provision_engine_"


def samples(engine: EngineProcess, name: str, **labels: str) -> float:
    """The sum of all samples of this name that have these labels."""
    response = engine.request("GET", "/metrics")
    assert response.status == 200
    return sum(
        sample.value
        for family in text_string_to_metric_families(response.text)
        for sample in family.samples
        if sample.name == PREFIX + name and labels.items() <= sample.labels.items()
    )


def made(engine: EngineProcess) -> int:
    response = engine.request("POST", f"{RUNTIMES}?wait=5", NATURE)
    assert response.status == 201
    return int(response.runtime["ID"])


def test_all_processes_are_counted_together(engine: EngineProcess) -> None:
    wait_until(lambda: len(engine.workers()) == 2)
    for _ in range(40):
        assert engine.request("GET", "/server/version").status == 200
    seen = {"method": "GET", "route": "/server/version"}
    assert samples(engine, "http_requests_total", status="200", **seen) == 40
    assert samples(engine, "http_request_duration_seconds_count", **seen) == 40


def test_what_happens_to_runtimes_is_counted(engine: EngineProcess, sandbox: Sandbox) -> None:
    number = made(engine)
    assert engine.request("GET", f"{RUNTIMES}/{number}").status == 200
    assert engine.request("DELETE", f"{RUNTIMES}/{number}").status == 204
    failing = {"FAAS": {"FLAVOUR": "FAILED_DEPLOY"}}
    assert engine.request("POST", RUNTIMES, failing).status == 500
    assert engine.request("POST", RUNTIMES, b"[]").status == 400
    for name in ("created", "failed", "deleted"):
        assert samples(engine, f"runtimes_{name}_total") == 1
    one = f"{RUNTIMES}/<runtime_id>"
    assert samples(engine, "http_requests_total", route=one, status="200") == 1
    waited = {"route": RUNTIMES, "waited": "yes"}
    assert samples(engine, "http_request_duration_seconds_count", **waited) == 1
    instantiated = {"backend": "oneflow", "call": "instantiate_service", "outcome": "ok"}
    assert samples(engine, "backend_calls_total", **instantiated) == 1
    assert samples(engine, "cache_lookups_total", result="miss") >= 2


def test_no_label_contains_user_input(engine: EngineProcess) -> None:
    number = made(engine)
    engine.request("GET", f"{RUNTIMES}/{number}?name=secret-filter")
    engine.request("GET", "/secret-path")
    engine.request("BREW", "/secret-method")
    text = engine.request("GET", "/metrics").text
    assert "secret" not in text
    assert "BREW" not in text
    assert 'route="none",status="404"' in text
    assert not re.search(rf"\b{number}\b", re.sub(r"(?m) \S+$", "", text))


def test_names_follow_the_conventions(engine: EngineProcess) -> None:
    made(engine)
    text = engine.request("GET", "/metrics").text
    families = [f for f in text_string_to_metric_families(text) if f.name.startswith(PREFIX)]
    assert len(families) >= 10
    for family in families:
        assert family.documentation
        assert re.fullmatch(r"[a-z_]+", family.name)
        names = {sample.name for sample in family.samples}
        if family.type == "counter":
            assert names == {f"{family.name}_total"}
        if family.type == "histogram":
            assert family.name.endswith("_seconds")


def test_in_flight_and_waiting_requests_are_gauges(engine: EngineProcess, sandbox: Sandbox) -> None:
    sandbox.faults.drivers.set("boot", slow_seconds=60)
    number = engine.request("POST", RUNTIMES, NATURE).runtime["ID"]
    waiter = threading.Thread(target=engine.request, args=("GET", f"{RUNTIMES}/{number}?wait=60"))
    waiter.start()
    wait_until(lambda: samples(engine, "http_requests_waiting") == 1)
    assert samples(engine, "http_requests_in_flight") == 2  # the waiting one, and /metrics
    assert engine.request("DELETE", f"{RUNTIMES}/{number}").status == 204
    waiter.join(60)
    wait_until(lambda: samples(engine, "http_requests_waiting") == 0)
    assert samples(engine, "http_requests_in_flight") == 1


def test_a_worker_that_is_killed_leaves_no_request_in_flight(engine: EngineProcess) -> None:
    made(engine)
    counted = samples(engine, "runtimes_created_total")
    for worker in engine.workers():
        os.kill(worker, signal.SIGKILL)
    wait_until(engine.answers)
    wait_until(lambda: samples(engine, "http_requests_in_flight") == 1)
    assert samples(engine, "runtimes_created_total") == counted == 1


def test_a_new_engine_starts_its_counters_at_zero(engine: EngineProcess) -> None:
    made(engine)
    engine.stop()
    assert list(Path(engine.pid_file.with_suffix(".metrics")).iterdir())
    engine.start()
    assert samples(engine, "runtimes_created_total") == 0


def test_a_gauge_shows_whether_each_backend_responds(
    engine: EngineProcess, sandbox: Sandbox
) -> None:
    """Without any request but the scrape itself."""
    for backend, other in itertools.permutations(("oned", "oneflow")):
        wait_until(lambda: samples(engine, "backend_up", backend=backend) == 1)  # noqa: B023
        sandbox.faults.set(backend, "refuse")
        wait_until(lambda: samples(engine, "backend_up", backend=backend) == 0)  # noqa: B023
        assert samples(engine, "backend_up", backend=other) == 1
        sandbox.faults.clear()


def test_readiness_names_the_backend_that_fails(engine: EngineProcess, sandbox: Sandbox) -> None:
    faults = itertools.product(("oned", "oneflow"), ("refuse", "garbage", "error", "hang"))
    for backend, fault in faults:
        sandbox.faults.set(backend, fault)
        # Each worker has looked for itself some time before.
        reasons = wait_until(lambda: [*(r := unready(engine))] == [backend] and r)  # noqa: B023
        assert not reasons[backend].startswith(f"{backend}:")
        assert engine.request("GET", "/healthz").status == 200
        sandbox.faults.clear()
        wait_until(lambda: not unready(engine))


def unready(engine: EngineProcess) -> dict[str, str]:
    """Why the backends are not ready."""
    response = engine.request("GET", "/readyz")
    return dict(response.json["message"]) if response.status == 503 else {}


def test_readiness_probes_the_backends_at_most_once_per_second(
    engine: EngineProcess, sandbox: Sandbox
) -> None:
    sandbox.clear_calls()
    answers = [engine.request("GET", "/readyz").status for _ in range(100)]
    assert set(answers) == {200}
    asked = len([call for call in sandbox.calls if call.backend == "oned"])
    # Each of the two workers probes for itself, and 100 requests take a few seconds at most.
    assert 1 <= asked <= 20
