"""The attributes in OpenNebula: exactly those of the contract, in both dialects."""

from __future__ import annotations

import base64
from collections.abc import Iterator

import pytest

from provision_engine.sandbox import Sandbox
from tests.support.opennebula import OpenNebula

from .device import Device, Json, data, small
from .settings import ADMIN, DATA_FLAVOUR, DISK_MB, FLAVOUR

SENT = {
    "SCHEDULING": {"POLICY": "free_cpu", "REQUIREMENTS": "free_cpu > 0"},
    "DEVICE_INFO": {"LATENCY_TO_PE": 0.36, "GEOGRAPHIC_LOCATION": "Madrid", "FURTHER": 7},
}
OF_EACH_VM = {"VMID", "ETH0_IP", "ETH0_MAC", "UUID", "IP", "MAC", "TARGET", "NIC_ID"}


@pytest.fixture
def plain(opennebula: OpenNebula) -> Iterator[Json]:
    """A VM of the same flow template, started without the engine."""
    service_id = opennebula.start_service(opennebula.flow_template_id(FLAVOUR), "plain")
    opennebula.until_service_runs(service_id)
    try:
        yield opennebula.vm(opennebula.service_vm_ids(service_id)[0])
    finally:
        opennebula.end_service(service_id)


def without(template: Json, names: set[str]) -> Json:
    """A template without what differs between any two VMs."""
    kept = {name: value for name, value in template.items() if name not in names}
    return {n: without(v, names) if isinstance(v, dict) else v for n, v in kept.items()}


def test_the_template_is_that_of_a_plain_vm_plus_what_the_contract_adds(
    device: Device, plain: Json
) -> None:
    runtime = device.create_running(FAAS=small(CPU=2, MEMORY=256), **SENT)
    made = without(device.one.vm(runtime["FAAS"]["VM_ID"])["TEMPLATE"], OF_EACH_VM)
    wanted = without(plain["TEMPLATE"], OF_EACH_VM)
    wanted |= {
        "CPU": "2",
        "VCPU": "2",
        "MEMORY": "256",
        "VCPU_MAX": "4",
        "MEMORY_MAX": "512",
        "MEMORY_RESIZE_MODE": "BALLOONING",
    }
    wanted["DISK"] |= {"SIZE": str(DISK_MB)}
    sr_auth = base64.b64encode(device.one.user.session.encode()).decode()
    wanted["CONTEXT"] |= {"SR_AUTH": sr_auth}
    assert made == wanted


def test_the_user_template_is_that_of_the_contract(device: Device) -> None:
    runtime = device.create(FAAS=small(), **SENT)
    assert device.one.vm(runtime["FAAS"]["VM_ID"])["USER_TEMPLATE"] == {
        "DEVICE_INFO": {
            "LATENCY_TO_PE": "0.36",
            "GEOGRAPHIC_LOCATION": "Madrid",
            "FURTHER": "7",
        },
        "FLAVOURS": str(device.one.flow_template_id(FLAVOUR)),
        "HOT_RESIZE": {"CPU_HOT_ADD_ENABLED": "YES", "MEMORY_HOT_ADD_ENABLED": "YES"},
        "ROLE_NAME": "FAAS",
        "SCHED_RANK": "FREE_CPU",
        "SCHED_REQUIREMENTS": "FREE_CPU > 0",
        "SERVICE_ID": str(runtime["SERVICE_ID"]),
    }


def test_members_that_are_not_sent_make_no_attributes(device: Device) -> None:
    runtime = device.create(FAAS=small(), SCHEDULING={"POLICY": ""}, DEVICE_INFO={})
    assert not {"SCHEDULING", "DEVICE_INFO"} & runtime.keys()
    seen = device.one.vm(runtime["FAAS"]["VM_ID"])["USER_TEMPLATE"]
    assert set(seen) == {"FLAVOURS", "HOT_RESIZE", "ROLE_NAME", "SERVICE_ID"}


def test_both_vms_have_scheduling_device_info_and_flavours(device: Device) -> None:
    runtime = device.create(FAAS=small(), DAAS=data(), **SENT)
    flow_id = str(device.one.flow_template_id(f"{FLAVOUR}-{DATA_FLAVOUR}"))
    for role in ("FAAS", "DAAS"):
        seen = device.one.vm(runtime[role]["VM_ID"])["USER_TEMPLATE"]
        assert seen["ROLE_NAME"] == role
        assert seen["SCHED_RANK"] == "FREE_CPU"
        assert seen["SCHED_REQUIREMENTS"] == "FREE_CPU > 0"
        assert seen["DEVICE_INFO"]["GEOGRAPHIC_LOCATION"] == "Madrid"
        assert seen["FLAVOURS"] == flow_id


