"""?wait=SECONDS on POST, GET and PUT."""

from __future__ import annotations

import base64
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import pytest

from provision_engine.sandbox import Sandbox

from .conftest import Stage
from .device import PATH, Device, data, small
from .lifetime import beside, counted, ids, listed, release, stuck, waiting
from .opennebula import OpenNebula, until
from .settings import ENGINE, USER

LOOK = ("one.document.info", "one.vmpool.infoset")
"""The calls of one read of a runtime, once each."""
SHORTEST_PAUSE_SECONDS = 0.02
"""Between two polls."""


def test_a_create_that_waits_returns_the_current_state(device: Device) -> None:
    answer = device.request(
        "POST", f"{PATH}?wait=60", {"SERVERLESS_RUNTIME": {"FAAS": small(), "DAAS": data()}}
    )
    runtime = answer.json()["SERVERLESS_RUNTIME"]
    device.made.append(runtime["ID"])
    assert answer.status_code == 201
    assert [runtime[role]["STATE"] for role in ("FAAS", "DAAS")] == ["RUNNING", "RUNNING"]
    assert runtime["FAAS"]["ENDPOINT"]


def test_a_read_that_waits_returns_when_all_functions_run(device: Device, sandbox: Sandbox) -> None:
    runtime = stuck(device, DAAS=data())
    with beside(lambda: waiting(device, runtime["ID"], 60)) as answer:
        release(sandbox, runtime)
        until(lambda: device.read(runtime["ID"])["FAAS"]["STATE"] == "RUNNING")
        assert not answer.done()
        sandbox.store.set_user_template(
            runtime["DAAS"]["VM_ID"], 'SCHED_REQUIREMENTS="FREE_CPU > 0"'
        )
    assert answer.result().json() == device.get(runtime["ID"]).json()
    assert answer.result().json()["SERVERLESS_RUNTIME"]["DAAS"]["STATE"] == "RUNNING"
    assert answer.result().headers["ETag"] == device.get(runtime["ID"]).headers["ETag"]


def test_a_failure_ends_the_wait(device: Device, sandbox: Sandbox) -> None:
    sandbox.faults.drivers.set("boot", fails=True)
    runtime = device.create()
    answer = device.request("GET", f"{PATH}/{runtime['ID']}?wait=60")
    assert answer.json()["SERVERLESS_RUNTIME"]["FAAS"]["STATE"] == "ERROR"


def test_when_the_time_is_over_the_current_state_is_returned(
    device: Device, sandbox: Sandbox
) -> None:
    runtime = stuck(device)
    answer = device.request("GET", f"{PATH}/{runtime['ID']}?wait=0.3")
    assert answer.status_code == 200
    assert answer.json()["SERVERLESS_RUNTIME"]["FAAS"]["STATE"] == "PENDING"
    release(sandbox, runtime)


def test_an_update_that_waits_returns_when_it_is_done(device: Device, sandbox: Sandbox) -> None:
    runtime = device.create_running()
    answer = device.request(
        "PUT", f"{PATH}/{runtime['ID']}?wait=60", {"SERVERLESS_RUNTIME": {"FAAS": {"CPU": 2}}}
    )
    assert answer.status_code == 200
    updated = answer.json()["SERVERLESS_RUNTIME"]["FAAS"]
    assert (updated["STATE"], updated["CPU"]) == ("RUNNING", 2)


def test_a_wait_for_a_settled_runtime_reads_it_once(device: Device, sandbox: Sandbox) -> None:
    runtime = device.create_running()
    with counted(sandbox) as calls:
        device.request("GET", f"{PATH}/{runtime['ID']}?wait=60")
    assert calls == dict.fromkeys(LOOK, 1)


@pytest.mark.parametrize("seconds", ["-1", "soon", "nan", "inf", "1e999", ""])
@pytest.mark.parametrize("method", ["POST", "GET", "PUT"])
def test_an_invalid_wait_is_rejected_and_nothing_is_done(
    device: Device, opennebula: OpenNebula, method: str, seconds: str
) -> None:
    path = PATH if method == "POST" else f"{PATH}/{device.create()['ID']}"
    before = opennebula.holdings()
    answer = device.request(
        method, f"{path}?wait={seconds}", {"SERVERLESS_RUNTIME": {"FAAS": small()}}
    )
    assert answer.status_code == 400
    assert "wait" in answer.json()["message"]
    assert opennebula.holdings() == before


# ---- cheap ---------------------------------------------------------------------------------


def test_requests_that_wait_for_the_same_runtime_share_its_reads(
    device: Device, sandbox: Sandbox
) -> None:
    """Eight cost less than two that poll separately."""
    runtime = stuck(device)
    with counted(sandbox) as calls, ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: waiting(device, runtime["ID"], 1), range(8)))
    assert [answer.status_code for answer in answers] == [200] * 8
    # Each of them reads it once before it waits.
    assert 8 < calls["one.vmpool.infoset"] <= 8 + 2 * most_polls(1)
    release(sandbox, runtime)


def test_the_intervals_grow(device: Device, sandbox: Sandbox) -> None:
    """A slow machine polls less often than they allow, but never more often."""
    runtime = stuck(device)
    with counted(sandbox) as calls:
        waiting(device, runtime["ID"], 3)
    assert set(calls) == set(LOOK)
    assert 3 < calls["one.vmpool.infoset"] <= most_polls(3) < 3 / SHORTEST_PAUSE_SECONDS / 3
    release(sandbox, runtime)


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
def narrow(stage: Stage) -> Iterator[Device]:
    """A client of an engine in which one request may wait at a time."""
    if ENGINE:
        pytest.skip("the running engine has its own configuration")
    further = f"{stage.configuration()}wait: {{max_requests: 1, max_seconds: 60}}\n"
    with stage.another_engine(further) as url:
        yield Device(url, USER)


