"""Faults of the backends and of drivers, and restarts."""

from __future__ import annotations

import http.client
import socket
import threading
import xmlrpc.client
from collections.abc import Iterator
from http.client import HTTPException, HTTPResponse
from urllib.parse import urlsplit
from xml.parsers.expat import ExpatError

import pytest

from provision_engine.sandbox import CallRecord, Sandbox, Timings
from provision_engine.sandbox.faults import Fault, Faults
from tests.support.waiting import wait_until

from .client import DEADLINE_SECONDS, Caller


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    """Without a manual clock."""
    with Sandbox() as running:
        yield running


def _flow_status(caller: Caller) -> int:
    return caller.flow("GET", "/service_template")[0]


def test_refuse_and_accept_again(sandbox: Sandbox) -> None:
    caller = Caller(sandbox)
    sandbox.faults.set("oned", "refuse")
    with pytest.raises(ConnectionError):
        caller.one("system.version")
    assert _flow_status(caller) == 200
    sandbox.faults.clear("oned")
    assert caller.good("system.version") == "7.4.0"


def test_refuse_closes_open_connections(sandbox: Sandbox) -> None:
    host, port = sandbox.oneflow_url.removeprefix("http://").split(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=20)
    connection.request("GET", "/")
    assert connection.getresponse().read()
    sandbox.faults.set("oneflow", "refuse")

    def ask() -> None:
        connection.request("GET", "/")
        connection.getresponse()

    with pytest.raises((OSError, HTTPException)):
        ask()


def test_hang_until_cleared(sandbox: Sandbox) -> None:
    fault = sandbox.faults.set("oneflow", "hang", method="GET /service")
    answers: list[object] = []

    def ask() -> None:
        try:
            answers.append(Caller(sandbox).flow("GET", "/service"))
        except (OSError, HTTPException) as error:
            answers.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    wait_until(lambda: fault.hits == 1)
    assert Caller(sandbox).good("system.version") == "7.4.0"
    assert answers == []
    sandbox.faults.clear()
    thread.join(20)
    assert len(answers) == 1
    assert isinstance(answers[0], Exception)


def test_a_cut_response_does_not_undo_the_call(sandbox: Sandbox) -> None:
    sandbox.faults.set("oned", "cut", method="one.document.allocate")
    with pytest.raises((HTTPException, ExpatError)):
        Caller(sandbox).one("document.allocate", "A=1", 1337)
    assert len(sandbox.store.documents()) == 1


def test_garbage_has_no_effect(sandbox: Sandbox) -> None:
    sandbox.faults.set("oned", "garbage", times=1)
    with pytest.raises(ExpatError):
        Caller(sandbox).one("document.allocate", "A=1", 1337)
    assert sandbox.store.documents() == []
    assert Caller(sandbox).good("system.version") == "7.4.0"


_BATCH = [
    ("document.update", 30, 'A="1"', 1),
    ("document.rename", 30, "renamed"),
    ("document.unlock", 30),
]


@pytest.fixture
def locked(sandbox: Sandbox) -> Caller:
    """A caller with a document that a multicall changes, renames and unlocks."""
    caller = Caller(sandbox)
    sandbox.world.store.documents.next_id = 30
    caller.good("document.allocate", 'NAME="old"', 1337)
    caller.good("document.lock", 30, 3, True)
    sandbox.clear_calls()
    return caller


def _done(sandbox: Sandbox) -> list[bool]:
    """Which calls of the multicall had their effect?"""
    (document,) = sandbox.store.documents()
    return [document.template.text("A") == "1", document.name == "renamed", not document.lock]


@pytest.mark.parametrize(
    ("fault", "done"),
    [
        ("cut:method=one.document.update", [True, False, False]),
        ("cut:method=one.document.unlock", [True, True, True]),
        ("cut:method=system.multicall", [True, True, True]),
        ("cut", [True, True, True]),
        ("garbage:method=system.multicall", [False, False, False]),
    ],
)
def test_a_multicall_whose_response_is_lost(
    sandbox: Sandbox, locked: Caller, fault: str, done: list[bool]
) -> None:
    sandbox.faults.set_text(f"oned:{fault}")
    with pytest.raises((HTTPException, ExpatError)):
        locked.multicall(*_BATCH)
    assert _done(sandbox) == done


