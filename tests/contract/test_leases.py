"""LEASE: OpenNebula itself ends a runtime on time."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest

from tests.support.client import ROLES
from tests.support.opennebula import OpenNebula
from tests.support.waiting import wait_until

from .device import Device, Json, data, ids, small
from .settings import PATIENCE

CLOCK_SECONDS = 30
"""The maximum difference between the clocks of OpenNebula and of this machine."""


def actions(opennebula: OpenNebula, vm_id: int) -> list[Json]:
    """What OpenNebula is going to do to a VM."""
    found: Any = opennebula.vm(vm_id)["TEMPLATE"].get("SCHED_ACTION", [])
    return found if isinstance(found, list) else [found]


def unix(expires: str) -> int:
    assert expires.endswith("Z")
    return int(datetime.fromisoformat(expires).timestamp())


def short_lease() -> Json:
    return {"TTL": PATIENCE.short_lease_seconds}


def outlast(device: Device, runtime: Json) -> None:
    """Wait until a short lease has ended the VMs of a runtime."""
    device.pass_time(PATIENCE.short_lease_seconds)
    vm_ids = [runtime[role]["VM_ID"] for role in ROLES if role in runtime]
    wait_until(lambda: device.one.vm_states(vm_ids) == {"DONE"})


def assert_ends(runtime: Json, asked: float, seconds: int) -> None:
    """It ends so many seconds after it was asked for, before now."""
    assert runtime["LEASE"]["TTL"] == seconds
    begun = unix(runtime["LEASE"]["EXPIRES"]) - seconds
    assert asked - CLOCK_SECONDS <= begun <= time.time() + CLOCK_SECONDS


def test_it_is_shown_with_the_end_that_opennebula_stores(device: Device) -> None:
    asked = time.time()
    born = device.create(FAAS=small(), DAAS=data(), LEASE={"TTL": 1000})
    assert_ends(born, asked, 1000)
    read = device.read_until(born["ID"], "RUNNING")
    ends = []
    for role in ROLES:
        (action,) = actions(device.one, read[role]["VM_ID"])
        assert action["ACTION"] == "terminate-hard"
        ends.append(int(action["TIME"]))
    assert unix(read["LEASE"]["EXPIRES"]) == min(ends)


def test_a_runtime_without_a_lease_has_none(device: Device) -> None:
    runtime = device.create_running()
    assert "LEASE" not in runtime
    assert actions(device.one, runtime["FAAS"]["VM_ID"]) == []


@pytest.mark.parametrize("lease", [{}, {"TTL": 0}, {"TTL": -1}, {"TTL": "60"}, {"TTL": 2**31}, 60])
def test_an_invalid_lease_is_rejected(device: Device, lease: Any) -> None:
    answer = device.post(FAAS=small(), LEASE=lease)
    assert answer.status == 400
    assert "LEASE" in answer.json["message"]


def test_opennebula_ends_it_without_any_engine_and_then_it_is_gone(device: Device) -> None:
    before = device.one.holdings()
    with device.another_engine() as other:
        runtime = other.create(FAAS=small(), DAAS=data(), LEASE=short_lease())
    # The session's engine is the only one now, and it gets no requests.
    outlast(device, runtime)
    wait_until(lambda: device.one.holdings()["services"] == before["services"])
    assert device.one.holdings()["VMs"] == before["VMs"]
    assert runtime["ID"] in device.one.holdings()["runtimes"]
    assert device.get(runtime["ID"]).status == 404
    assert device.one.holdings() == before
    assert device.get(runtime["ID"]).status == 404


def ended(device: Device) -> Json:
    """A runtime that OpenNebula has ended and that no request has read since."""
    runtime = device.create(FAAS=small(), LEASE=short_lease())
    outlast(device, runtime)
    return runtime


def test_a_list_does_not_show_it_any_more_and_removes_it(device: Device) -> None:
    stays = device.create()
    gone = ended(device)
    assert ids(device.list()) == [stays["ID"]]
    assert gone["ID"] not in device.one.holdings()["runtimes"]


def test_an_update_and_a_recovery_of_it_are_404(device: Device) -> None:
    gone = ended(device)
    assert device.put(gone["ID"], LEASE={"TTL": 100}).status == 404
    assert device.act(gone["ID"], "recover").status == 404
    assert device.get(gone["ID"]).status == 404


def test_it_can_be_deleted_before_anyone_reads_it(device: Device) -> None:
    gone = ended(device)
    assert device.delete(gone["ID"]).status == 204
    assert device.delete(gone["ID"]).status == 404


def test_it_is_renewed_by_an_update(device: Device) -> None:
    runtime = device.create_running(FAAS=small(), DAAS=data(), LEASE={"TTL": 60})
    asked = time.time()
    renewed = device.update(runtime["ID"], LEASE={"TTL": 5000})
    assert_ends(renewed, asked, 5000)
    for role in ROLES:
        (action,) = actions(device.one, renewed[role]["VM_ID"])
        assert int(action["TIME"]) == unix(renewed["LEASE"]["EXPIRES"])
    assert device.read(runtime["ID"]) == renewed


def test_it_is_renewed_also_with_the_same_time(device: Device) -> None:
    runtime = device.create_running(FAAS=small(), LEASE={"TTL": 1000})
    with device.counted() as calls:
        device.update(runtime["ID"], LEASE={"TTL": 1000})
    assert calls["one.vm.schedupdate"] == 1
    assert calls["one.vm.schedadd"] == 0
    assert calls.total() <= 10


@pytest.mark.parametrize("state", ["PENDING", "SUSPENDED"])
def test_it_is_renewed_where_nothing_else_can_be_updated(device: Device, state: str) -> None:
    if state == "PENDING":
        runtime = device.create_stuck(LEASE={"TTL": 1000})
    else:
        runtime = device.create_running(FAAS=small(), LEASE={"TTL": 1000})
        device.act(runtime["ID"], "suspend?wait=90")
    asked = time.time()
    renewed = device.update(runtime["ID"], LEASE={"TTL": 5000})
    assert_ends(renewed, asked, 5000)
    (action,) = actions(device.one, renewed["FAAS"]["VM_ID"])
    assert int(action["TIME"]) == unix(renewed["LEASE"]["EXPIRES"])
    refused = device.put(runtime["ID"], LEASE={"TTL": 9}, FAAS={"CPU": 2})
    assert refused.status == (423 if state == "PENDING" else 422)
    assert device.read(runtime["ID"]) == renewed
    assert renewed["FAAS"]["STATE"] == state
    device.update(runtime["ID"], LEASE=None)
    assert actions(device.one, renewed["FAAS"]["VM_ID"]) == []


def test_a_renewed_lease_outlives_its_former_end(device: Device) -> None:
    runtime = device.create_running(FAAS=small(), LEASE={"TTL": 2 * PATIENCE.short_lease_seconds})
    first = unix(runtime["LEASE"]["EXPIRES"])
    device.update(runtime["ID"], LEASE={"TTL": 1000})
    device.pass_time(2 * PATIENCE.short_lease_seconds + 1)
    wait_until(lambda: device.stage.now() > first + 1)
    assert device.read(runtime["ID"])["FAAS"]["STATE"] == "RUNNING"
    assert device.one.vm_state(runtime["FAAS"]["VM_ID"]) != "DONE"


def test_it_can_be_given_to_a_runtime_that_had_none(device: Device) -> None:
    runtime = device.create_running(FAAS=small(), DAAS=data())
    leased = device.update(runtime["ID"], LEASE=short_lease())
    assert leased["LEASE"]["TTL"] == PATIENCE.short_lease_seconds
    outlast(device, runtime)
    assert device.get(runtime["ID"]).status == 404
    wait_until(lambda: runtime["SERVICE_ID"] not in device.one.holdings()["services"])
    assert runtime["ID"] not in device.one.holdings()["runtimes"]


def test_an_update_of_something_else_leaves_the_lease(device: Device) -> None:
    runtime = device.create_running(FAAS=small(), LEASE={"TTL": 1000})
    updated = device.update(runtime["ID"], NAME="renamed", FAAS={"CPU": 2})
    assert updated["LEASE"] == runtime["LEASE"]
    assert device.one.body_of(runtime["ID"])["LEASE"] == {"TTL": 1000}


# ---- the operator's limits -----------------------------------------------------------------


@pytest.fixture(params=[{"default_seconds": 500}, {}], ids=["default", "maximum"])
def limited(request: pytest.FixtureRequest, device: Device) -> Iterator[tuple[Device, int]]:
    """A client of an engine with a maximum and a default lease."""
    with device.another_engine(lease={"max_seconds": 1000, **request.param}) as client:
        yield client, request.param.get("default_seconds", 1000)


def test_a_runtime_without_a_requested_lease_gets_the_default(limited: tuple[Device, int]) -> None:
    device, usual_seconds = limited
    runtime = device.create()
    assert runtime["LEASE"]["TTL"] == usual_seconds
    assert len(actions(device.one, runtime["FAAS"]["VM_ID"])) == 1


def test_no_lease_is_longer_than_the_configured_maximum(limited: tuple[Device, int]) -> None:
    device, _ = limited
    before = device.one.holdings()
    refused = device.post(FAAS=small(), LEASE={"TTL": 1001})
    assert refused.status == 422
    assert "1000" in refused.json["message"]
    assert device.one.holdings() == before
    runtime = device.create_running(FAAS=small(), LEASE={"TTL": 1000})
    refused = device.put(runtime["ID"], NAME="never", LEASE={"TTL": 1001})
    assert refused.status == 422
    assert device.read(runtime["ID"]) == runtime