def flow_with(sandbox: Sandbox, name: str, vm_template: str, role: str = "FAAS") -> None:
    made = sandbox.store.add_vm_template(name, vm_template)
    sandbox.store.add_flow_template(name, [(role, made.id)])


def test_further_disks_are_kept_and_the_first_one_has_the_size(device: Device) -> None:
    flow_with(
        device.sandbox,
        "two-disks",
        'CPU="1"\nMEMORY="64"\nDISK=[IMAGE="img",IMAGE_UNAME="oneadmin"]\n'
        'DISK=[TYPE="fs",SIZE="77",FORMAT="raw"]',
    )
    runtime = device.create(FAAS={"FLAVOUR": "two-disks", "DISK_SIZE": 2000})
    disks = device.one.vm(runtime["FAAS"]["VM_ID"])["TEMPLATE"]["DISK"]
    assert [disk["SIZE"] for disk in disks] == ["2000", "77"]
    assert disks[0]["IMAGE"] == "img"
    assert (disks[1]["TYPE"].lower(), disks[1]["FORMAT"]) == ("fs", "raw")


def test_the_context_of_the_vm_template_is_kept(device: Device) -> None:
    flow_with(
        device.sandbox,
        "with-context",
        'CPU="1"\nMEMORY="64"\n'
        'CONTEXT=[NETWORK="YES",SSH_PUBLIC_KEY="ssh-rsa AAA me",GREETING="say \\"hi\\", a=b]"]',
    )
    runtime = device.create(FAAS={"FLAVOUR": "with-context"})
    context = device.one.vm(runtime["FAAS"]["VM_ID"])["TEMPLATE"]["CONTEXT"]
    assert context["SSH_PUBLIC_KEY"] == "ssh-rsa AAA me"
    assert context["GREETING"] == 'say "hi", a=b]'
    assert context["NETWORK"] == "YES"
    assert context["SR_AUTH"]


def test_a_multi_line_start_script_reaches_the_vm_unchanged(device: Device) -> None:
    flow_with(
        device.sandbox,
        "script",
        'CPU="1"\nMEMORY="64"\nCONTEXT=[START_SCRIPT="#!/bin/sh\necho 1\n"]',
    )
    runtime = device.create(FAAS={"FLAVOUR": "script"})
    context = device.one.vm(runtime["FAAS"]["VM_ID"])["TEMPLATE"]["CONTEXT"]
    encoded = context.get("START_SCRIPT_BASE64", "")
    assert (context.get("START_SCRIPT") or base64.b64decode(encoded).decode()) == (
        "#!/bin/sh\necho 1\n"
    )


def test_sr_auth_can_be_turned_off(device: Device) -> None:
    with device.another_engine(context={"sr_auth": False}) as other:
        runtime = other.create()
    context = device.one.vm(runtime["FAAS"]["VM_ID"])["TEMPLATE"]["CONTEXT"]
    assert "SR_AUTH" not in context


@pytest.mark.parametrize(
    "roles",
    [
        ["FAAS", "DAAS"],
        ["DAAS", "FAAS"],
        ["faas", "Daas"],
        ["tuple", "store"],
        ["store", "tuple"],
        ["first", "second"],
    ],
    ids="-".join,
)
def test_roles_are_found_by_name_then_by_flavour_then_by_position(
    device: Device, roles: list[str]
) -> None:
    device.sandbox.store.add_flow_template("tuple-store", [(role, 0) for role in roles])
    by_name = {name.upper(): name for name in roles}
    wanted = [
        by_name.get("FAAS", by_name.get("TUPLE", roles[0])),
        by_name.get("DAAS", by_name.get("STORE", roles[1])),
    ]
    runtime = device.create(
        FAAS={"FLAVOUR": "tuple", "CPU": 2}, DAAS={"FLAVOUR": "store", "CPU": 1}
    )
    vms = [device.one.vm(runtime[role]["VM_ID"]) for role in ("FAAS", "DAAS")]
    made = device.sandbox.store.flow_templates()["tuple-store"]
    device.stage.seen_by(ADMIN).call("document.delete", made)
    assert [vm["USER_TEMPLATE"]["ROLE_NAME"] for vm in vms] == wanted
    assert [vm["TEMPLATE"]["CPU"] for vm in vms] == ["2", "1"]
