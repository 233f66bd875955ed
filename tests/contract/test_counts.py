"""The number of calls to OpenNebula: the sandbox counts every one."""

from __future__ import annotations

from collections import Counter

import pytest

from provision_engine.sandbox import Sandbox

from .device import PATH, Device, data, small


def counted(sandbox: Sandbox) -> Counter[str]:
    """The requests, by backend."""
    return Counter(call.backend for call in sandbox.calls if not call.is_part)


def test_a_read_is_one_request_to_oned_and_none_to_oneflow(
    device: Device, sandbox: Sandbox
) -> None:
    runtime = device.create_running(FAAS=small(), DAAS=data())
    sandbox.clear_calls()
    device.read(runtime["ID"])
    assert counted(sandbox) == {"oned": 1}


def test_a_read_changes_nothing(device: Device, sandbox: Sandbox) -> None:
    runtime = device.create_running()
    sandbox.clear_calls()
    for _ in range(3):
        device.read(runtime["ID"])
    methods = {call.method for call in sandbox.calls}
    assert methods == {"system.multicall", "one.document.info", "one.vmpool.infoset"}


@pytest.mark.parametrize("members", [{"FAAS": small()}, {"FAAS": small(), "DAAS": data()}])
def test_one_create_makes_one_call_of_oneflow(
    device: Device, sandbox: Sandbox, members: dict
) -> None:
    sandbox.clear_calls()
    device.create(**members)
    assert [c.method for c in sandbox.calls if c.backend == "oneflow"] == ["POST"]


def test_one_create_makes_few_calls_of_oned(device: Device, sandbox: Sandbox) -> None:
    sandbox.clear_calls()
    device.create()
    assert counted(sandbox)["oned"] <= 12


def test_a_create_asks_for_the_version_once_and_for_a_known_user_never(
    device: Device, sandbox: Sandbox
) -> None:
    device.create()
    sandbox.clear_calls()
    device.create()
    methods = Counter(call.method for call in sandbox.calls)
    assert (methods["one.system.version"], methods["one.user.info"]) == (1, 0)
    assert sandbox.calls[0].method == "one.system.version"


@pytest.mark.parametrize("key", [{}, {"Idempotency-Key": "key"}], ids=["", "key"])
def test_a_create_with_a_wrong_password_makes_one_call(
    device: Device, sandbox: Sandbox, key: dict[str, str]
) -> None:
    sandbox.clear_calls()
    body = {"SERVERLESS_RUNTIME": {"FAAS": small()}}
    wrong = (b"devuser", b"wrong")
    assert device.request("POST", PATH, body, auth=wrong, headers=key).status_code == 401
    assert counted(sandbox) == {"oned": 1}


def test_one_delete_makes_one_call_of_oneflow(device: Device, sandbox: Sandbox) -> None:
    runtime = device.create_running()
    # oneflow notices a little later than oned that the VM runs.
    from .opennebula import until

    until(lambda: (sandbox.store.service(runtime["SERVICE_ID"]) or {}).get("state") == 2)
    sandbox.clear_calls()
    assert device.delete(runtime["ID"]).status_code == 204
    assert [c.method for c in sandbox.calls if c.backend == "oneflow"] == ["DELETE"]


def test_an_update_makes_no_call_of_oneflow(device: Device, sandbox: Sandbox) -> None:
    runtime = device.create_running()
    sandbox.clear_calls()
    device.update(runtime["ID"], FAAS={"CPU": 2}, NAME="new", DEVICE_INFO={"LATENCY_TO_PE": 1})
    assert counted(sandbox)["oneflow"] == 0


@pytest.mark.parametrize(
    "path", ["/", "/server/version", "/server/config", "/serverless-runtimes/schema"]
)
def test_requests_without_a_login_make_no_calls(
    device: Device, sandbox: Sandbox, path: str
) -> None:
    sandbox.clear_calls()
    assert device.request("GET", path, auth=lambda request: request).status_code == 200
    assert counted(sandbox) == {}


def test_every_call_carries_the_callers_own_credentials(
    device: Device, stranger: Device, sandbox: Sandbox
) -> None:
    runtime = device.create_running()
    sandbox.clear_calls()
    device.update(runtime["ID"], FAAS={"CPU": 2})
    device.delete(runtime["ID"])
    assert {call.user for call in sandbox.calls} - {""} == {device.user.name}  # "": a multicall
    sandbox.clear_calls()
    stranger.get(runtime["ID"])
    stranger.post(FAAS=small(FLAVOUR="none"))
    assert {call.user for call in sandbox.calls} == {stranger.user.name}
