"""POST /serverless-runtimes/{id}/suspend and /resume."""

from __future__ import annotations

import pytest

from tests.support.client import ROLES, states

from .device import Device, Json, data, ids, small


def change(device: Device, runtime: Json, what: str, status: int = 200) -> Json:
    answer = device.act(runtime["ID"], f"{what}?wait=90")
    assert answer.status == status, answer.text
    body: Json = answer.json
    return body["SERVERLESS_RUNTIME"] if status == 200 else body


def test_all_functions_are_suspended_and_resumed(device: Device) -> None:
    runtime = device.create_running(FAAS=small(), DAAS=data())
    suspended = change(device, runtime, "suspend")
    assert states(suspended) == {"SUSPENDED"}
    assert suspended["FAAS"]["REASON_CODE"] == "SUSPENDED"
    assert "ERROR" not in suspended["FAAS"]
    assert states(change(device, runtime, "suspend")) == {"SUSPENDED"}
    resumed = change(device, runtime, "resume")
    assert states(resumed) == {"RUNNING"}
    assert [resumed[r]["VM_ID"] for r in ROLES] == [runtime[r]["VM_ID"] for r in ROLES]
    assert states(change(device, runtime, "resume")) == {"RUNNING"}


def test_a_suspended_runtime_is_listed_as_such(device: Device) -> None:
    runtime = device.create_running()
    change(device, runtime, "suspend")
    assert ids(device.list(state="SUSPENDED")) == [runtime["ID"]]


@pytest.mark.parametrize("method", ["PUT", "recover"])
def test_a_suspended_runtime_says_what_to_do(device: Device, method: str) -> None:
    runtime = device.create_running()
    change(device, runtime, "suspend")
    if method == "PUT":
        answer = device.put(runtime["ID"], FAAS={"CPU": 2})
    else:
        answer = device.act(runtime["ID"], "recover")
    assert answer.status == 422
    assert "/resume" in answer.json["message"]


def test_a_suspended_runtime_is_deleted(device: Device) -> None:
    runtime = device.create_running(FAAS=small(), LEASE={"TTL": 1000})
    suspended = change(device, runtime, "suspend")
    assert suspended["LEASE"] == runtime["LEASE"]
    answer = device.delete(runtime["ID"], "?wait=60")
    assert answer.status == 204
    assert device.one.vm_state(runtime["FAAS"]["VM_ID"]) == "DONE"


@pytest.mark.parametrize("action", ["recover", "suspend"])
def test_a_transient_state_is_locked(device: Device, action: str) -> None:
    runtime = device.create_stuck()
    answer = device.act(runtime["ID"], action)
    assert answer.status == 423
    assert int(answer.headers["Retry-After"]) > 0


def test_a_failed_runtime_is_recovered_and_not_resumed(device: Device) -> None:
    runtime = device.create_running()
    device.one.call("vm.action", "poweroff-hard", runtime["FAAS"]["VM_ID"])
    device.read_until(runtime["ID"], "ERROR")
    answer = change(device, runtime, "resume", 422)
    assert "/recover" in answer["message"]
