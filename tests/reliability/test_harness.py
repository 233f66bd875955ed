"""The harnesses themselves: what they would miss, no test would show."""

from __future__ import annotations

import http.client
import json
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
import xmlrpc.client
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from xml.parsers.expat import ExpatError
from xmlrpc.server import SimpleXMLRPCServer

import pytest

from provision_engine.sandbox import Sandbox
from tests.support.calls import Call
from tests.support.client import RUNTIMES, Response
from tests.support.drivers import driver_actions
from tests.support.installation import Target
from tests.support.opennebula import OpenNebula, Transport
from tests.support.ports import free_port
from tests.support.proxy import Proxy
from tests.support.users import USER
from tests.support.waiting import wait_until

from . import fault_matrix, lanes, leak_matrix
from .lanes import NOTHING, Lane, until_count
from .leak_matrix import lane_opener, what_is_left
from .leak_states import Case, Outcome
from .operations import OPERATIONS, chosen_calls


@pytest.fixture
def lane(tmp_path: Path) -> Iterator[Lane]:
    with lane_opener(Target(), tmp_path)("7.4.0") as lane:
        yield lane


@pytest.mark.parametrize("what", ["service", "vm", "document", "lock"])
def test_whatever_stays_alive_is_reported(
    lane: Lane, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    one = lane.opennebula
    if what == "service":
        one.start_service(one.flow_template_id("nature"), "left")
    elif what == "vm":
        one.call("template.instantiate", 0, "left", False, "", False)
    else:
        template = "<TEMPLATE><NAME>left</NAME><BODY>{}</BODY></TEMPLATE>"
        document_id = int(one.call("document.allocate", template, 1337))
        if what == "lock":
            one.call("document.lock", document_id, 3, True)
    monkeypatch.setattr(leak_matrix, "LEFT_SECONDS", 0.5)
    monkeypatch.setattr(leak_matrix, "RECONCILE_SECONDS", 0.5)
    case = Case("7.4.0", "RUNNING", "FAAS", "delete")
    (told,) = what_is_left(lane, case, Outcome(case))
    assert told.startswith("left")
    assert until_count(lane, NOTHING, seconds=0.1) != ""
    one.clear()
    assert what_is_left(lane, case, Outcome(case)) == []


def store(one: OpenNebula, phase: str, service_id: int, vm_id: int) -> int:
    """A document as an engine writes it."""
    body = json.dumps(
        {"FAAS": {"VM_ID": vm_id}, "SERVICE_ID": service_id, "ENGINE": {"PHASE": phase}}
    )
    text = f"<TEMPLATE><NAME>stored</NAME><BODY><![CDATA[{body}]]></BODY></TEMPLATE>"
    return int(one.call("document.allocate", text, 1337))


def test_what_belongs_to_no_runtime_or_to_two_is_reported(lane: Lane) -> None:
    one = lane.opennebula
    service_id = one.start_service(one.flow_template_id("nature"), "shared")
    (vm_id,) = wait_until(lambda: one.service_vm_ids(service_id))
    nobodys = [
        f"service {service_id} is named by no document",
        f"VM {vm_id} is named by no document",
    ]
    assert one.unsound() == nobodys
    first = store(one, "READY", service_id, vm_id)
    assert one.unsound() == []
    second = store(one, "TAKEN", service_id, vm_id)
    one.call("document.lock", first, 3, True)
    assert one.unsound() == [
        f"document {second} is TAKEN",
        f"document {first} is locked",
        f"service {service_id} is named by 2 documents",
        f"VM {vm_id} is named by 2 documents",
    ]
    one.clear()
    missing = store(one, "STANDBY", service_id, vm_id)
    assert one.unsound() == [f"service {service_id} does not exist", f"VM {vm_id} does not exist"]
    one.call("document.delete", missing)


def test_a_call_that_its_client_gave_up_is_not_in_progress(proxy: Proxy) -> None:
    """So that an engine which waits for nothing is seen to be idle, while its backend hangs."""
    proxy.set_fault("oneflow", "hang")
    with pytest.raises((TimeoutError, urllib.error.URLError)):
        urllib.request.urlopen(f"{proxy.oneflow_url}/service", timeout=0.5)
    wait_until(lambda: proxy.is_idle(0.1))


def test_what_a_timeout_left_is_removed_by_a_list(
    lane: Lane, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a client's next list would: the answered 504 told that something may be left."""
    body = json.dumps({"ENGINE": {"PHASE": "DELETING", "CREATED_AT": 1, "SERVICE_NAME": "left"}})
    template = f"<TEMPLATE><NAME>left</NAME><BODY><![CDATA[{body}]]></BODY></TEMPLATE>"
    lane.opennebula.call("document.allocate", template, 1337)
    assert until_count(lane, NOTHING, seconds=0.1) != ""
    with monkeypatch.context() as patched:
        patched.setattr(lanes, "request", lambda *_, **__: Response(504, {}, b""))
        lane.request("POST", RUNTIMES)
    assert until_count(lane, NOTHING) == ""


# ---- the proxy -----------------------------------------------------------------------------


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    with Sandbox() as sandbox, Proxy(sandbox) as proxy:
        yield proxy


def version(proxy: Proxy) -> str:
    return OpenNebula(proxy.oned_url, proxy.oneflow_url, USER).version()


def test_calls_pass_and_are_named(proxy: Proxy) -> None:
    assert version(proxy) == "7.4.0"
    one = OpenNebula(proxy.oned_url, proxy.oneflow_url, USER)
    service_id = one.start_service(one.flow_template_id("nature"), "named")
    one.service_vm_ids(service_id)
    assert proxy.calls == [
        Call("oned", "system.version"),
        Call("oned", "documentpool.info"),
        Call("oneflow", "POST service_template/action"),
        Call("oneflow", "GET service"),
    ]
    assert [call.is_change for call in proxy.calls] == [False, False, True, False]


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("refuse", ConnectionRefusedError),
        ("cut", ExpatError),
        ("garbage", ExpatError),
        ("error", xmlrpc.client.ProtocolError),
    ],
)
def test_a_fault_lasts_until_it_is_cleared(proxy: Proxy, kind: str, error: type[Exception]) -> None:
    proxy.set_fault("oned", kind)
    for _ in range(2):
        with pytest.raises(error):
            version(proxy)
    proxy.clear_faults()
    assert version(proxy) == "7.4.0"


