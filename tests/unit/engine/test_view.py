"""A runtime and the fresh states of its VMs, as the caller sees them."""

from __future__ import annotations

import dataclasses
import json

import jsonschema
import pytest

from provision_engine.api import validation
from provision_engine.cloud.objects import Vm, parse
from provision_engine.engine import specification, view
from provision_engine.engine.document import Runtime, StoredFunction
from tests.unit.support import recorded, vm

FAAS = StoredFunction("nature", 1, 100, 1000, 7)
DAAS = StoredFunction("s3", 1, 100, 1000, 8)
RUNTIME = Runtime(
    id=851,
    name="lamp",
    functions={"FAAS": FAAS},
    service_id=850,
    scheduling={"POLICY": "energy"},
    device_info={"LATENCY_TO_PE": 0.36},
)
BOTH = dataclasses.replace(RUNTIME, functions={"FAAS": FAAS, "DAAS": DAAS})
DEPLOYING = {"state": 1, "roles": []}
RUNNING_SERVICE = {"state": 2, "roles": []}


def nic(**addresses: str) -> str:
    inner = "".join(f"<{name}>{text}</{name}>" for name, text in addresses.items())
    return f"<NIC>{inner}</NIC>"


def test_a_newborn_is_pending_with_its_vm_and_without_an_endpoint() -> None:
    born = view.newborn(BOTH)
    for role, vm_id in (("FAAS", 7), ("DAAS", 8)):
        assert born[role]["STATE"] == "PENDING"
        assert born[role]["ENDPOINT"] == ""
        assert born[role]["VM_ID"] == vm_id
        assert "ERROR" not in born[role]
    assert (born["ID"], born["SERVICE_ID"], born["NAME"]) == (851, 850, "lamp")


@pytest.mark.parametrize(
    ("nics", "endpoint"),
    [
        ("", ""),
        (nic(IP="10.0.0.7"), "10.0.0.7"),
        (nic(IP="10.0.0.7", IP6="fd00::7"), "fd00::7"),
        (nic(IP="10.0.0.7", IP6="fd00::7", EXTERNAL_IP="1.2.3.4"), "1.2.3.4"),
        (nic(IP="10.0.0.7", EXTERNAL_IP=""), "10.0.0.7"),
        (nic(IP="10.0.0.7") + nic(EXTERNAL_IP="1.2.3.4"), "10.0.0.7"),
        (nic(MAC="02:00") + nic(IP="10.0.0.7"), ""),
    ],
)
def test_the_endpoint_is_of_the_first_nic_the_first_address_that_exists(
    nics: str, endpoint: str
) -> None:
    seen = view.render(RUNTIME, {7: vm(template=f"<CPU>1</CPU>{nics}")}, None)
    assert seen["FAAS"]["ENDPOINT"] == endpoint


def test_sizes_are_those_of_the_vm_as_integers() -> None:
    template = "<CPU>2</CPU><MEMORY>512</MEMORY><DISK><DISK_ID>0</DISK_ID><SIZE>2048</SIZE></DISK>"
    seen = view.render(RUNTIME, {7: vm(template=template)}, None)["FAAS"]
    assert (seen["CPU"], seen["MEMORY"], seen["DISK_SIZE"]) == (2, 512, 2048)
    assert all(type(seen[name]) is int for name in ("CPU", "MEMORY", "DISK_SIZE", "VM_ID"))


def test_a_part_of_a_core_counts_as_one() -> None:
    assert view.render(RUNTIME, {7: vm(template="<CPU>0.5</CPU>")}, None)["FAAS"]["CPU"] == 1


def test_the_error_is_there_only_in_state_error() -> None:
    failed = view.render(BOTH, {7: vm(3, 36), 8: vm(3, 3, vm_id=8)}, None)
    assert failed["FAAS"]["STATE"] == "ERROR"
    assert failed["FAAS"]["ERROR"]
    assert failed["DAAS"]["STATE"] == "RUNNING"
    assert "ERROR" not in failed["DAAS"]


