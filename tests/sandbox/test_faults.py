"""Faults of the backends, the records of calls, and sockets."""

from __future__ import annotations

import http.client
import socket
import threading
from collections.abc import Iterator
from urllib.parse import urlsplit
from xml.parsers.expat import ExpatError

import pytest

from provision_engine.sandbox import CallRecord, Sandbox
from provision_engine.sandbox.faults import Fault, Faults
from tests.support.opennebula import RUNTIME, OpenNebula
from tests.support.users import OTHER, USER
from tests.support.waiting import WAIT_SECONDS, wait_until

BATCH = (
    ("document.update", 30, 'A="1"', 1),
    ("document.rename", 30, "renamed"),
    ("document.unlock", 30),
)
BROKEN = (OSError, http.client.HTTPException, ExpatError)
"""What a client sees of a response that is cut, or is garbage."""


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    """Without a manual clock."""
    with Sandbox() as running:
        yield running


@pytest.fixture
def locked(sandbox: Sandbox, one: OpenNebula) -> None:
    """A document that a multicall changes, renames and unlocks."""
    sandbox.world.store.documents.next_id = 30
    one.call("document.allocate", 'NAME="old"', RUNTIME)
    one.call("document.lock", 30, 3, True)
    sandbox.clear_calls()


def done(sandbox: Sandbox) -> list[bool]:
    """Which calls of the batch had their effect?"""
    (document,) = sandbox.store.documents()
    return [document.template.text("A") == "1", document.name == "renamed", not document.lock]


def test_a_backend_refuses_connections_until_it_is_cleared(
    sandbox: Sandbox, one: OpenNebula
) -> None:
    """Also those that are open."""
    with connected(sandbox.oned_url) as waiting:
        wait_until(lambda: sandbox.connections["oned"] == 1)
        sandbox.faults.set("oned", "refuse")
        assert waiting.recv(1) == b""
    with pytest.raises(ConnectionError):
        one.version()
    assert one.flow("GET", "/service").status_code == 200
    sandbox.faults.clear("oned")
    assert one.version() == "7.4.0"


@pytest.mark.parametrize(("kind", "made"), [("cut", 1), ("garbage", 0)])
def test_a_response_is_lost_after_the_effect_or_is_garbage_without_one(
    sandbox: Sandbox, one: OpenNebula, kind: str, made: int
) -> None:
    sandbox.faults.set("oned", kind, method="one.document.allocate", times=1)
    with pytest.raises(BROKEN):
        one.call("document.allocate", "A=1", RUNTIME)
    assert len(sandbox.store.documents()) == made
    one.call("document.allocate", "A=1", RUNTIME)


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ("cut:method=one.document.update", [True, False, False]),
        ("cut:method=one.document.unlock", [True, True, True]),
        ("cut:method=system.multicall", [True, True, True]),
        ("cut", [True, True, True]),
        ("garbage:method=system.multicall", [False, False, False]),
    ],
)
@pytest.mark.usefixtures("locked")
def test_a_multicall_whose_response_is_lost(
    sandbox: Sandbox, one: OpenNebula, fault: str, expected: list[bool]
) -> None:
    sandbox.faults.set_text(f"oned:{fault}")
    with pytest.raises(BROKEN):
        one.multicall(*BATCH)
    assert done(sandbox) == expected


@pytest.mark.usefixtures("locked")
def test_a_multicall_that_hangs_in_the_middle(sandbox: Sandbox, one: OpenNebula) -> None:
    fault = sandbox.faults.set("oned", "hang", method="one.document.rename")

    def call() -> None:
        with pytest.raises(BROKEN):
            one.multicall(*BATCH)

    thread = threading.Thread(target=call)
    thread.start()
    wait_until(lambda: fault.hits == 1)
    assert done(sandbox) == [True, False, False]
    sandbox.faults.clear()
    thread.join(WAIT_SECONDS)


@pytest.mark.parametrize(
    ("kind", "result"),
    [
        ("error", [[False, "Internal Server Error", 0x2000, -1, -1]]),
        ("garbage", "neither result nor fault"),
    ],
)
@pytest.mark.usefixtures("locked")
def test_one_call_of_a_multicall_fails(
    sandbox: Sandbox, one: OpenNebula, kind: str, result: object
) -> None:
    sandbox.faults.set("oned", kind, method="one.document.rename")
    assert one.multicall(*BATCH) == [[[True, 30, 0]], result, [[True, 30, 0]]]
    assert done(sandbox) == [True, False, True]


