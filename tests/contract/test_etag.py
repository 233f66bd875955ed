"""ETag, If-Match and If-None-Match."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.client import Response

from .device import Device, small


def tag(device: Device, runtime_id: int) -> str:
    return device.get(runtime_id).headers["ETag"]


def put(device: Device, runtime_id: int, if_match: str, **members: Any) -> Response:
    return device.put(runtime_id, headers={"If-Match": if_match}, **members)


def test_it_is_the_same_while_nothing_changes(device: Device) -> None:
    runtime = device.create_running()
    assert tag(device, runtime["ID"]) == tag(device, runtime["ID"])
    assert tag(device, runtime["ID"]).startswith('"')


@pytest.mark.parametrize(
    "change", [{"NAME": "other"}, {"FAAS": {"CPU": 2}}, {"LEASE": {"TTL": 1000}}]
)
def test_it_changes_with_anything(device: Device, change: dict[str, object]) -> None:
    runtime = device.create_running()
    before = tag(device, runtime["ID"])
    device.update(runtime["ID"], **change)
    assert tag(device, runtime["ID"]) != before


def test_it_changes_with_the_state(device: Device) -> None:
    runtime = device.create_running()
    before = tag(device, runtime["ID"])
    device.one.call("vm.action", "poweroff-hard", runtime["FAAS"]["VM_ID"])
    device.read_until(runtime["ID"], "ERROR")
    assert tag(device, runtime["ID"]) != before


def test_an_unchanged_runtime_is_a_304(device: Device) -> None:
    runtime = device.create_running()
    seen = tag(device, runtime["ID"])
    again = device.get(runtime["ID"], headers={"If-None-Match": seen})
    assert (again.status, again.content) == (304, b"")
    other = device.get(runtime["ID"], headers={"If-None-Match": '"other"'})
    assert other.status == 200


def test_an_update_with_a_matching_tag_returns_the_new_tag(device: Device) -> None:
    runtime = device.create_running()
    answer = put(device, runtime["ID"], tag(device, runtime["ID"]), NAME="other")
    assert answer.status == 200
    assert answer.headers["ETag"] == tag(device, runtime["ID"])


def test_a_lost_update_is_prevented(device: Device) -> None:
    runtime = device.create_running()
    seen = tag(device, runtime["ID"])
    assert put(device, runtime["ID"], seen, NAME="first").status == 200
    assert put(device, runtime["ID"], seen, NAME="second", FAAS={"CPU": 2}).status == 412
    after = device.read(runtime["ID"])
    assert (after["NAME"], after["FAAS"]["CPU"]) == ("first", 1)


def test_a_delete_with_another_tag_is_prevented(device: Device) -> None:
    runtime = device.create_running()
    seen = tag(device, runtime["ID"])
    device.update(runtime["ID"], NAME="other")
    assert device.delete(runtime["ID"], headers={"If-Match": seen}).status == 412
    assert device.read(runtime["ID"])["FAAS"]["STATE"] == "RUNNING"
    fresh = {"If-Match": tag(device, runtime["ID"])}
    assert device.delete(runtime["ID"], headers=fresh).status == 204


@pytest.mark.parametrize(
    ("if_match", "status"),
    [("*", 200), ('"a", {}', 200), ("{}", 200), ('"a"', 412), ("W/{}", 412), ("a, b", 412)],
)
def test_all_forms_of_if_match(device: Device, if_match: str, status: int) -> None:
    runtime = device.create_running()
    sent = if_match.format(tag(device, runtime["ID"]))
    assert put(device, runtime["ID"], sent, NAME="other").status == status


def test_existence_and_the_body_are_checked_first(device: Device) -> None:
    assert put(device, 999_999, '"a"', NAME="other").status == 404
    runtime = device.create_running()
    assert put(device, runtime["ID"], '"a"', NAME=7).status == 400


def test_it_costs_no_additional_call(device: Device) -> None:
    runtime = device.create_running(FAAS=small())
    seen = tag(device, runtime["ID"])
    with device.counted() as without:
        device.update(runtime["ID"], NAME="one")
    seen = tag(device, runtime["ID"])
    with device.counted() as with_it:
        assert put(device, runtime["ID"], seen, NAME="two").status == 200
    assert with_it == without
