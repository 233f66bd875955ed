"""?wait=SECONDS on POST, GET and PUT."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator

import pytest

from provision_engine.sandbox import Sandbox
from tests.support.client import authorization
from tests.support.waiting import wait_until

from .device import PATH, Device, beside, data, ids, small
from .settings import USER

LOOK = ("one.document.info", "one.vmpool.infoset")
"""The calls of one read of a runtime, once each."""
SHORTEST_PAUSE_SECONDS = 0.02
"""Between two polls."""


def test_a_create_that_waits_returns_the_current_state(device: Device) -> None:
    answer = device.post("?wait=60", FAAS=small(), DAAS=data())
    runtime = answer.runtime
    assert answer.status == 201
    assert [runtime[role]["STATE"] for role in ("FAAS", "DAAS")] == ["RUNNING", "RUNNING"]
    assert runtime["FAAS"]["ENDPOINT"]


def test_a_read_that_waits_returns_when_all_functions_run(device: Device) -> None:
    runtime = device.create_stuck(DAAS=data())
    with beside(lambda: device.get(runtime["ID"], "?wait=60")) as answer:
        device.release(runtime)
        wait_until(lambda: device.read(runtime["ID"])["FAAS"]["STATE"] == "RUNNING")
        assert not answer.done()
        device.sandbox.store.set_user_template(
            runtime["DAAS"]["VM_ID"], 'SCHED_REQUIREMENTS="FREE_CPU > 0"'
        )
    assert answer.result().json == device.get(runtime["ID"]).json
    assert answer.result().runtime["DAAS"]["STATE"] == "RUNNING"
    assert answer.result().headers["ETag"] == device.get(runtime["ID"]).headers["ETag"]


def test_a_failure_ends_the_wait(device: Device) -> None:
    device.sandbox.faults.drivers.set("boot", fails=True)
    runtime = device.create()
    answer = device.get(runtime["ID"], "?wait=60")
    assert answer.runtime["FAAS"]["STATE"] == "ERROR"


def test_when_the_time_is_over_the_current_state_is_returned(device: Device) -> None:
    runtime = device.create_stuck()
    answer = device.get(runtime["ID"], "?wait=0.3")
    assert answer.status == 200
    assert answer.runtime["FAAS"]["STATE"] == "PENDING"
    device.release(runtime)


def test_an_update_that_waits_returns_when_it_is_done(device: Device) -> None:
    runtime = device.create_running()
    answer = device.request("PUT", f"{PATH}/{runtime['ID']}?wait=60", {"FAAS": {"CPU": 2}})
    assert answer.status == 200
    updated = answer.runtime["FAAS"]
    assert (updated["STATE"], updated["CPU"]) == ("RUNNING", 2)


def test_a_wait_for_a_settled_runtime_reads_it_once(device: Device) -> None:
    runtime = device.create_running()
    with device.counted() as calls:
        device.get(runtime["ID"], "?wait=60")
    assert calls == dict.fromkeys(LOOK, 1)


@pytest.mark.parametrize("seconds", ["-1", "soon", "nan", "inf", "1e999", ""])
@pytest.mark.parametrize("method", ["POST", "GET", "PUT"])
def test_an_invalid_wait_is_rejected_and_nothing_is_done(
    device: Device, method: str, seconds: str
) -> None:
    path = PATH if method == "POST" else f"{PATH}/{device.create()['ID']}"
    before = device.one.holdings()
    answer = device.request(method, f"{path}?wait={seconds}", {"FAAS": small()})
    assert answer.status == 400
    assert "wait" in answer.json["message"]
    assert device.one.holdings() == before


# ---- cheap ---------------------------------------------------------------------------------


def test_the_intervals_grow(device: Device) -> None:
    """A slow machine polls less often than they allow, but never more often."""
    runtime = device.create_stuck()
    with device.counted() as calls:
        device.get(runtime["ID"], "?wait=3")
    assert set(calls) == set(LOOK)
    assert 3 < calls["one.vmpool.infoset"] <= most_polls(3) < 3 / SHORTEST_PAUSE_SECONDS / 3
    device.release(runtime)


def most_polls(seconds: float) -> int:
    """The number of polls if they take no time: one at each end, and one after each pause, which
    lasts a tenth of the time already waited.
    """
    polls, waited = 2, 0.0
    while waited < seconds:
        waited += max(SHORTEST_PAUSE_SECONDS, waited / 10)
        polls += 1
    return polls


def watched(sandbox: Sandbox) -> Callable[[], bool]:
    """Whether some request has started to poll."""
    before = len(sandbox.calls)
    return lambda: [c.method for c in sandbox.calls[before:]].count("one.vmpool.infoset") > 2


# ---- places --------------------------------------------------------------------------------


@pytest.fixture
def narrow(device: Device) -> Iterator[Device]:
    """A client of an engine in which one request may wait at a time."""
    with device.another_engine(wait={"max_requests": 1, "max_seconds": 60}) as narrow:
        yield narrow


def test_a_waiting_request_leaves_slots_for_others(device: Device, narrow: Device) -> None:
    running = device.create_running()
    runtime = device.create_stuck()
    path = f"{PATH}/{runtime['ID']}"
    looks = watched(device.sandbox)
    with beside(lambda: narrow.get(runtime["ID"], "?wait=60")) as first:
        wait_until(looks)
        refused = narrow.request("GET", f"{path}?wait=1")
        assert refused.status == 429
        assert int(refused.headers["Retry-After"]) > 0
        # Requests that do not wait are served as usual.
        assert narrow.read(runtime["ID"])["FAAS"]["STATE"] == "PENDING"
        assert ids(narrow.list()) == ids([runtime, running])
        # A request that has nothing to wait for needs no slot.
        assert narrow.get(running["ID"], "?wait=9").status == 200
        # A create that gets no slot creates nothing.
        before = device.one.holdings()
        answer = narrow.post("?wait=9", FAAS=small())
        assert answer.status == 429
        assert device.one.holdings() == before
        device.release(runtime)
    assert first.result().runtime["FAAS"]["STATE"] == "RUNNING"
    assert narrow.request("GET", f"{path}?wait=1").status == 200


@pytest.mark.usefixtures("only_sandbox")
def test_one_user_leaves_slots_to_others(device: Device, stranger: Device) -> None:
    """Of two slots one user gets one, as the default share is three quarters."""
    mine, theirs = device.create_stuck(), stranger.create_stuck()
    with device.another_engine(wait={"max_requests": 2, "max_seconds": 60}) as one:
        other = device.stage.device(stranger.user, one.url)
        looks = watched(device.sandbox)
        with beside(lambda: one.get(mine["ID"], "?wait=60")) as first:
            wait_until(looks)
            refused = one.get(mine["ID"], "?wait=1")
            assert refused.status == 429
            assert "limits.user_share" in refused.json["message"]
            assert other.get(theirs["ID"], "?wait=0.01").status == 200
            device.release(mine)
        assert first.result().status == 200
    assert stranger.delete(theirs["ID"]).status == 204


def test_a_client_that_disconnects_frees_its_slot(device: Device, narrow: Device) -> None:
    runtime = device.create_stuck()
    path = f"{PATH}/{runtime['ID']}"
    login = authorization(USER)["Authorization"]
    head = f"GET {path}?wait=60 HTTP/1.1\r\nHost: here\r\nAuthorization: {login}\r\n\r\n"
    looks = watched(device.sandbox)
    with socket.create_connection(("127.0.0.1", narrow.port), 10) as connection:
        connection.sendall(head.encode())
        wait_until(looks)
        assert narrow.request("GET", f"{path}?wait=0.01").status == 429
    wait_until(lambda: narrow.request("GET", f"{path}?wait=0.01").status == 200)
    device.release(runtime)


def test_a_wait_is_limited_by_the_configuration(device: Device) -> None:
    runtime = device.create_stuck()
    with device.another_engine(wait={"max_seconds": 1}) as other:
        answer = other.get(runtime["ID"], "?wait=100000")
    assert answer.runtime["FAAS"]["STATE"] == "PENDING"
    device.release(runtime)


# ---- what is done is done ------------------------------------------------------------------


def test_a_create_is_reported_although_the_wait_failed(device: Device) -> None:
    device.sandbox.faults.set("oned", "error", method="one.vmpool.infoset")
    answer = device.post("?wait=60", FAAS=small())
    device.sandbox.faults.clear()
    assert answer.status == 201
    assert answer.runtime["FAAS"]["STATE"] == "PENDING"


def test_the_end_of_its_vm_ends_the_wait(device: Device) -> None:
    """As in the middle of a delete, when the VM has ended and the runtime still exists."""
    runtime = device.create_stuck()
    with beside(lambda: device.get(runtime["ID"], "?wait=60")) as answer:
        device.sandbox.store.put_vm(runtime["FAAS"]["VM_ID"], "DONE")
    assert answer.result().status == 200
    assert answer.result().runtime["FAAS"]["STATE"] == "ERROR"


def test_the_end_of_the_runtime_ends_the_wait(device: Device) -> None:
    """As at the end of a delete, when the runtime's document is removed."""
    runtime = device.create_stuck()
    with beside(lambda: device.get(runtime["ID"], "?wait=60")) as answer:
        device.one.call("document.delete", runtime["ID"])
    assert answer.result().status == 404
    device.one.end_service(runtime["SERVICE_ID"])