def test_a_hanging_call_is_never_answered(proxy: Proxy) -> None:
    proxy.set_fault("oneflow", "hang")
    with pytest.raises((TimeoutError, urllib.error.URLError)):
        urllib.request.urlopen(f"{proxy.oneflow_url}/service", timeout=0.5)


@pytest.mark.parametrize(
    ("kind", "received"),
    [
        ("stall", b"Content-Length: 4\r\n\r\nha"),
        ("drip-headers", b"X-Drip: ......"),
        ("drip-body", b"Content-Length: 1000000\r\n\r\n......"),
        ("drip-chunks", b"Transfer-Encoding: chunked\r\n\r\n1\r\n.\r\n"),
    ],
)
def test_an_endless_response_begins_after_the_effect(
    proxy: Proxy, monkeypatch: pytest.MonkeyPatch, kind: str, received: bytes
) -> None:
    monkeypatch.setattr("tests.support.proxy.MOST_DRIPS", 6)
    told = []
    proxy.on_call = lambda call, moment: told.append(moment)
    proxy.set_fault("oned", kind, seconds=0.0)
    with socket.create_connection(("127.0.0.1", urlsplit(proxy.oned_url).port or 0)) as client:
        client.sendall(b"POST /RPC2 HTTP/1.1\r\nContent-Length: 0\r\n\r\n")
        with client.makefile("rb") as response:
            assert response.read(17 + len(received)) == b"HTTP/1.1 200 OK\r\n" + received
    assert told == ["before", "after"]


def test_a_fault_may_hit_one_call_once(proxy: Proxy) -> None:
    proxy.set_fault("oned", "error", name="system.version", times=1)
    one = OpenNebula(proxy.oned_url, proxy.oneflow_url, USER)
    assert one.count() == NOTHING
    with pytest.raises(xmlrpc.client.ProtocolError):
        version(proxy)
    assert version(proxy) == "7.4.0"


