"""STATE, ERROR and ENDPOINT during the lifecycles of VMs and services."""

from __future__ import annotations

import dataclasses

import pytest

from provision_engine.sandbox import Sandbox

from .conftest import QUICK
from .device import Device, data, small
from .opennebula import OpenNebula, until


@pytest.mark.parametrize(
    ("state", "word"),
    [
        ("POWEROFF", "powered off"),
        ("STOPPED", "stopped"),
        ("SUSPENDED", "suspended"),
        ("UNDEPLOYED", "undeployed"),
        ("UNKNOWN", "UNKNOWN"),
        ("BOOT_FAILURE", "BOOT_FAILURE"),
        ("PROLOG_FAILURE", "PROLOG_FAILURE"),
        ("DONE", "gone"),
    ],
)
def test_a_vm_that_is_not_running_is_an_error_that_says_so(
    device: Device, sandbox: Sandbox, state: str, word: str
) -> None:
    runtime = device.create_running()
    sandbox.store.put_vm(runtime["FAAS"]["VM_ID"], state)
    seen = device.read(runtime["ID"])["FAAS"]
    assert seen["STATE"] == "ERROR"
    assert word in seen["ERROR"]


@pytest.mark.parametrize("state", ["HOTPLUG_RESIZE", "DISK_RESIZE", "SAVE_STOP", "SHUTDOWN"])
def test_a_vm_that_changes_is_updating(device: Device, sandbox: Sandbox, state: str) -> None:
    sandbox.timings = dataclasses.replace(
        QUICK, resize_seconds=60, disk_resize_seconds=60, poweroff_seconds=60, shutdown_seconds=60
    )
    runtime = device.create_running()
    sandbox.store.put_vm(runtime["FAAS"]["VM_ID"], state)
    assert device.read(runtime["ID"])["FAAS"]["STATE"] == "UPDATING"
    sandbox.store.put_vm(runtime["FAAS"]["VM_ID"], "RUNNING")


def test_a_vm_that_fails_to_boot_is_an_error_with_its_reason(
    device: Device, sandbox: Sandbox
) -> None:
    sandbox.faults.drivers.set("boot", fails=True)
    answer = device.post(FAAS=small())
    assert answer.status_code == 201
    seen = device.read_until(answer.json()["SERVERLESS_RUNTIME"]["ID"], "ERROR")["FAAS"]
    assert "DEPLOY" in seen["ERROR"]


def test_an_old_error_disappears_when_the_vm_recovers(device: Device, sandbox: Sandbox) -> None:
    runtime = device.create_running()
    vm_id = runtime["FAAS"]["VM_ID"]
    sandbox.store.set_user_template(vm_id, 'ERROR="DEPLOY: something went wrong"')
    sandbox.store.put_vm(vm_id, "BOOT_FAILURE")
    assert device.read(runtime["ID"])["FAAS"]["STATE"] == "ERROR"
    sandbox.store.put_vm(vm_id, "RUNNING")
    assert device.read(runtime["ID"]) == runtime


def test_an_error_of_one_function_does_not_affect_the_other(
    device: Device, sandbox: Sandbox
) -> None:
    runtime = device.create_running(FAAS=small(), DAAS=data())
    sandbox.store.put_vm(runtime["DAAS"]["VM_ID"], "POWEROFF")
    seen = device.read(runtime["ID"])
    assert (seen["FAAS"]["STATE"], seen["DAAS"]["STATE"]) == ("RUNNING", "ERROR")


def test_a_vm_without_a_suitable_host_stays_pending(device: Device, opennebula: OpenNebula) -> None:
    runtime = device.create(FAAS=small(), SCHEDULING={"REQUIREMENTS": 'NAME = "no such host"'})
    device.create_running()  # so the scheduler has run since
    seen = device.read(runtime["ID"])["FAAS"]
    assert seen["STATE"] == "PENDING"
    assert "ERROR" not in seen


def test_a_vm_that_has_to_report_is_pending_until_it_is_ready(
    device: Device, sandbox: Sandbox, opennebula: OpenNebula
) -> None:
    if "reports" not in sandbox.store.flow_templates():
        text = 'CPU="1"\nMEMORY="64"\nCONTEXT=[TOKEN="YES",REPORT_READY="YES"]'
        made = sandbox.store.add_vm_template("reports", text)
        sandbox.store.add_flow_template("reports", [("FAAS", made.id)])
    runtime = device.create(FAAS={"FLAVOUR": "reports"})
    vm_id = runtime["FAAS"]["VM_ID"]
    assert until(lambda: sandbox.store.vm_state(vm_id) == "RUNNING")
    assert device.read(runtime["ID"])["FAAS"]["STATE"] == "PENDING"
    opennebula.call("vm.update", vm_id, 'READY="YES"', 1)
    assert device.read(runtime["ID"])["FAAS"]["STATE"] == "RUNNING"


def test_a_runtime_goes_from_pending_to_running_and_never_back(
    device: Device, sandbox: Sandbox
) -> None:
    sandbox.timings = dataclasses.replace(QUICK, prolog_seconds=0.1, boot_seconds=0.1)
    runtime = device.create()
    seen: list[str] = []

    def look() -> bool:
        seen.append(device.read(runtime["ID"])["FAAS"]["STATE"])
        return seen[-1] == "RUNNING"

    assert until(look)
    assert set(seen) == {"PENDING", "RUNNING"}
    assert seen == sorted(seen)


def test_a_service_that_is_gone_shows_as_an_error(device: Device, opennebula: OpenNebula) -> None:
    runtime = device.create_running()
    opennebula.end_service(runtime["SERVICE_ID"])
    assert until(lambda: device.read(runtime["ID"])["FAAS"]["STATE"] == "ERROR")
    assert device.read(runtime["ID"])["FAAS"]["ERROR"]


def test_the_endpoint_is_the_address_of_the_vm(device: Device, opennebula: OpenNebula) -> None:
    runtime = device.create_running()
    nic = opennebula.vm(runtime["FAAS"]["VM_ID"])["TEMPLATE"]["NIC"]
    first = nic[0] if isinstance(nic, list) else nic
    wanted = [first[name] for name in ("EXTERNAL_IP", "IP6", "IP") if first.get(name)]
    assert runtime["FAAS"]["ENDPOINT"] == wanted[0]


def test_a_vm_without_network_has_an_empty_endpoint(device: Device, sandbox: Sandbox) -> None:
    if "offline" not in sandbox.store.flow_templates():
        made = sandbox.store.add_vm_template("offline", 'CPU="1"\nMEMORY="64"')
        sandbox.store.add_flow_template("offline", [("FAAS", made.id)])
    assert device.create_running(FAAS={"FLAVOUR": "offline"})["FAAS"]["ENDPOINT"] == ""
