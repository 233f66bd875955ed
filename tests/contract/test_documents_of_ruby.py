"""Runtimes that the Ruby engine created continue to work with this one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from xml.sax.saxutils import escape

import pytest

from tests.support.opennebula import RUNTIME, OpenNebula
from tests.support.waiting import wait_until

from .device import Device
from .settings import FLAVOUR


@pytest.fixture
def kept(opennebula: OpenNebula) -> Iterator[tuple[int, int, int]]:
    """Ids of a document as Ruby wrote it, of its service and of its VM."""
    service_id = opennebula.start_service(opennebula.flow_template_id(FLAVOUR), "of Ruby")
    wait_until(lambda: opennebula.service_vm_ids(service_id))
    vm_id = opennebula.service_vm_ids(service_id)[0]
    body = {
        "NAME": "of Ruby",
        "FAAS": {
            "FLAVOUR": FLAVOUR,
            "CPU": "1",
            "MEMORY": "128",
            "DISK_SIZE": "1024",
            "VM_ID": str(vm_id),
            "STATE": "PENDING",
            "ENDPOINT": "",
        },
        "SCHEDULING": {"POLICY": "energy"},
        "DEVICE_INFO": {"LATENCY_TO_PE": 0.36},
        "SERVICE_ID": str(service_id),
    }
    text = escape(json.dumps(body))
    template = f"<TEMPLATE><NAME>of Ruby</NAME><BODY>{text}</BODY></TEMPLATE>"
    document_id = opennebula.call("document.allocate", template, RUNTIME)
    yield document_id, service_id, vm_id
    opennebula.refusal("document.delete", document_id)
    opennebula.end_service(service_id)


def test_it_is_read_with_integers(device: Device, kept: tuple[int, int, int]) -> None:
    document_id, service_id, vm_id = kept
    seen = device.read_until(document_id, "RUNNING")
    assert (seen["ID"], seen["SERVICE_ID"], seen["FAAS"]["VM_ID"]) == (
        document_id,
        service_id,
        vm_id,
    )
    assert seen["NAME"] == "of Ruby"
    assert seen["SCHEDULING"] == {"POLICY": "energy"}


def test_it_is_updated(device: Device, kept: tuple[int, int, int]) -> None:
    device.read_until(kept[0], "RUNNING")
    updated = device.update(kept[0], FAAS={"MEMORY": 192}, NAME="ours now")
    assert (updated["FAAS"]["MEMORY"], updated["NAME"]) == (192, "ours now")
    assert device.one.vm(kept[2])["TEMPLATE"]["MEMORY"] == "192"


def test_it_is_deleted(device: Device, kept: tuple[int, int, int]) -> None:
    device.read_until(kept[0], "RUNNING")
    assert device.delete(kept[0]).status == 204
    wait_until(lambda: not {kept[1]} & device.one.ids(100))
    assert kept[0] not in device.one.ids(RUNTIME)


def test_a_new_runtime_has_the_members_that_the_ruby_engine_reads(device: Device) -> None:
    stored = device.one.body_of(device.create()["ID"])
    assert {"FLAVOUR", "CPU", "MEMORY", "DISK_SIZE", "VM_ID"} <= stored["FAAS"].keys()
    assert stored.keys() == {"FAAS", "SERVICE_ID", "SCHEDULING", "DEVICE_INFO", "ENGINE"}