@pytest.mark.parametrize(("moment", "made"), [("before", 0), ("after", 1)])
def test_a_call_is_lost_before_or_after_its_effect(proxy: Proxy, moment: str, made: int) -> None:
    one = OpenNebula(proxy.oned_url, proxy.oneflow_url, USER)

    def on_call(call: Call, when: str) -> None:
        if (call.name, when) == ("document.allocate", moment):
            raise ConnectionAbortedError

    proxy.on_call = on_call
    with pytest.raises((OSError, http.client.HTTPException)):
        one.call("document.allocate", "<TEMPLATE><NAME>x</NAME></TEMPLATE>", 1337)
    proxy.on_call = None
    assert one.count()["runtimes"] == made


# ---- the proxy and multicalls --------------------------------------------------------------


class StubOned:
    """Notes what is executed; ``system.multicall`` is the standard's."""

    def __init__(self) -> None:
        self.executed: list[str] = []
        server = self._server = SimpleXMLRPCServer(("127.0.0.1", 0), logRequests=False)
        for name in NAMES:
            server.register_function(partial(self._note, name), f"one.document.{name}")
        server.register_multicall_functions()
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        self.oned_url = self.oneflow_url = f"http://127.0.0.1:{server.server_address[1]}/RPC2"

    def _note(self, name: str, *_: object) -> list[Any]:
        self.executed.append(name)
        return [True, f"{name} <&>", 0]

    def multicall(self, proxy: Proxy) -> list[Any]:
        """The results of a lock, a read and a delete in one request."""
        calls = [{"methodName": f"one.document.{name}", "params": ["a:b", 1]} for name in NAMES]
        with xmlrpc.client.ServerProxy(proxy.oned_url, Transport()) as server:
            results: Any = server.system.multicall(calls)
        return list(results)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def stub() -> Iterator[StubOned]:
    stub = StubOned()
    yield stub
    stub.close()


NAMES = ("lock", "info", "delete")
LOCK, INFO, DELETE = ([[True, f"{name} <&>", 0]] for name in NAMES)
CALLS = [Call("oned", f"document.{name}", place) for place, name in enumerate(NAMES, 1)]
REFUSED = {
    "fail": [[False, "[one.document.info] refused by the proxy", 0x2000, -1]],
    "fault": {"faultCode": -501, "faultString": "[one.document.info] refused by the proxy"},
}


@pytest.mark.parametrize("is_watched", [False, True])
def test_the_calls_of_a_multicall_are_named_and_counted(stub: StubOned, is_watched: bool) -> None:
    told: list[tuple[Call, str]] = []
    with Proxy(stub) as proxy:
        if is_watched:
            proxy.on_call = lambda call, moment: told.append((call, moment))
        assert stub.multicall(proxy) == [LOCK, INFO, DELETE]
        assert (proxy.calls, proxy.requests) == (CALLS, [tuple(CALLS)])
    assert stub.executed == [*NAMES]
    moments = [(call, moment) for call in CALLS for moment in ("before", "after")]
    assert told == (moments if is_watched else [])


@pytest.mark.parametrize(
    ("kind", "executed"),
    [("cut", 2), ("stall", 2), ("drip-body", 2), ("refuse", 1), ("garbage", 1), ("error", 1)],
)
def test_the_response_to_a_multicall_is_lost_in_the_middle_of_it(
    stub: StubOned, monkeypatch: pytest.MonkeyPatch, kind: str, executed: int
) -> None:
    """As if oned had ended after so many calls."""
    monkeypatch.setattr("tests.support.proxy.MOST_DRIPS", 1)
    monkeypatch.setattr("tests.support.proxy._Exchange.hang", _abort)

    def on_call(call: Call, moment: str) -> None:
        if (call.name, moment) == ("document.info", "before"):
            proxy.set_fault("oned", kind, seconds=0.0)

    with Proxy(stub) as proxy:
        proxy.on_call = on_call
        with pytest.raises((OSError, http.client.HTTPException, ExpatError, xmlrpc.client.Error)):
            stub.multicall(proxy)
        assert proxy.calls == CALLS[:2]
    assert stub.executed == [*NAMES[:executed]]


def _abort(*_: object) -> None:
    raise ConnectionAbortedError


@pytest.mark.parametrize("kind", REFUSED)
def test_one_call_of_a_multicall_is_refused(stub: StubOned, kind: str) -> None:
    """And the others are executed, as by oned."""
    with Proxy(stub) as proxy:
        proxy.set_fault("oned", kind, name="document.info", times=1)
        assert stub.multicall(proxy) == [LOCK, REFUSED[kind], DELETE]
        assert stub.multicall(proxy) == [LOCK, INFO, DELETE]
    assert stub.executed == ["lock", "delete", "lock", "info", "delete"]


