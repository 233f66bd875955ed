"""POST /serverless-runtimes/{id}/recover, and what an update does with a function in ERROR."""

from __future__ import annotations

import pytest

from tests.support.waiting import wait_until

from .device import Device, Json, data, small
from .settings import FLAVOUR


def recover(device: Device, runtime_id: int) -> Json:
    answer = device.act(runtime_id, "recover")
    assert answer.status == 200, answer.text
    return answer.runtime


@pytest.fixture
def failed(device: Device) -> Json:
    """A runtime whose VM OpenNebula refused to create, but would create now."""
    device.limit(VMS=0)
    service = device.one.start_service(device.one.flow_template_id(FLAVOUR), "failed")
    runtime = device.document(SERVICE_ID=service)
    device.made.append(runtime)
    device.read_until(runtime, "ERROR")
    device.limit(VMS=-1)
    return device.read(runtime)


def test_a_failed_deployment_is_retried(device: Device, failed: Json) -> None:
    assert failed["FAAS"]["REASON"] == "user quota of 0 VMs reached"
    with device.counted() as calls:
        recovered = recover(device, failed["ID"])
    assert recovered["FAAS"]["STATE"] in ("PENDING", "RUNNING")
    assert calls[f"POST /service/{failed['SERVICE_ID']}/action"] == 1
    assert calls["one.vm.recover"] == 0
    assert calls.total() <= 14
    running = device.read_until(failed["ID"], "RUNNING")
    assert type(running["FAAS"]["VM_ID"]) is int
    assert running["FAAS"]["ENDPOINT"]


def test_a_second_failure_is_reported(device: Device, failed: Json) -> None:
    device.limit(VMS=0)
    recover(device, failed["ID"])
    wait_until(lambda: device.read(failed["ID"])["FAAS"]["STATE"] == "ERROR")


def test_without_a_failure_nothing_is_done(device: Device) -> None:
    runtime = device.create_running()
    with device.counted() as calls:
        assert recover(device, runtime["ID"]) == runtime
    assert not [call for call in calls if call.startswith("POST")]


def recovered_until_running(device: Device, runtime_id: int, query: str = "") -> Json:
    answer = device.act(runtime_id, f"recover?wait=90{query}")
    assert answer.status == 200, answer.text
    runtime = answer.runtime
    assert runtime["FAAS"]["STATE"] == "RUNNING"
    return runtime


def test_a_vm_that_is_gone_is_replaced(device: Device) -> None:
    runtime = device.create_running(NAME="lamp", FAAS=small(), LEASE={"TTL": 1000})
    device.one.until_service_runs(runtime["SERVICE_ID"])
    device.one.call("vm.action", "terminate-hard", runtime["FAAS"]["VM_ID"])
    device.read_until(runtime["ID"], "ERROR")
    recovered = recovered_until_running(device, runtime["ID"])
    new = {"VM_ID", "ENDPOINT", "SINCE"}
    same = {name: value for name, value in runtime["FAAS"].items() if name not in new}
    assert {n: v for n, v in recovered["FAAS"].items() if n not in new} == same
    assert recovered["FAAS"]["VM_ID"] > runtime["FAAS"]["VM_ID"]
    assert recovered["SERVICE_ID"] > runtime["SERVICE_ID"]
    assert (recovered["ID"], recovered["NAME"]) == (runtime["ID"], "lamp")
    wait_until(lambda: device.one.holdings()["services"] == {recovered["SERVICE_ID"]})


def test_a_vm_that_failed_to_boot_is_replaced(device: Device) -> None:
    device.sandbox.faults.drivers.set("boot", fails=True)
    runtime = device.create()
    failed = device.read_until(runtime["ID"], "ERROR")["FAAS"]
    assert failed["REASON"].startswith("VM failed to boot (BOOT_FAILURE)")
    device.sandbox.faults.clear()
    recovered_until_running(device, runtime["ID"])


def test_a_data_vm_is_replaced_only_if_that_is_allowed(device: Device) -> None:
    runtime = device.create_running(FAAS=small(), DAAS=data())
    device.one.call("vm.action", "terminate-hard", runtime["FAAS"]["VM_ID"])
    wait_until(lambda: device.read(runtime["ID"])["FAAS"]["STATE"] == "ERROR")
    answer = device.act(runtime["ID"], "recover")
    assert answer.status == 422
    assert "?replace=true" in answer.json["message"]
    assert device.read(runtime["ID"])["DAAS"]["STATE"] == "RUNNING"
    recovered = recovered_until_running(device, runtime["ID"], "&replace=true")
    assert recovered["DAAS"]["VM_ID"] != runtime["DAAS"]["VM_ID"]


@pytest.mark.parametrize(
    ("action", "reason"),
    [
        ("poweroff-hard", "VM was powered off"),
        ("suspend", "VM was suspended"),
        ("stop", "VM was stopped"),
        ("undeploy-hard", "VM was undeployed"),
    ],
)
def test_a_vm_that_was_stopped_says_so_and_is_resumed(
    device: Device, action: str, reason: str
) -> None:
    runtime = device.create_running()
    device.one.call("vm.action", action, runtime["FAAS"]["VM_ID"])
    wait_until(lambda: device.read(runtime["ID"])["FAAS"].get("REASON") == reason)
    stopped = device.read(runtime["ID"])["FAAS"]
    assert (stopped["STATE"], stopped["ERROR"]) == ("ERROR", reason)
    recovered = recovered_until_running(device, runtime["ID"])["FAAS"]
    assert recovered["VM_ID"] == runtime["FAAS"]["VM_ID"]
    assert not {"ERROR", "REASON"} & recovered.keys()


# ---- an update of a function in ERROR --------------------------------------------------------


def test_an_update_in_error_starts_a_recovery_and_says_so(device: Device, failed: Json) -> None:
    with device.counted() as calls:
        answer = device.put(failed["ID"], FAAS={"CPU": 2})
    assert answer.status == 500
    message = answer.json["message"]
    assert message["FAAS"] == failed["FAAS"]["REASON"]
    assert message["RECOVERY"]
    assert calls[f"POST /service/{failed['SERVICE_ID']}/action"] == 1
    running = device.read_until(failed["ID"], "RUNNING")
    assert device.update(failed["ID"], FAAS={"CPU": 2})["FAAS"]["CPU"] == 2
    assert running["ID"] == failed["ID"]


def test_an_update_that_cannot_be_recovered_says_why(device: Device) -> None:
    runtime = device.create_running(FAAS=small(), DAAS=data())
    device.one.call("vm.action", "terminate-hard", runtime["FAAS"]["VM_ID"])
    wait_until(lambda: device.read(runtime["ID"])["FAAS"]["STATE"] == "ERROR")
    answer = device.put(runtime["ID"], FAAS={"CPU": 2})
    assert answer.status == 500
    message = answer.json["message"]
    assert message["FAAS"] == "VM is gone"
    assert "?replace=true" in message["RECOVERY"]
