"""The number of calls to OpenNebula: the sandbox counts every one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest

from tests.support.opennebula import calls_of

from .device import PATH, WRONG, Device, Json, data, small

READ = {"one.document.info": 1, "one.vmpool.infoset": 1}


def of_oneflow(calls: Counter[str]) -> list[str]:
    """Method and path of the calls of oneflow."""
    return [call for call in calls.elements() if not call.startswith("one.")]


@pytest.mark.parametrize("members", [{"FAAS": small()}, {"FAAS": small(), "DAAS": data()}])
def test_one_read_makes_two_calls_of_oned_which_change_nothing(
    device: Device, members: Json
) -> None:
    runtime = device.create_running(**members)
    with device.counted() as calls:
        device.read(runtime["ID"])
    assert calls == READ


@pytest.mark.parametrize("members", [{"FAAS": small()}, {"FAAS": small(), "DAAS": data()}])
def test_one_create_makes_one_call_of_oneflow_and_few_of_oned(
    device: Device, members: Json
) -> None:
    with device.counted() as calls:
        device.create(**members)
    (made,) = of_oneflow(calls)
    assert made.startswith("POST ")
    assert calls.total() <= 13


def test_a_create_asks_for_the_version_once_and_for_a_known_user_never(device: Device) -> None:
    device.create()
    device.sandbox.clear_calls()
    with device.counted() as calls:
        device.create()
    assert (calls["one.system.version"], calls["one.user.info"]) == (1, 0)
    assert calls_of(device.sandbox)[0].method == "one.system.version"


@pytest.mark.parametrize("key", [{}, {"Idempotency-Key": "key"}], ids=["", "key"])
def test_a_create_with_a_wrong_password_makes_one_call(device: Device, key: dict[str, str]) -> None:
    with device.counted() as calls:
        answer = device.request("POST", PATH, {"FAAS": small()}, user=WRONG, headers=key)
    assert answer.status == 401
    assert calls.total() == 1
    assert of_oneflow(calls) == []


def test_one_delete_makes_one_call_of_oneflow(device: Device) -> None:
    runtime = device.create_running()
    # oneflow notices a little later than oned that the VM runs.
    device.one.until_service_runs(runtime["SERVICE_ID"])
    with device.counted() as calls:
        assert device.delete(runtime["ID"]).status == 204
    assert of_oneflow(calls) == [f"DELETE /service/{runtime['SERVICE_ID']}"]


def test_an_update_makes_no_call_of_oneflow(device: Device) -> None:
    runtime = device.create_running()
    with device.counted() as calls:
        device.update(runtime["ID"], FAAS={"CPU": 2}, NAME="new", DEVICE_INFO={"LATENCY_TO_PE": 1})
    assert of_oneflow(calls) == []


@pytest.mark.parametrize("path", ["/", "/server/version", "/server/config", f"{PATH}/schema"])
def test_requests_without_a_login_make_no_calls(device: Device, path: str) -> None:
    """Devices time the first one to measure their latency to the engine."""
    with device.counted() as calls:
        assert device.request("GET", path, user=None).status == 200
    assert calls.total() == 0


def test_every_call_carries_the_callers_own_credentials(device: Device, stranger: Device) -> None:
    runtime = device.create_running()
    device.sandbox.clear_calls()
    device.update(runtime["ID"], FAAS={"CPU": 2})
    device.delete(runtime["ID"])
    assert {call.user for call in calls_of(device.sandbox)} == {device.user.name}
    device.sandbox.clear_calls()
    stranger.get(runtime["ID"])
    stranger.post(FAAS=small(FLAVOUR="none"))
    assert {call.user for call in calls_of(device.sandbox)} == {stranger.user.name}


def requests(device: Device, change: Callable[[Device, int], object]) -> int:
    """How many requests a change of a running runtime sends to OpenNebula."""
    runtime = device.create_running()
    device.read(runtime["ID"])
    device.one.until_service_runs(runtime["SERVICE_ID"])
    device.sandbox.clear_calls()
    change(device, runtime["ID"])
    return sum(not call.is_part for call in device.sandbox.calls)


@pytest.mark.parametrize(
    ("change", "most"),
    [
        (lambda device, number: device.read(number), 1),
        (lambda device, number: device.request("GET", f"{PATH}/{number}/timeline"), 2),
        (lambda device, number: device.update(number, NAME="new"), 6),
        (lambda device, number: device.request("POST", f"{PATH}/{number}/suspend"), 5),
        (lambda device, number: device.delete(number), 9),
    ],
    ids=["read", "timeline", "update", "suspend", "delete"],
)
def test_what_is_read_together_travels_together(
    device: Device, change: Callable[[Device, int], object], most: int
) -> None:
    assert requests(device, change) <= most
