"""LEASE: OpenNebula itself ends a runtime on time."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest

from provision_engine.sandbox import Sandbox

from .conftest import Stage
from .device import PATH, Device, Json, data, small
from .lifetime import body_of, counted, ids, listed, stuck
from .opennebula import OpenNebula, until
from .settings import ENGINE, PATIENCE, USER

DONE = "6"
CLOCK_SECONDS = 30
"""The maximum difference between the clocks of OpenNebula and of this machine."""


def actions(opennebula: OpenNebula, vm_id: int) -> list[Json]:
    """What OpenNebula is going to do to a VM."""
    found: Any = opennebula.vm(vm_id)["TEMPLATE"].get("SCHED_ACTION", [])
    return found if isinstance(found, list) else [found]


def unix(expires: str) -> int:
    assert expires.endswith("Z")
    return int(datetime.fromisoformat(expires).timestamp())


def is_over(opennebula: OpenNebula, *vm_ids: int) -> bool:
    return all(opennebula.vm(vm_id)["STATE"] == DONE for vm_id in vm_ids)


def test_it_is_shown_with_the_end_that_opennebula_stores(
    device: Device, opennebula: OpenNebula
) -> None:
    asked = time.time()
    born = device.create(FAAS=small(), DAAS=data(), LEASE={"TTL": 1000})
    assert born["LEASE"]["TTL"] == 1000
    assert asked <= unix(born["LEASE"]["EXPIRES"]) - 1000 + CLOCK_SECONDS
    assert unix(born["LEASE"]["EXPIRES"]) - 1000 <= time.time() + CLOCK_SECONDS
    read = device.read_until(born["ID"], "RUNNING")
    ends = []
    for role in ("FAAS", "DAAS"):
        (action,) = actions(opennebula, read[role]["VM_ID"])
        assert action["ACTION"] == "terminate-hard"
        ends.append(int(action["TIME"]))
    assert unix(read["LEASE"]["EXPIRES"]) == min(ends)


def test_a_runtime_without_a_lease_has_none(device: Device, opennebula: OpenNebula) -> None:
    runtime = device.create_running()
    assert "LEASE" not in runtime
    assert actions(opennebula, runtime["FAAS"]["VM_ID"]) == []


@pytest.mark.parametrize("lease", [{}, {"TTL": 0}, {"TTL": -1}, {"TTL": "60"}, {"TTL": 2**31}, 60])
def test_an_invalid_lease_is_rejected(device: Device, lease: Any) -> None:
    answer = device.post(FAAS=small(), LEASE=lease)
    assert answer.status_code == 400
    assert "LEASE" in answer.json()["message"]


def test_opennebula_ends_it_without_any_engine_and_then_it_is_gone(
    stage: Stage, device: Device, opennebula: OpenNebula
) -> None:
    if ENGINE:
        pytest.skip("the running engine cannot be stopped from here")
    before = opennebula.holdings()
    with stage.another_engine() as url:
        runtime = Device(url, USER).create(
            FAAS=small(), DAAS=data(), LEASE={"TTL": PATIENCE.short_lease_seconds}
        )
    # The session's engine is the only one now, and it gets no requests.
    vm_ids = [runtime[role]["VM_ID"] for role in ("FAAS", "DAAS")]
    assert until(lambda: is_over(opennebula, *vm_ids))
    assert until(lambda: opennebula.holdings()["services"] == before["services"])
    assert opennebula.holdings()["VMs"] == before["VMs"]
    assert runtime["ID"] in opennebula.holdings()["runtimes"]
    assert device.get(runtime["ID"]).status_code == 404
    assert opennebula.holdings() == before
    assert device.get(runtime["ID"]).status_code == 404


def ended(device: Device, opennebula: OpenNebula) -> Json:
    """A runtime that OpenNebula has ended and that no request has read since."""
    runtime = device.create(FAAS=small(), LEASE={"TTL": PATIENCE.short_lease_seconds})
    assert until(lambda: is_over(opennebula, runtime["FAAS"]["VM_ID"]))
    return runtime


def test_a_list_does_not_show_it_any_more_and_removes_it(
    device: Device, opennebula: OpenNebula
) -> None:
    stays = device.create()
    gone = ended(device, opennebula)
    assert ids(listed(device)) == [stays["ID"]]
    assert gone["ID"] not in opennebula.holdings()["runtimes"]


def test_an_update_and_a_recovery_of_it_are_404(device: Device, opennebula: OpenNebula) -> None:
    gone = ended(device, opennebula)
    assert device.put(gone["ID"], LEASE={"TTL": 100}).status_code == 404
    assert device.request("POST", f"{PATH}/{gone['ID']}/recover").status_code == 404
    assert device.get(gone["ID"]).status_code == 404


def test_it_can_be_deleted_before_anyone_reads_it(device: Device, opennebula: OpenNebula) -> None:
    gone = ended(device, opennebula)
    assert device.delete(gone["ID"]).status_code == 204
    assert device.delete(gone["ID"]).status_code == 404


def test_it_is_renewed_by_an_update(device: Device, opennebula: OpenNebula) -> None:
    runtime = device.create_running(FAAS=small(), DAAS=data(), LEASE={"TTL": 60})
    asked = time.time()
    renewed = device.update(runtime["ID"], LEASE={"TTL": 5000})
    assert renewed["LEASE"]["TTL"] == 5000
    assert asked <= unix(renewed["LEASE"]["EXPIRES"]) - 5000 + CLOCK_SECONDS
    assert unix(renewed["LEASE"]["EXPIRES"]) - 5000 <= time.time() + CLOCK_SECONDS
    for role in ("FAAS", "DAAS"):
        (action,) = actions(opennebula, renewed[role]["VM_ID"])
        assert int(action["TIME"]) == unix(renewed["LEASE"]["EXPIRES"])
    assert device.read(runtime["ID"]) == renewed


def test_it_is_renewed_also_with_the_same_time(device: Device, sandbox: Sandbox) -> None:
    runtime = device.create_running(FAAS=small(), LEASE={"TTL": 1000})
    with counted(sandbox) as calls:
        device.update(runtime["ID"], LEASE={"TTL": 1000})
    assert calls["one.vm.schedupdate"] == 1
    assert calls["one.vm.schedadd"] == 0
    assert calls.total() <= 10


def test_a_renewed_lease_outlives_its_former_end(device: Device, opennebula: OpenNebula) -> None:
    runtime = device.create_running(FAAS=small(), LEASE={"TTL": 2 * PATIENCE.short_lease_seconds})
    first = unix(runtime["LEASE"]["EXPIRES"])
    device.update(runtime["ID"], LEASE={"TTL": 1000})
    until(lambda: time.time() > first + 1)
    assert device.read(runtime["ID"])["FAAS"]["STATE"] == "RUNNING"
    assert opennebula.vm(runtime["FAAS"]["VM_ID"])["STATE"] != DONE


def test_it_can_be_given_to_a_runtime_that_had_none(device: Device, opennebula: OpenNebula) -> None:
    runtime = device.create_running(FAAS=small(), DAAS=data())
    leased = device.update(runtime["ID"], LEASE={"TTL": PATIENCE.short_lease_seconds})
    assert leased["LEASE"]["TTL"] == PATIENCE.short_lease_seconds
    vm_ids = [runtime[role]["VM_ID"] for role in ("FAAS", "DAAS")]
    assert until(lambda: is_over(opennebula, *vm_ids))
    assert device.get(runtime["ID"]).status_code == 404
    assert until(lambda: runtime["SERVICE_ID"] not in opennebula.holdings()["services"])
    assert runtime["ID"] not in opennebula.holdings()["runtimes"]


def test_a_runtime_that_still_waits_for_a_host_ends_on_time_too(
    device: Device, opennebula: OpenNebula, sandbox: Sandbox
) -> None:
    runtime = stuck(device, LEASE={"TTL": PATIENCE.short_lease_seconds})
    assert until(lambda: is_over(opennebula, runtime["FAAS"]["VM_ID"]))
    assert device.get(runtime["ID"]).status_code == 404


def test_an_update_of_something_else_leaves_the_lease(
    device: Device, opennebula: OpenNebula
) -> None:
    runtime = device.create_running(FAAS=small(), LEASE={"TTL": 1000})
    updated = device.update(runtime["ID"], NAME="renamed", FAAS={"CPU": 2})
    assert updated["LEASE"] == runtime["LEASE"]
    assert body_of(opennebula, runtime["ID"])["LEASE"] == {"TTL": 1000}


# ---- the operator's limits -----------------------------------------------------------------


@pytest.fixture(params=["default_seconds: 500, max_seconds: 1000", "max_seconds: 1000"])
def limited(
    request: pytest.FixtureRequest, stage: Stage, device: Device
) -> Iterator[tuple[Device, int]]:
    """A client of an engine with a maximum and a default lease."""
    if ENGINE:
        pytest.skip("the running engine has its own configuration")
    further = f"{stage.configuration()}lease: {{{request.param}}}\n"
    with stage.another_engine(further) as url:
        client = Device(url, USER)
        client.made = device.made
        yield client, 500 if "default" in request.param else 1000


def test_a_runtime_without_a_requested_lease_gets_the_default(
    limited: tuple[Device, int], opennebula: OpenNebula
) -> None:
    device, usual_seconds = limited
    runtime = device.create()
    assert runtime["LEASE"]["TTL"] == usual_seconds
    assert len(actions(opennebula, runtime["FAAS"]["VM_ID"])) == 1


def test_no_lease_is_longer_than_the_configured_maximum(
    limited: tuple[Device, int], opennebula: OpenNebula
) -> None:
    device, _ = limited
    before = opennebula.holdings()
    refused = device.post(FAAS=small(), LEASE={"TTL": 1001})
    assert refused.status_code == 422
    assert "1000" in refused.json()["message"]
    assert opennebula.holdings() == before
    runtime = device.create_running(FAAS=small(), LEASE={"TTL": 1000})
    refused = device.put(runtime["ID"], NAME="never", LEASE={"TTL": 1001})
    assert refused.status_code == 422
    assert device.read(runtime["ID"]) == runtime