def test_a_multicall_that_hangs_in_the_middle(sandbox: Sandbox, locked: Caller) -> None:
    fault = sandbox.faults.set("oned", "hang", method="one.document.rename")
    thread = threading.Thread(target=locked.multicall, args=_BATCH)
    thread.start()
    wait_until(lambda: fault.hits == 1)
    assert _done(sandbox) == [True, False, False]
    sandbox.faults.clear()
    thread.join(DEADLINE_SECONDS)


@pytest.mark.parametrize(
    ("kind", "result"),
    [
        ("error", [[False, "Internal Server Error", 0x2000, -1, -1]]),
        ("garbage", "neither result nor fault"),
    ],
)
def test_one_call_of_a_multicall_fails(
    sandbox: Sandbox, locked: Caller, kind: str, result: object
) -> None:
    sandbox.faults.set("oned", kind, method="one.document.rename")
    assert locked.multicall(*_BATCH) == [[[True, 30, 0]], result, [[True, 30, 0]]]
    assert _done(sandbox) == [True, False, True]


def test_records_of_a_multicall(sandbox: Sandbox, locked: Caller) -> None:
    """One of the request, then one of each call, around each of which `on_call` is called."""
    seen = []
    sandbox.on_call = lambda record, moment: seen.append((record.method, moment, _done(sandbox)))
    locked.multicall(*_BATCH)
    assert [(c.method, c.user, c.is_part) for c in sandbox.calls] == [
        ("system.multicall", "", False),
        *[(f"one.{method}", "devuser", True) for method, *_ in _BATCH],
    ]
    assert seen == [
        ("system.multicall", "before", [False, False, False]),
        ("one.document.update", "before", [False, False, False]),
        ("one.document.update", "after", [True, False, False]),
        ("one.document.rename", "before", [True, False, False]),
        ("one.document.rename", "after", [True, True, False]),
        ("one.document.unlock", "before", [True, True, False]),
        ("one.document.unlock", "after", [True, True, True]),
        ("system.multicall", "after", [True, True, True]),
    ]


def test_every_third_call_fails(sandbox: Sandbox) -> None:
    sandbox.faults.set_text("oneflow:error:every=3")
    caller = Caller(sandbox)
    assert [_flow_status(caller) for _ in range(7)] == [200, 200, 500, 200, 200, 500, 200]


def test_slow_for_one_method(sandbox: Sandbox) -> None:
    fault = sandbox.faults.set("oned", "slow", method="one.system.version", seconds=0.05)
    caller = Caller(sandbox)
    caller.good("document.info", 6, False)
    assert fault.hits == 0
    caller.good("system.version")
    assert fault.hits == 1


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
def test_which_calls_a_fault_affects(method: str, line: str, strikes: bool) -> None:
    assert Fault("oned", "slow", method).strikes(line) is strikes


@pytest.mark.parametrize(
    "text",
    ["oned", "nobody:hang", "oned:explode", "oned:slow:seconds=x", "oned:slow:colour=red",
     "oned:error:every=0", "driver:legs:fails"],
)  # fmt: skip
def test_invalid_faults(text: str) -> None:
    with pytest.raises(ValueError, match=r"fault|backend|driver"):
        Faults().set_text(text)


def test_a_driver_that_fails_to_boot() -> None:
    quick = Timings(service_failure_seconds=0.0)
    with Sandbox(timings=quick) as sandbox:
        sandbox.faults.set_text("driver:boot:fails")
        service = Caller(sandbox).instantiate()
        wait_until(lambda: (sandbox.store.service(service) or {})["state"] == 7)
        (vm,) = sandbox.store.live_vms()
        assert sandbox.store.vm_state(vm.id) == "BOOT_FAILURE"


def test_restarts(sandbox: Sandbox) -> None:
    urls = sandbox.oned_url, sandbox.oneflow_url
    caller = Caller(sandbox)
    caller.good("document.allocate", "A=1", 1337)
    sandbox.restart()
    assert (sandbox.oned_url, sandbox.oneflow_url) == urls
    assert len(sandbox.store.documents()) == 1
    assert caller.good("system.version") == "7.4.0"


def test_the_hook_sees_before_and_after(sandbox: Sandbox) -> None:
    seen: list[tuple[str, str, int]] = []

    def on_call(record: CallRecord, moment: str) -> None:
        seen.append((record.method, moment, len(sandbox.store.documents())))

    sandbox.on_call = on_call
    Caller(sandbox).good("document.allocate", "A=1", 1337)
    method = "one.document.allocate"
    assert seen == [(method, "before", 0), (method, "after", 1)]


