"""REASON and SINCE: why a function is not running, for people."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import pytest

from tests.support.waiting import wait_until

from .device import Device, Json, small
from .settings import FLAVOUR


def seconds_ago(since: str) -> float:
    """How many seconds ago an RFC 3339 time was."""
    assert since.endswith("Z")
    return time.time() - datetime.fromisoformat(since).astimezone(UTC).timestamp()


def await_reason(device: Device, runtime_id: int, wanted: str) -> Json:
    """The function, once it has that reason."""

    def look() -> Json | None:
        function: Json = device.read(runtime_id)["FAAS"]
        return function if function.get("REASON") == wanted else None

    found: Json = wait_until(look)
    return found


def test_a_new_runtime_says_why_it_is_pending_and_since_when(device: Device) -> None:
    born = device.create()["FAAS"]
    assert born["REASON"]
    assert -5 < seconds_ago(born["SINCE"]) < 60


@pytest.mark.usefixtures("only_sandbox")
def test_requirements_that_no_host_satisfies_are_named(device: Device) -> None:
    runtime = device.create(FAAS=small(), SCHEDULING={"REQUIREMENTS": "free_cpu > 1000"})
    seen = await_reason(device, runtime["ID"], "no host satisfies FREE_CPU > 1000")
    assert (seen["STATE"], seen["REASON"]) == ("PENDING", "no host satisfies FREE_CPU > 1000")
    assert "ERROR" not in seen
    assert -5 < seconds_ago(seen["SINCE"]) < 60
    device.release(runtime)
    running = device.read_until(runtime["ID"], "RUNNING")["FAAS"]
    assert "REASON" not in running
    assert -5 < seconds_ago(running["SINCE"]) < 60


def test_a_lack_of_capacity_is_named(device: Device) -> None:
    runtime = device.create(FAAS=small(CPU=1000))
    wanted = "no host has enough free CPU and memory"
    await_reason(device, runtime["ID"], wanted)


def test_a_quota_is_named(device: Device) -> None:
    device.create_running()
    device.limit(VMS=1)
    service = device.one.start_service(device.one.flow_template_id(FLAVOUR), "beyond-the-quota")
    runtime = device.document(SERVICE_ID=service)
    try:
        seen = await_reason(device, runtime, "user quota of 1 VM reached")
        assert (seen["STATE"], seen["REASON"]) == ("ERROR", "user quota of 1 VM reached")
        assert seen["ERROR"] == seen["REASON"]
        assert -5 < seconds_ago(seen["SINCE"]) < 60
    finally:
        assert device.delete(runtime).status == 204


def test_a_vm_that_was_terminated_is_an_error_before_and_after_its_service_goes(
    device: Device,
) -> None:
    runtime = device.create_running()
    device.one.call("vm.action", "terminate-hard", runtime["FAAS"]["VM_ID"])
    seen = device.read_until(runtime["ID"], "ERROR")["FAAS"]
    assert seen["ERROR"] in ("VM is gone", "The service is gone, and its VMs with it")
    assert seen["REASON_CODE"] in ("GONE", "SERVICE_GONE")


def test_a_vm_that_has_not_reported_yet_says_so(device: Device) -> None:
    template = device.sandbox.store.add_vm_template(
        "Reporting",
        'CPU="1"\nMEMORY="128"\nCONTEXT=[REPORT_READY="YES"]\nDISK=[IMAGE="img"]',
    )
    device.sandbox.store.add_flow_template("reporting", [("FAAS", template.id)])
    runtime = device.create(FAAS=small(FLAVOUR="reporting"))
    wanted = "VM runs, but has not reported that it is ready"
    await_reason(device, runtime["ID"], wanted)
    device.sandbox.store.set_user_template(runtime["FAAS"]["VM_ID"], 'READY="YES"')
    assert "REASON" not in device.read_until(runtime["ID"], "RUNNING")["FAAS"]
