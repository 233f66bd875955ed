"""The JSON representation of a snapshot."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import jsonschema
import pytest

from provision_engine.api import representation, validation
from provision_engine.cloud.objects import Vm, parse
from provision_engine.engine.actions import update
from provision_engine.engine.runtime.model import Runtime
from provision_engine.engine.runtime.snapshot import Snapshot
from tests.unit.support import function, recorded, vm

FAAS = function("nature", 1, 100, 1000, 7)
DAAS = function("s3", 1, 100, 1000, 8)
RUNTIME = Runtime(
    id=851,
    name="lamp",
    functions={"FAAS": FAAS},
    service_id=850,
    scheduling={"POLICY": "energy"},
    device_info={"LATENCY_TO_PE": 0.36},
)
BOTH = dataclasses.replace(RUNTIME, functions={"FAAS": FAAS, "DAAS": DAAS})


def shown(runtime: Runtime, vms: dict[int, Vm], service: Any = None) -> dict[str, Any]:
    return representation.members(Snapshot.taken(runtime, vms, service))


def nic(**addresses: str) -> str:
    inner = "".join(f"<{name}>{text}</{name}>" for name, text in addresses.items())
    return f"<NIC>{inner}</NIC>"


def test_a_new_runtime_is_pending_without_an_endpoint() -> None:
    ordered = representation.members(Snapshot.unseen(BOTH))
    for role, vm_id in (("FAAS", 7), ("DAAS", 8)):
        assert ordered[role]["STATE"] == "PENDING"
        assert ordered[role]["REASON_CODE"] == "ORDERED"
        assert ordered[role]["ENDPOINT"] == ""
        assert ordered[role]["VM_ID"] == vm_id
        assert "ERROR" not in ordered[role]
    assert (ordered["ID"], ordered["SERVICE_ID"], ordered["NAME"]) == (851, 850, "lamp")


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
    seen = shown(RUNTIME, {7: vm(template=f"<CPU>1</CPU>{nics}")})
    assert seen["FAAS"]["ENDPOINT"] == endpoint


def test_sizes_are_those_of_the_vm_as_integers() -> None:
    template = "<CPU>2</CPU><MEMORY>512</MEMORY><DISK><DISK_ID>0</DISK_ID><SIZE>2048</SIZE></DISK>"
    seen = shown(RUNTIME, {7: vm(template=template)})["FAAS"]
    assert (seen["CPU"], seen["MEMORY"], seen["DISK_SIZE"]) == (2, 512, 2048)
    assert all(type(seen[name]) is int for name in ("CPU", "MEMORY", "DISK_SIZE", "VM_ID"))


def test_a_fraction_of_a_core_counts_as_one() -> None:
    assert shown(RUNTIME, {7: vm(template="<CPU>0.5</CPU>")})["FAAS"]["CPU"] == 1


def test_the_error_is_there_only_in_state_error() -> None:
    failed = shown(BOTH, {7: vm(3, 36), 8: vm(3, 3, vm_id=8)})
    assert failed["FAAS"]["STATE"] == "ERROR"
    assert failed["FAAS"]["ERROR"] == failed["FAAS"]["REASON"] != ""
    assert failed["FAAS"]["REASON_CODE"] == "BOOT_FAILED"
    assert failed["DAAS"]["STATE"] == "RUNNING"
    assert not {"ERROR", "REASON", "REASON_CODE"} & failed["DAAS"].keys()


def test_a_function_that_waits_has_a_reason_and_no_error() -> None:
    waiting = shown(RUNTIME, {7: vm(1, 0)})["FAAS"]
    assert (waiting["STATE"], waiting["REASON_CODE"]) == ("PENDING", "WAITING")
    assert waiting["REASON"]
    assert "ERROR" not in waiting


def test_empty_objects_are_left_out() -> None:
    bare = dataclasses.replace(RUNTIME, scheduling={}, device_info={}, service_id=None)
    seen = representation.members(Snapshot.unseen(bare))
    assert not {"SCHEDULING", "DEVICE_INFO", "DAAS", "LEASE", "CREATED", "SERVICE_ID"} & seen.keys()


@pytest.mark.parametrize(
    ("ends_at", "lease"),
    [(None, {"TTL": 60}), (1795484945, {"TTL": 60, "EXPIRES": "2026-11-24T01:49:05Z"})],
)
def test_times_are_rfc_3339(ends_at: int | None, lease: dict[str, Any]) -> None:
    leased = dataclasses.replace(
        RUNTIME, created_at=1795484885, lease_seconds=60, lease_ends_at=ends_at
    )
    seen = representation.members(Snapshot.unseen(leased))
    assert seen["CREATED"] == "2026-11-24T01:48:05Z"
    assert seen["FAAS"]["SINCE"] == "2026-11-24T01:48:05Z"
    assert seen["LEASE"] == lease


def test_the_etag_changes_with_anything_that_is_shown_and_with_nothing_else() -> None:
    def etag(runtime: Runtime, *state: int) -> str:
        snapshot = Snapshot.taken(runtime, {7: vm(*state)}, None)
        return representation.etag(representation.runtime(snapshot))

    renamed = dataclasses.replace(RUNTIME, name="lamp 2")
    claimed = dataclasses.replace(RUNTIME, worker="a process", claimed_at=5, key="k")
    assert etag(RUNTIME, 3, 3) == etag(RUNTIME, 3, 3) == etag(claimed, 3, 3)
    assert len({etag(RUNTIME, 3, 3), etag(renamed, 3, 3), etag(RUNTIME, 3, 36)}) == 3


@pytest.mark.parametrize("seen", recorded("vms"), ids=lambda s: f"{s['scenario']}-{s['state']}")
def test_recorded_vms_make_responses_that_match_the_schema(seen: dict) -> None:
    found = Vm.from_xml(parse(seen["xml"]))
    functions = {"FAAS": dataclasses.replace(FAAS, vm_id=found.id)}
    body = shown(dataclasses.replace(RUNTIME, functions=functions), {found.id: found})
    jsonschema.Draft4Validator(validation.RUNTIME_SCHEMA).validate({"SERVERLESS_RUNTIME": body})
    assert body["FAAS"]["STATE"] in ("PENDING", "RUNNING", "UPDATING", "ERROR")


# ---- what a small device can read ---------------------------------------------------------------


def encoded(text: str) -> bytes:
    return json.dumps(text, ensure_ascii=False).encode(errors="backslashreplace")


@pytest.mark.parametrize("letter", ["x", '"', "é", "漢", "\\", "\ud800"])
def test_a_long_reason_is_truncated_by_bytes(letter: str) -> None:
    def reason(message: str) -> str:
        waiting = dataclasses.replace(vm(1, 0), sched_message=message)
        return str(shown(RUNTIME, {7: waiting})["FAAS"]["REASON"])

    cut = reason(letter * 5000)
    assert cut.endswith("…")
    assert len(encoded(cut)) <= representation.REASON_BYTES + 3
    assert len(encoded(cut)) > representation.REASON_BYTES * 0.9
    assert reason(letter * 100) == letter * 100


@pytest.mark.parametrize("letter", ["x", '"', "é", "漢"])
def test_no_runtime_that_a_create_accepts_is_longer_than_a_small_device_can_read(
    letter: str,
) -> None:
    """As long as a create allows, with the longest errors of both functions."""
    escaped = len(json.dumps(letter, ensure_ascii=False).encode()) - 2
    text = letter * min(4096, (update.SENT_BYTES - 2000) // (3 * escaped))
    sent = {
        "NAME": letter * 128,
        "FAAS": {"FLAVOUR": letter * 128},
        "DAAS": {"FLAVOUR": letter * 128},
        "SCHEDULING": {"POLICY": "A" * 4096},
        "DEVICE_INFO": {"GEOGRAPHIC_LOCATION": text, "FURTHER": text},
        "LEASE": {"TTL": 10**6},
    }
    made, _ = validation.to_create(json.dumps({"SERVERLESS_RUNTIME": sent}).encode())
    runtime = Runtime(
        id=2**31 - 1,
        name=made.name,
        functions={
            role: function(f.flavour, 10**6, 10**9, 10**9, 2**31 - 1 - index)
            for index, (role, f) in enumerate(made.functions.items())
        },
        service_id=2**31 - 1,
        scheduling=made.scheduling,
        device_info=made.device_info,
        created_at=1795484885,
        lease_seconds=made.lease_seconds,
        lease_ends_at=1796484885,
    )
    error = f"<ERROR>{letter * 5000}</ERROR>"
    vms = {i: vm(3, 36, vm_id=i, user_template=error) for i in runtime.vm_ids}
    body = representation.runtime(Snapshot.taken(runtime, vms, None))
    assert len(json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()) <= 30_000
