"""The clocks of the engine's and of OpenNebula's host differ by minutes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from lxml import etree

from provision_engine.sandbox import Sandbox
from provision_engine.sandbox.clock import Clock
from tests.contract.device import Device, small
from tests.support.engine import engine_in_process, settings_for
from tests.support.opennebula import OpenNebula
from tests.support.users import USER

APART_SECONDS = 300


class Shifted(Clock):
    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def now(self) -> float:
        return time.time() + self._seconds


@pytest.fixture(params=[-APART_SECONDS, APART_SECONDS], ids=["engine ahead", "engine behind"])
def sandbox(request: pytest.FixtureRequest) -> Iterator[Sandbox]:
    with Sandbox(clock=Shifted(request.param)) as sandbox:
        yield sandbox


@pytest.fixture
def device(sandbox: Sandbox) -> Iterator[Device]:
    with engine_in_process(settings_for(sandbox)) as url:
        yield Device(url, USER)


def user(sandbox: Sandbox) -> OpenNebula:
    return OpenNebula(sandbox.oned_url, sandbox.oneflow_url, USER)


def test_a_lease_ends_when_opennebula_says(device: Device, sandbox: Sandbox) -> None:
    runtime = device.create_running(FAAS=small(), LEASE={"TTL": 60})
    assert device.read(runtime["ID"])["ID"] == runtime["ID"]
    renewed = device.update(runtime["ID"], LEASE={"TTL": 3600})
    assert device.read(runtime["ID"])["LEASE"] == renewed["LEASE"]
    vm = etree.fromstring(user(sandbox).call("vm.info", runtime["FAAS"]["VM_ID"], False).encode())
    ends_at = int(vm.findtext("TEMPLATE/SCHED_ACTION/TIME") or 0)
    assert datetime.fromtimestamp(ends_at, UTC) == datetime.fromisoformat(
        renewed["LEASE"]["EXPIRES"]
    )
    assert 3500 < ends_at - int(vm.findtext("STIME") or 0) <= 3660


def test_a_lock_that_was_just_taken_is_respected(device: Device, sandbox: Sandbox) -> None:
    runtime = device.create_running()
    user(sandbox).call("document.lock", runtime["ID"], 3, True)
    assert device.put(runtime["ID"], NAME="new").status_code == 423
    user(sandbox).call("document.unlock", runtime["ID"])
    assert device.put(runtime["ID"], NAME="new").status_code == 200
