"""STATE, ERROR and ENDPOINT during the lifecycles of VMs and services."""

from __future__ import annotations

import pytest

from tests.support.waiting import wait_until

from .device import Device, data, small


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
    device: Device, state: str, word: str
) -> None:
    runtime = device.create_running()
    device.sandbox.store.put_vm(runtime["FAAS"]["VM_ID"], state)
    seen = device.read(runtime["ID"])["FAAS"]
    assert seen["STATE"] == "ERROR"
    assert word in seen["ERROR"]


@pytest.mark.parametrize("state", ["HOTPLUG_RESIZE", "DISK_RESIZE", "SAVE_STOP", "SHUTDOWN"])
def test_a_vm_that_changes_is_updating(device: Device, state: str) -> None:
    device.slow_down(
        resize_seconds=60, disk_resize_seconds=60, poweroff_seconds=60, shutdown_seconds=60
    )
    runtime = device.create_running()
    device.sandbox.store.put_vm(runtime["FAAS"]["VM_ID"], state)
    assert device.read(runtime["ID"])["FAAS"]["STATE"] == "UPDATING"
    device.sandbox.store.put_vm(runtime["FAAS"]["VM_ID"], "RUNNING")


def test_an_error_of_one_function_does_not_affect_the_other(device: Device) -> None:
    runtime = device.create_running(FAAS=small(), DAAS=data())
    device.sandbox.store.put_vm(runtime["DAAS"]["VM_ID"], "POWEROFF")
    seen = device.read(runtime["ID"])
    assert (seen["FAAS"]["STATE"], seen["DAAS"]["STATE"]) == ("RUNNING", "ERROR")


def test_a_runtime_goes_from_pending_to_running_and_never_back(device: Device) -> None:
    device.slow_down(prolog_seconds=0.1, boot_seconds=0.1)
    runtime = device.create()
    seen: list[str] = []

    def look() -> bool:
        seen.append(device.read(runtime["ID"])["FAAS"]["STATE"])
        return seen[-1] == "RUNNING"

    wait_until(look)
    assert set(seen) == {"PENDING", "RUNNING"}
    assert seen == sorted(seen)


def test_a_service_that_is_gone_shows_as_an_error(device: Device) -> None:
    runtime = device.create_running()
    device.one.end_service(runtime["SERVICE_ID"])
    wait_until(lambda: device.read(runtime["ID"])["FAAS"]["STATE"] == "ERROR")
    assert device.read(runtime["ID"])["FAAS"]["ERROR"]


def test_the_endpoint_is_the_address_of_the_vm(device: Device) -> None:
    runtime = device.create_running()
    nic = device.one.vm(runtime["FAAS"]["VM_ID"])["TEMPLATE"]["NIC"]
    first = nic[0] if isinstance(nic, list) else nic
    wanted = [first[name] for name in ("EXTERNAL_IP", "IP6", "IP") if first.get(name)]
    assert runtime["FAAS"]["ENDPOINT"] == wanted[0]


def test_a_vm_without_network_has_an_empty_endpoint(device: Device) -> None:
    if "offline" not in device.sandbox.store.flow_templates():
        made = device.sandbox.store.add_vm_template("offline", 'CPU="1"\nMEMORY="64"')
        device.sandbox.store.add_flow_template("offline", [("FAAS", made.id)])
    assert device.create_running(FAAS={"FLAVOUR": "offline"})["FAAS"]["ENDPOINT"] == ""
