"""DELETE /serverless-runtimes/{id}."""

from __future__ import annotations

import dataclasses

import pytest

from provision_engine.sandbox import Sandbox

from .conftest import QUICK
from .device import Device, data, small
from .opennebula import OpenNebula, until


def test_a_deleted_runtime_is_gone_with_its_service_and_vms(
    device: Device, opennebula: OpenNebula
) -> None:
    before = opennebula.holdings()
    runtime = device.create_running(FAAS=small(), DAAS=data())
    answer = device.delete(runtime["ID"])
    assert (answer.status_code, answer.content) == (204, b"")
    assert device.get(runtime["ID"]).status_code == 404
    until(lambda: opennebula.holdings() == before)
    assert opennebula.holdings() == before


def test_deleting_twice_is_not_found(device: Device) -> None:
    runtime = device.create_running()
    assert [device.delete(runtime["ID"]).status_code for _ in range(3)] == [204, 404, 404]


def test_a_runtime_that_is_still_being_deployed_can_be_deleted(
    device: Device, opennebula: OpenNebula
) -> None:
    """oneflow refuses to undeploy a service in this state; it is recovered with delete."""
    before = opennebula.holdings()
    runtime = device.create(FAAS=small(), SCHEDULING={"REQUIREMENTS": 'NAME = "no such host"'})
    assert device.read(runtime["ID"])["FAAS"]["STATE"] == "PENDING"
    assert device.delete(runtime["ID"]).status_code == 204
    until(lambda: opennebula.holdings() == before)
    assert opennebula.holdings() == before


def test_a_runtime_can_be_deleted_right_after_its_creation(
    device: Device, opennebula: OpenNebula
) -> None:
    before = opennebula.holdings()
    assert device.delete(device.create()["ID"]).status_code == 204
    until(lambda: opennebula.holdings() == before)
    assert opennebula.holdings() == before


def test_a_missing_service_is_not_an_error(device: Device, opennebula: OpenNebula) -> None:
    runtime = device.create_running()
    opennebula.end_service(runtime["SERVICE_ID"])
    until(lambda: opennebula.refusal("document.info", runtime["SERVICE_ID"], False))
    assert device.delete(runtime["ID"]).status_code == 204
    assert device.get(runtime["ID"]).status_code == 404


def test_a_runtime_is_deleted_although_its_vm_is_being_resized(
    device: Device, opennebula: OpenNebula, sandbox: Sandbox
) -> None:
    before = opennebula.holdings()
    runtime = device.create_running()
    sandbox.timings = dataclasses.replace(QUICK, resize_seconds=0.5)
    opennebula.call("vm.resize", runtime["FAAS"]["VM_ID"], "CPU=2\nVCPU=2", True)
    assert sandbox.store.vm_state(runtime["FAAS"]["VM_ID"]) == "HOTPLUG_RESIZE"
    assert device.delete(runtime["ID"]).status_code == 204
    until(lambda: opennebula.holdings() == before)
    assert opennebula.holdings() == before


@pytest.mark.parametrize("state", ["POWEROFF", "UNKNOWN", "BOOT_FAILURE", "DONE"])
def test_a_runtime_with_a_broken_vm_can_be_deleted(
    device: Device, opennebula: OpenNebula, sandbox: Sandbox, state: str
) -> None:
    before = opennebula.holdings()
    runtime = device.create_running()
    sandbox.store.put_vm(runtime["FAAS"]["VM_ID"], state)
    assert device.delete(runtime["ID"]).status_code == 204
    until(lambda: opennebula.holdings() == before)
    assert opennebula.holdings() == before


def test_a_locked_runtime_is_not_deleted(device: Device, opennebula: OpenNebula) -> None:
    runtime = device.create_running()
    opennebula.call("document.lock", runtime["ID"], 3, True)
    answer = device.delete(runtime["ID"])
    opennebula.call("document.unlock", runtime["ID"])
    assert answer.status_code == 423
    assert int(answer.headers["Retry-After"]) >= 1
    assert device.read(runtime["ID"])["FAAS"]["STATE"] == "RUNNING"


def test_the_runtime_of_another_user_cannot_be_deleted(device: Device, stranger: Device) -> None:
    runtime = device.create_running()
    assert stranger.delete(runtime["ID"]).status_code == 403
    assert device.read(runtime["ID"])["FAAS"]["STATE"] == "RUNNING"


def test_a_service_that_ends_after_the_response_is_deleted_too(
    device: Device, opennebula: OpenNebula, sandbox: Sandbox
) -> None:
    runtime = device.create_running()
    until(lambda: opennebula.service_state(runtime["SERVICE_ID"]) == 2)
    sandbox.timings = dataclasses.replace(QUICK, shutdown_seconds=6.0)
    try:
        assert device.delete(runtime["ID"]).status_code == 204
        assert device.get(runtime["ID"]).status_code == 404
        assert device.delete(runtime["ID"]).status_code == 404
    finally:
        sandbox.timings = QUICK
        until(lambda: opennebula.refusal("document.info", runtime["SERVICE_ID"], False))
        # `provision-engine reconcile` does it if an operator runs it.
        opennebula.refusal("document.delete", runtime["ID"])
