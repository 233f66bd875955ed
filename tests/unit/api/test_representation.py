"""The JSON representation of a snapshot."""

from __future__ import annotations

import dataclasses
import json
from types import SimpleNamespace
from typing import Any

import jsonschema
import pytest

from provision_engine.api import representation, validation
from provision_engine.cloud.objects import Quota, Vm, parse
from provision_engine.engine.runtime.model import Runtime
from provision_engine.engine.runtime.snapshot import Snapshot
from provision_engine.engine.runtime.specification import SENT_BYTES
from tests.unit.support import function, recorded, vm

FAAS = function("nature", 1, 100, 1000, 7)
RUNTIME = Runtime(
    id=851,
    name="lamp",
    functions={"FAAS": FAAS},
    service_id=850,
    scheduling={"POLICY": "energy"},
    device_info={"LATENCY_TO_PE": 0.36},
)


def shown(runtime: Runtime, vms: dict[int, Vm], service: Any = None) -> dict[str, Any]:
    body = representation.runtime(Snapshot.from_vms(runtime, vms, service))
    return dict(body[representation.RUNTIME])


def nic(**addresses: str) -> str:
    inner = "".join(f"<{name}>{text}</{name}>" for name, text in addresses.items())
    return f"<NIC>{inner}</NIC>"


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
    disk = "<DISK><DISK_ID>0</DISK_ID><SIZE>2048</SIZE></DISK>"
    for cpu, cores in (("2", 2), ("0.5", 1)):
        template = f"<CPU>{cpu}</CPU><MEMORY>512</MEMORY>{disk}"
        function = shown(RUNTIME, {7: vm(template=template)})["FAAS"]
        sizes = [function[name] for name in ("CPU", "MEMORY", "DISK_SIZE", "VM_ID")]
        assert sizes == [cores, 512, 2048, 7]
        assert all(type(size) is int for size in sizes)


@pytest.mark.parametrize(
    ("states", "code", "members"),
    [
        ((3, 36), "BOOT_FAILED", {"ERROR", "REASON", "REASON_CODE"}),
        ((1, 0), "WAITING", {"REASON", "REASON_CODE"}),
        ((3, 3), None, set()),
    ],
)
def test_the_error_is_there_only_in_state_error(
    states: tuple[int, int], code: str | None, members: set[str]
) -> None:
    function = shown(RUNTIME, {7: vm(*states)})["FAAS"]
    assert {"ERROR", "REASON", "REASON_CODE"} & function.keys() == members
    assert function.get("REASON_CODE") == code
    assert function.get("ERROR", function.get("REASON")) == function.get("REASON")


@pytest.mark.parametrize(
    ("limits", "defaults", "vms", "cpu"),
    [
        (
            "<VMS>4</VMS><VMS_USED>1</VMS_USED><CPU>2.5</CPU><CPU_USED>0.5</CPU_USED>",
            "",
            {"LIMIT": 4, "USED": 1},
            {"LIMIT": 2.5, "USED": 0.5},
        ),
        ("<VMS>-1</VMS><CPU>0</CPU>", "", {"LIMIT": None, "USED": 0}, {"LIMIT": 0, "USED": 0}),
        ("<VMS>-2</VMS>", "<VMS>7</VMS>", {"LIMIT": 7, "USED": 0}, {"LIMIT": None, "USED": 0}),
    ],
)
def test_a_quota_has_usage_and_limits_those_of_the_cloud_included(
    limits: str, defaults: str, vms: dict[str, Any], cpu: dict[str, Any]
) -> None:
    xml = (
        f"<USER><VM_QUOTA><VM>{limits}</VM></VM_QUOTA><DEFAULT_USER_QUOTAS>"
        f"<VM_QUOTA><VM>{defaults}</VM></VM_QUOTA></DEFAULT_USER_QUOTAS></USER>"
    )
    rendered = representation.quota(Quota.from_xml(parse(xml)))
    assert json.dumps([rendered["VMS"], rendered["CPU"]]) == json.dumps([vms, cpu])
    assert list(rendered) == list(representation.QUOTA_METRICS)


@pytest.mark.parametrize(
    ("ends_at", "lease"),
    [(None, {"TTL": 60}), (1795484945, {"TTL": 60, "EXPIRES": "2026-11-24T01:49:05Z"})],
)
def test_times_are_rfc_3339(ends_at: int | None, lease: dict[str, Any]) -> None:
    leased = dataclasses.replace(
        RUNTIME, created_at=1795484885, lease_seconds=60, lease_ends_at=ends_at
    )
    seen = representation.runtime(Snapshot.pending(leased))[representation.RUNTIME]
    assert seen["CREATED"] == "2026-11-24T01:48:05Z"
    assert seen["FAAS"]["SINCE"] == "2026-11-24T01:48:05Z"
    assert seen["LEASE"] == lease


def test_the_etag_changes_with_anything_that_is_shown_and_with_nothing_else() -> None:
    def etag(runtime: Runtime, *state: int) -> str:
        snapshot = Snapshot.from_vms(runtime, {7: vm(*state)}, None)
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


@pytest.mark.parametrize("context", [{}, {"NETWORK": "YES"}])
def test_a_plan_shows_no_credentials(context: dict[str, str]) -> None:
    attributes = {"CPU": "1", "CONTEXT": {"SR_AUTH": "secret", **context}}
    flow = SimpleNamespace(id=4, owner_name="oneadmin")
    planned: Any = SimpleNamespace(
        flow=flow, role_names={"FAAS": "f"}, vm_attributes=lambda _role: attributes
    )
    shown = representation.plan(planned, [])["ROLES"]["FAAS"]["ATTRIBUTES"]
    assert shown == {"CPU": "1", "CONTEXT": context}


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
    text = letter * min(4096, (SENT_BYTES - 2000) // (3 * escaped))
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
    body = representation.runtime(Snapshot.from_vms(runtime, vms, None))
    assert len(json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()) <= 30_000
