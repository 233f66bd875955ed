"""The harnesses themselves: what they would miss, no test would show."""

from __future__ import annotations

import http.client
import socket
import subprocess
import sys
import xmlrpc.client
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit
from xml.parsers.expat import ExpatError

import pytest

from provision_engine.sandbox import Sandbox
from tests.contract.device import document
from tests.support.calls import Call
from tests.support.client import RUNTIMES, Response
from tests.support.drivers import driver_actions
from tests.support.installation import Target
from tests.support.opennebula import OpenNebula
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
        number = document(one)
        if what == "lock":
            one.call("document.lock", number, 3, True)
    monkeypatch.setattr(leak_matrix, "LEFT_SECONDS", 0.5)
    monkeypatch.setattr(leak_matrix, "RECONCILE_SECONDS", 0.5)
    case = Case("7.4.0", "RUNNING", "FAAS", "delete")
    (told,) = what_is_left(lane, case, Outcome(case))
    assert told.startswith("left")
    assert until_count(lane, NOTHING, seconds=0.1) != ""
    one.clear()
    assert what_is_left(lane, case, Outcome(case)) == []


def test_what_belongs_to_no_runtime_or_to_two_is_reported(lane: Lane) -> None:
    one = lane.opennebula
    service_id = one.start_service(one.flow_template_id("nature"), "shared")
    (vm_id,) = wait_until(lambda: one.service_vm_ids(service_id))

    def store(phase: str) -> int:
        members = {"FAAS": {"VM_ID": vm_id}, "SERVICE_ID": service_id}
        return document(one, ENGINE={"PHASE": phase}, **members)

    assert one.unsound() == [
        f"service {service_id} is named by no document",
        f"VM {vm_id} is named by no document",
    ]
    first = store("READY")
    assert one.unsound() == []
    second = store("TAKEN")
    one.call("document.lock", first, 3, True)
    assert one.unsound() == [
        f"document {second} is TAKEN",
        f"document {first} is locked",
        f"service {service_id} is named by 2 documents",
        f"VM {vm_id} is named by 2 documents",
    ]
    one.clear()
    store("STANDBY")
    assert one.unsound() == [f"service {service_id} does not exist", f"VM {vm_id} does not exist"]