@pytest.mark.usefixtures("locked")
def test_a_multicall_is_recorded_and_then_each_of_its_calls(
    sandbox: Sandbox, one: OpenNebula
) -> None:
    """Around each of which `on_call` is called."""
    told = []

    def on_call(record: CallRecord, moment: str) -> None:
        told.append((record.method, moment, sum(done(sandbox))))

    sandbox.on_call = on_call
    one.multicall(*BATCH)
    parts = [f"one.{method}" for method, *_ in BATCH]
    assert [(c.method, c.user, c.is_part) for c in sandbox.calls] == [
        ("system.multicall", "", False),
        *((method, USER.name, True) for method in parts),
    ]
    of_parts = [
        (method, moment, number + (moment == "after"))
        for number, method in enumerate(parts)
        for moment in ("before", "after")
    ]
    whole = "system.multicall"
    assert told == [(whole, "before", 0), *of_parts, (whole, "after", 3)]


def test_calls_and_connections_are_counted(sandbox: Sandbox, one: OpenNebula) -> None:
    OpenNebula(sandbox.oned_url, sandbox.oneflow_url, OTHER).refusal("document.info", 6, False)
    assert one.flow("GET", "/service_template").status_code == 200
    assert [(c.backend, c.method, c.path, c.user) for c in sandbox.calls] == [
        ("oned", "one.document.info", "/RPC2", OTHER.name),
        ("oneflow", "GET", "/service_template", USER.name),
    ]
    assert sandbox.connections == {"oned": 1, "oneflow": 1}


@pytest.mark.parametrize(
    ("method", "line", "strikes"),
    [
        ("", "anything", True),
        ("one.vm.info", "one.vm.info", True),
        ("one.vm.info", "one.vm.infoset", False),
        ("POST", "POST /service/1/action", True),
        ("POST /service_template", "POST /service_template/0/action", True),
        ("DELETE", "POST /service/1/action", False),
    ],
)
def test_a_fault_affects_the_calls_of_its_method(method: str, line: str, strikes: bool) -> None:
    assert Fault("oned", "slow", method).strikes(line) is strikes


def test_every_third_call_fails(sandbox: Sandbox, one: OpenNebula) -> None:
    sandbox.faults.set_text("oneflow:error:every=3")
    statuses = [one.flow("GET", "/service_template").status_code for _ in range(7)]
    assert statuses == [200, 200, 500, 200, 200, 500, 200]


@pytest.mark.parametrize(
    "text",
    ["oned", "nobody:hang", "oned:explode", "oned:slow:seconds=x", "oned:slow:colour=red",
     "oned:error:every=0", "driver:legs:fails"],
)  # fmt: skip
def test_an_invalid_fault_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"fault|backend|driver"):
        Faults().set_text(text)


# ---- sockets -------------------------------------------------------------------------------------


def connected(url: str) -> socket.socket:
    parts = urlsplit(url)
    return socket.create_connection((str(parts.hostname), parts.port or 0), WAIT_SECONDS)


@pytest.mark.parametrize("release", ["6.8.0", "7.4.0"])
def test_oned_closes_each_connection_and_oneflow_none(release: str) -> None:
    """As seen on real installations of both releases."""
    with Sandbox(release) as sandbox:
        for url, path, is_open in (
            (sandbox.oned_url, "/RPC2", False),
            (sandbox.oneflow_url, "/service", True),
        ):
            with connected(url) as connection:
                for _ in range(2 if is_open else 1):
                    head = f"POST {path} HTTP/1.1\r\nConnection: keep-alive\r\n"
                    connection.sendall(f"{head}Content-Length: 0\r\n\r\n".encode())
                    response = http.client.HTTPResponse(connection)
                    response.begin()
                    response.read()
                assert is_open or connection.recv(1) == b""
        assert sandbox.connections == {"oned": 1, "oneflow": 1}


def test_stop_ends_threads_and_frees_the_ports() -> None:
    before = set(threading.enumerate())  # sandboxes of other tests may run in this process
    sandbox = Sandbox().start()
    with connected(sandbox.oned_url) as waiting:
        wait_until(lambda: sandbox.connections["oned"] == 1)
        sandbox.stop()
        assert waiting.recv(1) == b""
    left = [t.name for t in set(threading.enumerate()) - before if t.name.startswith("sandbox-one")]
    assert left == []
    with Sandbox("7.2.1", oned_port=urlsplit(sandbox.oned_url).port or 0) as again:
        assert OpenNebula(again.oned_url, again.oneflow_url, USER).version() == "7.2.1"


def test_a_restart_keeps_ports_and_state(sandbox: Sandbox, one: OpenNebula) -> None:
    one.call("document.allocate", "A=1", RUNTIME)
    sandbox.restart()
    assert len(one.ids(RUNTIME)) == 1


def test_an_unknown_release_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"5\.4\.0"):
        Sandbox("5.4.0")


def test_a_connection_without_http_is_closed(sandbox: Sandbox, one: OpenNebula) -> None:
    with connected(sandbox.oned_url) as connection:
        connection.sendall(b"nonsense\r\n\r\n")
        assert connection.recv(100) == b""
    assert one.version() == "7.4.0"
