"""The clocks of the engine's and of OpenNebula's host differ by minutes."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from provision_engine.sandbox import Sandbox
from tests.support.client import FAAS, Device
from tests.support.engine import engine_in_process, settings_for
from tests.support.installation import MovableClock
from tests.support.opennebula import OpenNebula
from tests.support.users import USER

APART_SECONDS = 300


@pytest.fixture(params=[-APART_SECONDS, APART_SECONDS], ids=["engine ahead", "engine behind"])
def sandbox(request: pytest.FixtureRequest) -> Iterator[Sandbox]:
    with Sandbox(clock=MovableClock(request.param)) as sandbox:
        yield sandbox


@pytest.fixture
def device(sandbox: Sandbox) -> Iterator[Device]:
    with engine_in_process(settings_for(sandbox)) as url:
        yield Device(url, USER)


def test_a_lease_ends_when_opennebula_says(device: Device, one: OpenNebula) -> None:
    runtime = device.create_running(FAAS=FAAS, LEASE={"TTL": 60})
    assert device.read(runtime["ID"])["ID"] == runtime["ID"]
    renewed = device.update(runtime["ID"], LEASE={"TTL": 3600})
    assert device.read(runtime["ID"])["LEASE"] == renewed["LEASE"]
    vm = one.vm(runtime["FAAS"]["VM_ID"])
    ends_at = int(vm["TEMPLATE"]["SCHED_ACTION"]["TIME"])
    assert datetime.fromtimestamp(ends_at, UTC) == datetime.fromisoformat(
        renewed["LEASE"]["EXPIRES"]
    )
    assert 3500 < ends_at - int(vm["STIME"]) <= 3660


def test_a_lock_that_was_just_taken_is_respected(device: Device, one: OpenNebula) -> None:
    runtime = device.create_running(FAAS=FAAS)
    one.call("document.lock", runtime["ID"], 3, True)
    assert device.put(runtime["ID"], NAME="new").status == 423
    one.call("document.unlock", runtime["ID"])
    assert device.put(runtime["ID"], NAME="new").status == 200