def test_what_a_timeout_left_is_removed_by_a_list(
    lane: Lane, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a client's next list would: the answered 504 told that something may be left."""
    document(lane.opennebula, ENGINE={"PHASE": "DELETING", "CREATED_AT": 1})
    assert until_count(lane, NOTHING, seconds=0.1) != ""
    with monkeypatch.context() as patched:
        patched.setattr(lanes, "request", lambda *_, **__: Response(504, {}, b""))
        lane.request("POST", RUNTIMES)
    assert until_count(lane, NOTHING) == ""


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


def test_processes_that_test_at_the_same_time_get_different_ports() -> None:
    script = "from tests.support.ports import free_port; print(*(free_port() for _ in range(300)))"
    ours = {free_port() for _ in range(300)}
    root = Path(__file__).parents[2]
    told = subprocess.check_output([sys.executable, "-c", script], cwd=root, text=True)
    theirs = set(map(int, told.split()))
    assert len(ours) == len(theirs) == 300
    assert not ours & theirs


def test_files_of_the_driver_are_as_they_were_afterwards(tmp_path: Path) -> None:
    (tmp_path / "deploy").write_text("success 2\n")
    with driver_actions(tmp_path, {"deploy": "failure", "resize": "success 5"}):
        assert (tmp_path / "deploy").read_text() == "failure\n"
        assert (tmp_path / "resize").read_text() == "success 5\n"
    assert {f.name: f.read_text() for f in tmp_path.iterdir()} == {"deploy": "success 2\n"}


# ---- the proxy -----------------------------------------------------------------------------

METHODS = ("document.lock", "document.rename", "document.unlock")
CALLS = [Call("oned", method, place) for place, method in enumerate(METHODS, 1)]
BROKEN = (OSError, http.client.HTTPException, ExpatError, xmlrpc.client.Error)


class Behind(OpenNebula):
    """OpenNebula behind a proxy, with one document."""

    def __init__(self, sandbox: Sandbox, proxy: Proxy) -> None:
        super().__init__(proxy.oned_url, proxy.oneflow_url, USER)
        self.sandbox = sandbox
        direct = OpenNebula(sandbox.oned_url, sandbox.oneflow_url, USER)
        self.number = int(direct.call("document.allocate", "A=1", 1337))
        sandbox.clear_calls()

    def batch(self) -> list[bool]:
        """Lock, rename and unlock the document in one request; which of them succeeded."""
        number = self.number
        arguments = {"document.lock": (3, True), "document.rename": ("renamed",)}
        calls = [(method, number, *arguments.get(method, ())) for method in METHODS]
        return [type(result) is list and result[0][0] for result in self.multicall(*calls)]

    @property
    def executed(self) -> list[str]:
        """The calls of multicalls that have reached the sandbox."""
        return [c.method.removeprefix("one.") for c in self.sandbox.calls if c.is_part]


@pytest.fixture
def proxy(sandbox: Sandbox) -> Iterator[Proxy]:
    with Proxy(sandbox) as proxy:
        yield proxy


@pytest.fixture
def behind(sandbox: Sandbox, proxy: Proxy) -> Behind:
    return Behind(sandbox, proxy)


@pytest.mark.parametrize("kind", ["refuse", "cut", "garbage", "error", "fail", "fault"])
def test_a_fault_lasts_until_it_is_cleared(proxy: Proxy, behind: Behind, kind: str) -> None:
    proxy.set_fault("oned", kind)
    for _ in range(2):
        with pytest.raises((*BROKEN, AssertionError)):
            behind.version()
    proxy.clear_faults()
    assert behind.version() == "7.4.0"


def test_a_call_that_its_client_gave_up_is_not_in_progress(proxy: Proxy) -> None:
    """So that an engine which waits for nothing is seen to be idle, while its backend hangs."""
    proxy.set_fault("oneflow", "hang")
    target = urlsplit(proxy.oneflow_url)
    connection = http.client.HTTPConnection(target.netloc, timeout=0.5)
    connection.request("GET", "/service")
    with pytest.raises(TimeoutError):
        connection.getresponse()
    connection.close()
    wait_until(lambda: proxy.is_idle(0.1))


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


@pytest.mark.parametrize("is_watched", [False, True])
def test_the_calls_of_a_multicall_are_named_and_counted(
    proxy: Proxy, behind: Behind, is_watched: bool
) -> None:
    told: list[tuple[Call, str]] = []
    if is_watched:
        proxy.on_call = lambda call, moment: told.append((call, moment))
    assert behind.batch() == [True] * 3
    assert (proxy.calls, proxy.requests) == (CALLS, [tuple(CALLS)])
    assert behind.executed == [*METHODS]
    moments = [(call, moment) for call in CALLS for moment in ("before", "after")]
    assert told == (moments if is_watched else [])


@pytest.mark.parametrize(
    ("kind", "moment", "number", "executed"),
    [
        *((kind, "before", 2, 2) for kind in ("cut", "stall", "drip-body")),
        *((kind, "before", 2, 1) for kind in ("refuse", "garbage", "error")),
        *(("kill", "before", number, number - 1) for number in (1, 2)),
        *(("kill", "after", number, number) for number in (1, 2, 3)),
    ],
)
def test_a_multicall_that_ends_in_the_middle_has_executed_the_calls_before(
    proxy: Proxy,
    behind: Behind,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    moment: str,
    number: int,
    executed: int,
) -> None:
    """As if oned, or the engine, had ended after so many calls."""
    monkeypatch.setattr("tests.support.proxy.MOST_DRIPS", 1)
    monkeypatch.setattr("tests.support.proxy._Exchange.hang", _abort)

    def on_call(call: Call, when: str) -> None:
        if (call.place, when) != (number, moment):
            return
        if kind == "kill":
            _abort()
        proxy.set_fault("oned", kind, seconds=0.0)

    proxy.on_call = on_call
    with pytest.raises(BROKEN):
        behind.batch()
    assert proxy.calls == CALLS[:number]
    assert behind.executed == [*METHODS[:executed]]


def _abort(*_: object) -> None:
    raise ConnectionAbortedError


@pytest.mark.parametrize("kind", ["fail", "fault"])
def test_one_call_of_a_multicall_is_refused(proxy: Proxy, behind: Behind, kind: str) -> None:
    """And the others are executed, as by oned."""
    proxy.set_fault("oned", kind, name=METHODS[1], times=1)
    assert behind.batch() == [True, False, True]
    assert behind.batch() == [True, True, True]
    assert behind.executed == [METHODS[0], METHODS[2], *METHODS]


VERSION = Call("oned", "system.version")
LOCK, INFO, DELETE = (
    Call("oned", f"document.{name}", place)
    for place, name in enumerate(("lock", "info", "delete"), 1)
)
POLL = [INFO._replace(place=1), Call("oned", "vm.info", 2)]
BATCHES = [
    *((LOCK, 1, False), (INFO, 1, True), (DELETE, 1, True)),
    *((POLL[0], 2, False), (POLL[1], 1, True)),
]
"""Each with its number, and whether the call before it in the same multicall is chosen too."""


@pytest.mark.parametrize(
    ("which", "chosen"),
    [
        ("all", [(VERSION, 1, False), *BATCHES]),
        ("changes", [(LOCK, 1, False), (DELETE, 1, False)]),
        ("first", [(VERSION, 1, False)]),
        ("batches", BATCHES),
    ],
)
def test_a_matrix_disturbs_calls_between_and_inside_multicalls(
    which: str, chosen: list[tuple[Call, int, bool]]
) -> None:
    """A poll that is repeated is disturbed once."""
    assert chosen_calls("update", [VERSION, LOCK, INFO, DELETE, *POLL, *POLL], which) == chosen
