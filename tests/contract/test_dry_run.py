"""POST /serverless-runtimes?dry_run=true."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.client import Response

from .device import Device, Json, data, small
from .settings import DENIED_FLAVOUR, FAILING_FLAVOUR, FLAVOUR


def dry_run(device: Device, flag: str = "true", **members: Any) -> Response:
    return device.post(f"?dry_run={flag}", **members)


def test_it_shows_what_would_be_created_and_creates_nothing(device: Device) -> None:
    before = device.one.holdings()
    answer = dry_run(
        device,
        FAAS=small(CPU=2),
        DAAS=data(),
        SCHEDULING={"REQUIREMENTS": "free_cpu > 1"},
        LEASE={"TTL": 600},
    )
    assert answer.status == 200
    plan = answer.json
    assert plan["ROLES"].keys() == {"FAAS", "DAAS"}
    faas = plan["ROLES"]["FAAS"]["ATTRIBUTES"]
    assert (faas["CPU"], faas["VCPU_MAX"], faas["MEMORY"]) == ("2", "4", "128")
    assert faas["SCHED_REQUIREMENTS"] == "FREE_CPU > 1"
    assert faas["SCHED_ACTION"]["TIME"] == "+600"
    assert faas["FLAVOURS"] == str(plan["FLOW_TEMPLATE"])
    assert device.one.holdings() == before


def test_it_shows_what_a_create_creates(device: Device) -> None:
    wanted: Json = {"FAAS": small(CPU=2), "SCHEDULING": {"POLICY": "energy"}}
    plan = dry_run(device, **wanted).json
    vm = device.one.vm(device.create(**wanted)["FAAS"]["VM_ID"])
    attributes = plan["ROLES"]["FAAS"]["ATTRIBUTES"]
    for name in ("CPU", "VCPU", "MEMORY", "VCPU_MAX", "MEMORY_MAX"):
        assert vm["TEMPLATE"][name] == attributes[name]
    for name in ("SCHED_RANK", "FLAVOURS"):
        assert vm["USER_TEMPLATE"][name] == attributes[name]
    assert int(vm["USER_TEMPLATE"]["FLAVOURS"]) == plan["FLOW_TEMPLATE"]


@pytest.mark.parametrize(
    "wanted",
    [
        {"FAAS": small(FLAVOUR="nobody-has-this")},
        {"FAAS": small(FLAVOUR=DENIED_FLAVOUR)},
        {"FAAS": small(FLAVOUR=FAILING_FLAVOUR)},
        {"FAAS": small(CPU="two")},
        {"FAAS": small(FLAVOUR="")},
        {"FAAS": small(), "SCHEDULING": {"POLICY": "a\nb"}},
        {"FAAS": small(), "LEASE": {"TTL": 0}},
        {"NAME": "no function"},
    ],
    ids=[
        "flavour", "permission", "vm-template", "schema", "empty", "text", "lease", "no-function",
    ],
)  # fmt: skip
def test_it_gives_the_error_that_a_create_gives(device: Device, wanted: Json) -> None:
    before = device.one.holdings()
    rehearsed, real = dry_run(device, **wanted), device.post(**wanted)
    assert rehearsed.status == real.status
    assert rehearsed.status >= 400
    assert rehearsed.json["error"] == real.json["error"]
    if isinstance(real.json["message"], str | dict):
        assert rehearsed.json == real.json
    else:  # a create has the log of the service; the dry run has only the reason
        assert rehearsed.json["message"]
    assert device.one.holdings() == before


@pytest.mark.parametrize("limits", [{"VMS": 1}, {"CPU": 3}, {"MEMORY": 200}, {"RUNNING_VMS": 1}])
def test_it_gives_the_error_of_a_quota(device: Device, limits: dict[str, float]) -> None:
    wanted = {"FAAS": small(CPU=2), "DAAS": data(CPU=2)}
    device.limit(**limits)
    rehearsed, real = dry_run(device, **wanted), device.post(**wanted)
    assert (rehearsed.status, real.status) == (422, 422)
    assert rehearsed.json["error"] == real.json["error"]
    assert next(iter(limits)) in rehearsed.json["message"]
    device.limit(**dict.fromkeys(limits, -1))
    assert dry_run(device, **wanted).status == 200


@pytest.mark.parametrize("flag", ["false", "0"])
def test_a_false_flag_is_a_create(device: Device, flag: str) -> None:
    assert dry_run(device, flag, FAAS=small()).status == 201


def test_an_invalid_flag_is_rejected_and_nothing_is_created(device: Device) -> None:
    before = device.one.holdings()
    answer = dry_run(device, "perhaps", FAAS=small())
    assert answer.status == 400
    assert "dry_run" in answer.json["message"]
    assert device.one.holdings() == before


def test_it_only_reads(device: Device) -> None:
    with device.another_engine(cache={"seconds": 60}) as other, device.counted() as calls:
        dry_run(other, FAAS=small(FLAVOUR=FLAVOUR), DAAS=data())
    assert calls == {
        "one.system.version": 1,
        "one.documentpool.info": 1,
        "one.template.info": 2,
        "one.user.info": 1,
    }