def test_a_service_that_failed_shows_in_the_function_it_left_without_a_vm() -> None:
    runtime = dataclasses.replace(
        BOTH, functions={"FAAS": FAAS, "DAAS": dataclasses.replace(DAAS, vm_id=None)}
    )
    service = {"state": 7, "log": [{"severity": "E", "message": "no such template"}]}
    seen = view.render(runtime, {7: vm()}, service)
    assert seen["FAAS"]["STATE"] == "RUNNING"
    assert (seen["DAAS"]["STATE"], seen["DAAS"]["ERROR"]) == ("ERROR", "no such template")


def test_a_function_whose_service_still_deploys_is_pending() -> None:
    runtime = dataclasses.replace(
        RUNTIME, functions={"FAAS": dataclasses.replace(FAAS, vm_id=None)}
    )
    assert view.render(runtime, {}, DEPLOYING)["FAAS"]["STATE"] == "PENDING"


def test_a_vm_that_is_gone_is_an_error_although_its_service_runs() -> None:
    """A VM that is stopped, powered off, suspended or gone is not PENDING."""
    assert view.render(RUNTIME, {}, RUNNING_SERVICE)["FAAS"]["STATE"] == "ERROR"


def test_a_service_that_is_gone_is_an_error() -> None:
    assert view.render(RUNTIME, {}, None)["FAAS"]["STATE"] == "ERROR"


def test_empty_objects_are_left_out() -> None:
    seen = view.newborn(dataclasses.replace(RUNTIME, scheduling={}, device_info={}))
    assert not {"SCHEDULING", "DEVICE_INFO", "DAAS"} & seen.keys()


@pytest.mark.parametrize("seen", recorded("vms"), ids=lambda s: f"{s['scenario']}-{s['state']}")
def test_recorded_vms_make_answers_that_fit_the_schema(seen: dict) -> None:
    found = Vm.of(parse(seen["xml"]))
    body = view.render(
        dataclasses.replace(RUNTIME, functions={"FAAS": dataclasses.replace(FAAS, vm_id=found.id)}),
        {found.id: found},
        None,
    )
    jsonschema.Draft4Validator(validation.RUNTIME_SCHEMA).validate({"SERVERLESS_RUNTIME": body})
    assert body["FAAS"]["STATE"] in ("PENDING", "RUNNING", "UPDATING", "ERROR")


@pytest.mark.parametrize("letter", ["x", '"', "é", "漢"])
def test_no_runtime_that_a_create_accepts_is_longer_than_a_small_device_can_read(
    letter: str,
) -> None:
    """As long as a create lets it be, and with the longest errors of both functions."""
    escaped = len(json.dumps(letter, ensure_ascii=False).encode()) - 2
    text = letter * min(4096, (specification.TOLD_BYTES - 2000) // (4 * escaped))
    sent = {
        "NAME": letter * 128,
        "FAAS": {"FLAVOUR": letter * 128},
        "DAAS": {"FLAVOUR": letter * 128},
        "SCHEDULING": {"POLICY": text, "REQUIREMENTS": text},
        "DEVICE_INFO": {"GEOGRAPHIC_LOCATION": text, "FURTHER": text},
    }
    made = validation.to_create(json.dumps({"SERVERLESS_RUNTIME": sent}).encode())
    runtime = Runtime(
        id=2**31 - 1,
        name=made.name,
        functions={
            role: StoredFunction(f.flavour, 10**6, 10**9, 10**9, 2**31 - 1 - place)
            for place, (role, f) in enumerate(made.functions.items())
        },
        service_id=2**31 - 1,
        scheduling=made.scheduling,
        device_info=made.device_info,
    )
    error = f"<ERROR>{letter * 5000}</ERROR>"
    vms = {i: vm(3, 36, vm_id=i, user_template=error) for i in runtime.vm_ids}
    body = {"SERVERLESS_RUNTIME": view.render(runtime, vms, None)}
    assert len(json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()) <= 30_000