def test_calls_and_connections(sandbox: Sandbox) -> None:
    Caller(sandbox, "other").good("document.info", 6, False)
    assert _flow_status(Caller(sandbox)) == 200
    assert [(c.backend, c.method, c.path, c.user) for c in sandbox.calls] == [
        ("oned", "one.document.info", "/RPC2", "other"),
        ("oneflow", "GET", "/service_template", "devuser"),
    ]
    assert sandbox.connections == {"oned": 1, "oneflow": 1}
    sandbox.clear_calls()
    assert sandbox.calls == []


def _response(connection: socket.socket, method: str, path: str, body: bytes) -> HTTPResponse:
    """The response to a request that asks for more of them."""
    head = f"{method} {path} HTTP/1.1\r\nHost: one\r\nConnection: keep-alive\r\n"
    connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
    response = HTTPResponse(connection, method=method)
    response.begin()
    response.read()
    return response


@pytest.mark.parametrize("release", ["6.8.0", "7.4.0"])
def test_oned_closes_each_connection(release: str) -> None:
    """As seen on real installations of both releases."""
    body = xmlrpc.client.dumps(("devuser:devpass",), "one.system.version").encode()
    with Sandbox(release) as sandbox, _connected(sandbox.oned_url) as connection:
        response = _response(connection, "POST", "/RPC2", body)
        assert (response.status, response.getheader("Connection")) == (200, "close")
        assert connection.recv(1) == b""


@pytest.mark.parametrize("release", ["6.8.0", "7.4.0"])
def test_oneflow_keeps_a_connection_open(release: str) -> None:
    """As seen on real installations of both releases."""
    with Sandbox(release) as sandbox, _connected(sandbox.oneflow_url) as connection:
        for _ in range(3):
            assert _response(connection, "GET", "/service", b"").status == 401
        assert sandbox.connections["oneflow"] == 1


def _connected(url: str) -> socket.socket:
    parts = urlsplit(url)
    return socket.create_connection((str(parts.hostname), parts.port or 0), DEADLINE_SECONDS)


def test_stop_ends_threads_and_frees_the_ports() -> None:
    before = set(threading.enumerate())  # sandboxes of other tests may run in this process
    sandbox = Sandbox().start()
    port = int(sandbox.oned_url.rsplit(":", 1)[1].split("/")[0])
    waiting = socket.create_connection(("127.0.0.1", port))
    wait_until(lambda: sandbox.connections["oned"] == 1)
    sandbox.stop()
    assert waiting.recv(1) == b""
    waiting.close()
    left = [t.name for t in set(threading.enumerate()) - before if t.name.startswith("sandbox-one")]
    assert left == []
    with Sandbox(oned_port=port) as again:
        assert Caller(again).good("system.version") == "7.4.0"


def test_several_sandboxes_at_once() -> None:
    with Sandbox("6.8.0") as six, Sandbox("7.2.1") as seven:
        found = [Caller(one).good("system.version") for one in (six, seven)]
    assert found == ["6.8.0", "7.2.1"]


def test_an_unknown_release() -> None:
    with pytest.raises(ValueError, match=r"5\.4\.0"):
        Sandbox("5.4.0")


@pytest.mark.parametrize(
    "request_text",
    [
        "POST /RPC2 HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
        "POST /RPC2 HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: {length}\r\n\r\n",
    ],
)
def test_other_ways_to_send_a_body(sandbox: Sandbox, request_text: str) -> None:
    body = xmlrpc.client.dumps(("devuser:devpass",), "one.system.version")
    port = int(sandbox.oned_url.rsplit(":", 1)[1].split("/")[0])
    if "chunked" in request_text:
        half = len(body) // 2
        parts = [body[:half], body[half:]]
        data = "".join(f"{len(p):x}\r\n{p}\r\n" for p in parts) + "0\r\n\r\n"
    else:
        data = body
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall((request_text.format(length=len(body)) + data).encode())
        received = b""
        while b"</methodResponse>" not in received:
            received += connection.recv(65_536)
    assert b"7.4.0" in received


def test_a_connection_without_http_is_closed(sandbox: Sandbox) -> None:
    port = int(sandbox.oned_url.rsplit(":", 1)[1].split("/")[0])
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(b"nonsense\r\n\r\n")
        assert connection.recv(100) == b""
    assert Caller(sandbox).good("system.version") == "7.4.0"
