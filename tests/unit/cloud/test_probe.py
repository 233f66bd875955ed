"""Whether the backends answer: seldom looked at, and nobody waits for somebody else's look."""

from __future__ import annotations

import threading
import time

import pytest
from prometheus_client import REGISTRY

from provision_engine.cloud import probe as module
from provision_engine.cloud.client import Backends
from provision_engine.cloud.probe import Probe
from tests.support.engine import configuration
from tests.support.waiting import wait_until

from ..support import xmlrpc_answer
from .conftest import HANG, Wire

TIMEOUT_SECONDS = 2
AUTHENTICATION = 0x0100


class Clock:
    now = 1000.0

    def monotonic(self) -> float:
        return self.now


def probe_of(wire: Wire) -> Probe:
    """Both backends are this wire."""
    urls = {"one_xmlrpc": f"{wire.url}/RPC2", "oneflow_server": wire.url}
    return Probe(Backends(configuration(urls | {"timeout": TIMEOUT_SECONDS})))


def gauge() -> dict[str, float | None]:
    name = "provision_engine_backend_up"
    return {b: REGISTRY.get_sample_value(name, {"backend": b}) for b in ("oned", "oneflow")}


def test_backends_that_refuse_a_stranger_are_ready(wire: Wire) -> None:
    wire.answer(xmlrpc_answer(False, "who?", AUTHENTICATION), to=b"methodCall")
    wire.answer("", 401)
    assert probe_of(wire).reasons() == {}
    assert len(wire.calls) == 2


def test_one_probe_serves_all_who_ask_within_a_second(
    wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    wire.answer("", 401)
    probe = probe_of(wire)
    for seconds, calls in ((0.0, 2), (0.9, 2), (0.2, 4), (0.9, 4)):
        clock.now += seconds
        for _ in range(20):
            probe.reasons()
        assert len(wire.calls) == calls


def test_a_request_never_waits_for_the_probe_of_another_one(wire: Wire) -> None:
    """Nobody knows the result yet, and the gauge stays as it is; afterwards it is known."""
    wire.fail(HANG)
    probe = probe_of(wire)
    before = gauge()
    first = threading.Thread(target=probe.reasons)
    first.start()
    wait_until(lambda: wire.calls)
    told = [probe.reasons() for _ in range(50)]
    assert first.is_alive()
    assert all(list(reasons) == ["oned", "oneflow"] for reasons in told)
    assert gauge() == before
    assert len(wire.calls) == 1
    first.join()
    assert all("in time" in reason for reason in probe.reasons().values())
    assert gauge() == {"oned": 0, "oneflow": 0}


def test_both_probes_together_fit_in_the_timeout(wire: Wire) -> None:
    wire.fail(HANG)
    probe, began_at = probe_of(wire), time.monotonic()
    assert list(probe.reasons()) == ["oned", "oneflow"]
    assert (time.monotonic() - began_at) / TIMEOUT_SECONDS < 1.5


def test_a_backend_that_hangs_takes_none_of_the_time_of_the_other_one(wire: Wire) -> None:
    wire.fail(HANG, to=b"methodCall")
    wire.answer("", 401)
    assert list(probe_of(wire).reasons()) == ["oned"]