def test_a_waiting_request_leaves_slots_for_others(
    device: Device, narrow: Device, opennebula: OpenNebula, sandbox: Sandbox
) -> None:
    running = device.create_running()
    runtime = stuck(device)
    path = f"{PATH}/{runtime['ID']}"
    looks = watched(sandbox)
    with beside(lambda: waiting(narrow, runtime["ID"], 60)) as first:
        until(looks)
        refused = narrow.request("GET", f"{path}?wait=1")
        assert refused.status_code == 429
        assert int(refused.headers["Retry-After"]) > 0
        # Requests that do not wait are served as usual.
        assert narrow.read(runtime["ID"])["FAAS"]["STATE"] == "PENDING"
        assert ids(listed(narrow)) == ids([runtime, running])
        # A request that has nothing to wait for needs no slot.
        assert narrow.request("GET", f"{PATH}/{running['ID']}?wait=9").status_code == 200
        # A create that gets no slot creates nothing.
        before = opennebula.holdings()
        answer = narrow.request("POST", f"{PATH}?wait=9", {"SERVERLESS_RUNTIME": {"FAAS": small()}})
        assert answer.status_code == 429
        assert opennebula.holdings() == before
        release(sandbox, runtime)
    assert first.result().json()["SERVERLESS_RUNTIME"]["FAAS"]["STATE"] == "RUNNING"
    assert narrow.request("GET", f"{path}?wait=1").status_code == 200


def test_one_user_leaves_slots_to_others(
    stage: Stage, device: Device, stranger: Device, sandbox: Sandbox
) -> None:
    """Of two slots one user gets one, as the default share is three quarters."""
    mine, theirs = stuck(device), stuck(stranger)
    further = f"{stage.configuration()}wait: {{max_requests: 2, max_seconds: 60}}\n"
    with stage.another_engine(further) as url:
        one, other = Device(url, device.user), Device(url, stranger.user)
        looks = watched(sandbox)
        with beside(lambda: waiting(one, mine["ID"], 60)) as first:
            until(looks)
            refused = one.request("GET", f"{PATH}/{mine['ID']}?wait=1")
            assert refused.status_code == 429
            assert "limits.user_share" in refused.json()["message"]
            assert other.request("GET", f"{PATH}/{theirs['ID']}?wait=0.01").status_code == 200
            release(sandbox, mine)
        assert first.result().status_code == 200
    assert stranger.delete(theirs["ID"]).status_code == 204


def test_a_client_that_disconnects_frees_its_slot(
    device: Device, narrow: Device, sandbox: Sandbox
) -> None:
    runtime = stuck(device)
    path = f"{PATH}/{runtime['ID']}"
    token = base64.b64encode(USER.session.encode()).decode()
    head = f"GET {path}?wait=60 HTTP/1.1\r\nHost: here\r\nAuthorization: Basic {token}\r\n\r\n"
    address = urlsplit(narrow.url)
    looks = watched(sandbox)
    with socket.create_connection((address.hostname, address.port), 10) as connection:
        connection.sendall(head.encode())
        until(looks)
        assert narrow.request("GET", f"{path}?wait=0.01").status_code == 429
    assert until(lambda: narrow.request("GET", f"{path}?wait=0.01").status_code == 200)
    release(sandbox, runtime)


def test_a_wait_is_limited_by_the_configuration(
    stage: Stage, device: Device, sandbox: Sandbox
) -> None:
    runtime = stuck(device)
    with stage.another_engine(f"{stage.configuration()}wait: {{max_seconds: 1}}\n") as url:
        answer = waiting(Device(url, USER), runtime["ID"], 100_000)
    assert answer.json()["SERVERLESS_RUNTIME"]["FAAS"]["STATE"] == "PENDING"
    release(sandbox, runtime)


# ---- what is done is done ------------------------------------------------------------------


def test_a_create_is_reported_although_the_wait_failed(device: Device, sandbox: Sandbox) -> None:
    sandbox.faults.set("oned", "error", method="one.vmpool.infoset")
    answer = device.request("POST", f"{PATH}?wait=60", {"SERVERLESS_RUNTIME": {"FAAS": small()}})
    sandbox.faults.clear()
    assert answer.status_code == 201
    runtime = answer.json()["SERVERLESS_RUNTIME"]
    device.made.append(runtime["ID"])
    assert runtime["FAAS"]["STATE"] == "PENDING"


def test_the_end_of_its_vm_ends_the_wait(device: Device, sandbox: Sandbox) -> None:
    """As in the middle of a delete, when the VM has ended and the runtime still exists."""
    runtime = stuck(device)
    with beside(lambda: waiting(device, runtime["ID"], 60)) as answer:
        sandbox.store.put_vm(runtime["FAAS"]["VM_ID"], "DONE")
    assert answer.result().status_code == 200
    assert answer.result().json()["SERVERLESS_RUNTIME"]["FAAS"]["STATE"] == "ERROR"


def test_the_end_of_the_runtime_ends_the_wait(
    device: Device, sandbox: Sandbox, opennebula: OpenNebula
) -> None:
    """As at the end of a delete, when the runtime's document is removed."""
    runtime = stuck(device)
    with beside(lambda: waiting(device, runtime["ID"], 60)) as answer:
        opennebula.call("document.delete", runtime["ID"])
    assert answer.result().status_code == 404
    opennebula.end_service(runtime["SERVICE_ID"])