def test_a_call_alone_is_refused_as_oned_refuses(proxy: Proxy) -> None:
    proxy.set_fault("oned", "fail", name="system.version")
    with pytest.raises(AssertionError, match="refused by the proxy"):
        version(proxy)
    proxy.set_fault("oned", "fault", name="system.version")
    with pytest.raises(xmlrpc.client.Fault, match="refused by the proxy"):
        version(proxy)


@pytest.mark.parametrize(
    ("moment", "number", "executed"),
    [("before", 1, 0), ("after", 1, 1), ("before", 2, 1), ("after", 2, 2), ("after", 3, 3)],
)
def test_a_kill_inside_a_multicall_finds_the_calls_before_it_executed(
    stub: StubOned, moment: str, number: int, executed: int
) -> None:
    def on_call(call: Call, when: str) -> None:
        if (call.place, when) == (number, moment):
            raise ConnectionAbortedError

    with Proxy(stub) as proxy:
        proxy.on_call = on_call
        with pytest.raises((OSError, http.client.HTTPException)):
            stub.multicall(proxy)
    assert stub.executed == [*NAMES[:executed]]


VERSION, READS = Call("oned", "system.version"), CALLS[1]._replace(place=1)
POLL = [READS, Call("oned", "vm.info", 2)]


BATCHES = [
    *((CALLS[0], 1, False), (CALLS[1], 1, True), (CALLS[2], 1, True)),
    *((POLL[0], 2, False), (POLL[1], 1, True)),
]
"""Each with its number, and whether the call before it in the same multicall is chosen too."""


@pytest.mark.parametrize(
    ("which", "chosen"),
    [
        ("all", [(VERSION, 1, False), *BATCHES]),
        ("changes", [(CALLS[0], 1, False), (CALLS[2], 1, False)]),
        ("first", [(VERSION, 1, False)]),
        ("batches", BATCHES),
    ],
)
def test_a_matrix_disturbs_calls_between_and_inside_multicalls(
    which: str, chosen: list[tuple[Call, int, bool]]
) -> None:
    """A poll that is repeated is disturbed once."""
    assert chosen_calls("update", [VERSION, *CALLS, *POLL, *POLL], which) == chosen


@pytest.mark.parametrize(
    ("struck_after_seconds", "status", "is_wrong"),
    [(0.5, 503, False), (0.5, 504, True), (7.5, 504, False), (7.5, 500, True)],
)
def test_a_request_whose_time_was_over_before_the_fault_may_say_so(
    struck_after_seconds: float, status: int, is_wrong: bool
) -> None:
    case = fault_matrix.Case("7.4.0", "replace", "FAAS", "oned", "refuse", "document.unlock", 1)
    outcome = fault_matrix.Outcome(case, struck_after_seconds=struck_after_seconds)
    headers = {"Content-Type": "application/json", "X-Request-ID": "one"}
    response = Response(status, headers, b'{"error": "", "message": ""}')
    wrong = fault_matrix.what_is_wrong_with(response, OPERATIONS["replace"], outcome, 8.0)
    assert bool(wrong) == is_wrong


def test_files_of_the_driver_are_as_they_were_afterwards(tmp_path: Path) -> None:
    (tmp_path / "deploy").write_text("success 2\n")
    with driver_actions(tmp_path, {"deploy": "failure", "resize": "success 5"}):
        assert (tmp_path / "deploy").read_text() == "failure\n"
        assert (tmp_path / "resize").read_text() == "success 5\n"
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [
        ("deploy", "success 2\n")
    ]


def test_a_lane_without_anything_has_nothing(lane: Lane) -> None:
    assert lane.opennebula.count() == NOTHING
    assert lane.request("GET", RUNTIMES).json == []


def test_processes_that_test_at_the_same_time_get_different_ports() -> None:
    script = "from tests.support.ports import free_port; print(*(free_port() for _ in range(300)))"
    ours = {free_port() for _ in range(300)}
    ran = subprocess.run(
        [sys.executable, "-c", script],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    theirs = set(map(int, ran.stdout.split()))
    assert len(ours) == len(theirs) == 300
    assert not ours & theirs
