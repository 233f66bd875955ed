"""Rows 10 to 13 and 16 of the attacks on 2.1.0, as far as HTTP alone is concerned."""

from __future__ import annotations

import base64
import json
import re
import socket
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from provision_engine.api import validation
from provision_engine.sandbox import Sandbox
from tests.contract.device import document
from tests.support.client import FAAS, RUNTIMES, Response, authorization, body_of
from tests.support.engine import EngineProcess, engine_process
from tests.support.opennebula import OpenNebula
from tests.support.users import OTHER, USER, User
from tests.support.waiting import WAIT_SECONDS, wait_until

STRANGER = User("devuser", "wrong")
NO_HOST = {"FAAS": FAAS, "SCHEDULING": {"REQUIREMENTS": "FREE_CPU > 1000000"}}
"""A runtime that stays PENDING."""


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox() as sandbox:
        yield sandbox


@pytest.fixture(scope="module")
def engine(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EngineProcess]:
    with engine_process(tmp_path_factory.mktemp("engine"), sandbox) as engine:
        yield engine


@pytest.fixture(autouse=True)
def no_faults(sandbox: Sandbox) -> Iterator[None]:
    yield
    sandbox.faults.clear()


def send(engine: EngineProcess, data: bytes, *, ends: bool = True) -> bytes:
    """Everything that the engine sends until it closes; ``ends`` closes the client's side."""
    with socket.create_connection(("127.0.0.1", engine.port), WAIT_SECONDS) as connection:
        connection.sendall(data)
        if ends:
            connection.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: connection.recv(65_536), b""))


def head(line: str, *fields: str, user: User | None = None) -> bytes:
    login = [f"{name}: {value}" for name, value in authorization(user).items()] if user else []
    lines = [f"{line} HTTP/1.1", "Host: x", "Connection: close", *login, *fields, "", ""]
    return "\r\n".join(lines).encode()


def status(response: bytes) -> int:
    return int(response.split()[1])


@contextmanager
def logged(engine: EngineProcess) -> Iterator[dict[str, str]]:
    """What is written to each log within it."""
    added: dict[str, str] = {}
    before = {name: len(engine.log(name)) for name in ("engine", "CloudClient", "api")}
    yield added
    added |= {name: engine.log(name)[length:] for name, length in before.items()}


# ---- row 10: one user and all others ------------------------------------------------------------


def refused(asked: list[Future[Response]], count: int) -> list[Response]:
    """The first responses; AssertionError unless all of them are 429."""
    found = [future.result() for _, future in zip(range(count), as_completed(asked), strict=False)]
    assert [response.status for response in found] == [429] * count
    return found


def test_one_user_leaves_slots_for_changes_to_others(sandbox: Sandbox, tmp_path: Path) -> None:
    limits = {"oneflow_requests": 8}
    with engine_process(tmp_path, sandbox, limits=limits) as engine, ThreadPoolExecutor(20) as pool:
        sandbox.faults.set("oneflow", "hang")
        asked = [pool.submit(engine.request, "POST", RUNTIMES, {"FAAS": FAAS}) for _ in range(16)]
        messages = {response.json["message"] for response in refused(asked, 16 - 6)}
        assert messages == {"Too many changes of one user (limits.user_share)"}
        others = [
            pool.submit(engine.request, "POST", RUNTIMES, {"FAAS": FAAS}, user=OTHER)
            for _ in range(4)
        ]
        refused(others, 2)
        wait_until(lambda: engine.log("CloudClient").count("oned.allocate_document") == 8)
        # Reads are served all the while.
        assert engine.request("GET", RUNTIMES).status == 200
        sandbox.faults.clear()
        engine.kill()
        for response in (*asked, *others):
            response.exception()


def test_waiting_for_a_key_takes_no_slot_for_changes(sandbox: Sandbox, tmp_path: Path) -> None:
    """A document that pretends to be a create in progress, and many requests with its key."""
    slots = {"limits": {"oneflow_requests": 1}, "wait": {"max_requests": 4}}
    with engine_process(tmp_path, sandbox, **slots) as engine, ThreadPoolExecutor(12) as pool:
        specification = validation.to_create(body_of({"FAAS": FAAS}))[0]
        members = {"PHASE": "CREATING", "SERVICE_NAME": "x", "INTENDED_AT": int(time.time())}
        members |= {"KEY": validation.idempotency_key("key"), "DIGEST": specification.digest}
        client = OpenNebula(sandbox.oned_url, sandbox.oneflow_url, USER)
        forged = document(client, ENGINE=members)
        asked = [
            pool.submit(
                engine.request,
                *("POST", RUNTIMES, {"FAAS": FAAS}),
                headers={"Idempotency-Key": "key"},
            )
            for _ in range(12)
        ]
        messages = {response.json["message"] for response in refused(asked, 9)}
        assert messages == {"Too many waiting requests of one user (limits.user_share)"}
        for user in (USER, OTHER):
            made = engine.request("POST", RUNTIMES, {"FAAS": FAAS}, user=user)
            assert made.status == 201
            path = f"{RUNTIMES}/{made.runtime['ID']}"
            assert engine.request("DELETE", path, user=user).status == 204
        client.call("document.delete", forged)


# ---- row 11: without a login --------------------------------------------------------------------


@pytest.mark.parametrize("query", ["", "?dry_run=true", "?wait=5"])
def test_a_stranger_cannot_fill_the_log(engine: EngineProcess, query: str) -> None:
    members = {"FAAS": FAAS} | {f"unknown{n}" + "x" * 500: n for n in range(1500)}

    with logged(engine) as added:
        answer = engine.request("POST", f"{RUNTIMES}{query}", members, user=STRANGER)
    assert answer.status == 401
    for text in added.values():
        assert "unknown0" not in text
        assert len(text) < 2000


def test_unknown_members_are_one_line_for_everybody(engine: EngineProcess) -> None:
    members = {"FAAS": FAAS} | {f"unknown{n}" + "x" * 500: n for n in range(1500)}
    with logged(engine) as added:
        assert engine.request("POST", f"{RUNTIMES}?dry_run=true", members).status == 200
    assert added["engine"].count("unknown0") == 1
    assert len(added["engine"]) < 4000


@pytest.mark.parametrize("key", [[], ["Idempotency-Key: a"]], ids=["", "key"])
@pytest.mark.parametrize("method", ["POST", "PUT"])
@pytest.mark.parametrize(
    "body", ["Content-Length: 500", "Content-Length: 900000", "Transfer-Encoding: chunked"]
)
def test_a_stranger_gets_the_response_without_sending_a_body(
    engine: EngineProcess, method: str, body: str, key: list[str]
) -> None:
    """So that no thread waits for it; the old engine waited for 30 seconds."""
    path = RUNTIMES if method == "POST" else f"{RUNTIMES}/1"
    sent = head(f"{method} {path}", body, *key, user=STRANGER)
    with socket.create_connection(("127.0.0.1", engine.port), 20) as connection:
        connection.sendall(sent)
        assert status(connection.recv(65_536)) == 401


def test_a_stranger_takes_no_slot(sandbox: Sandbox, tmp_path: Path) -> None:
    """While oned is slow, many of them are in flight at once, and none is a 429 for the next."""
    limits, wait = {"oneflow_requests": 1, "oned_requests": 20}, {"max_requests": 1}
    with (
        engine_process(tmp_path, sandbox, limits=limits, wait=wait) as engine,
        ThreadPoolExecutor(12) as pool,
    ):
        sandbox.faults.set("oned", "slow", seconds=0.5)
        asked = [
            pool.submit(engine.request, "POST", f"{RUNTIMES}{query}", {"FAAS": FAAS}, user=STRANGER)
            for query in ("", "?wait=5") * 6
        ]
        assert {future.result().status for future in asked} == {401}


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.0\r\n\r\n",
        b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n",
        b"BROKEN\r\n\r\n",
        head(f"POST {RUNTIMES}", "Content-Length: 500"),
    ],
)
def test_clients_that_never_close_their_side_delay_nobody(
    engine: EngineProcess, data: bytes
) -> None:
    """gunicorn waits for each of them for two seconds, in the loop that serves all clients."""
    with ExitStack() as stack:
        for _ in range(60):
            connection = socket.create_connection(("127.0.0.1", engine.port), WAIT_SECONDS)
            stack.enter_context(connection).sendall(data)
        assert engine.request("GET", "/", user=None).status == 200


# ---- row 13: paths that a proxy restricts -------------------------------------------------------


@pytest.mark.parametrize(
    "target",
    [
        *("/metrics/", "/metrics%2f", "//metrics", "///metrics", "/%2fmetrics", "/%6detrics"),
        *(
            "http://x//metrics",
            "http://x/metrics/",
            "http://x/%6Detrics",
            "/./metrics",
            "/metrics;",
        ),
    ],
)
def test_metrics_have_one_path(engine: EngineProcess, target: str) -> None:
    answer = send(engine, head(f"GET {target}"))
    assert status(answer) == 404
    assert b"provision_engine_" not in answer


@pytest.mark.parametrize(
    ("path", "field", "expected"),
    [
        ("/", "SCRIPT_NAME: /wrong", 200),
        ("/", "PATH_INFO: /metrics", 200),
        ("/x/metrics", "SCRIPT_NAME: /x", 404),
        ("/metrics", "SCRIPT_NAME: /metrics", 200),
        (f"{RUNTIMES}/1", "SCRIPT_NAME: /wrong", 401),
    ],
)
def test_no_header_changes_the_path(
    engine: EngineProcess, path: str, field: str, expected: int
) -> None:
    """gunicorn would let every client of this machine, and so of a proxy on it, set these two."""
    answer = send(engine, head(f"GET {path}", field))
    assert status(answer) == expected
    assert (b"provision_engine_" in answer) is (path == "/metrics")


def test_an_address_without_a_path_is_the_root(engine: EngineProcess) -> None:
    assert status(send(engine, head("GET http://x"))) == 200


# ---- row 16 -------------------------------------------------------------------------------------

BROKEN_CHUNKS = {
    "size": b"zz\r\n{}\r\n0\r\n\r\n",
    "negative": b"-2\r\n{}\r\n0\r\n\r\n",
    "no size": b"\r\n{}\r\n0\r\n\r\n",
    "no end of line": b"2\r\n{}XX0\r\n\r\n",
    "too short": b"9\r\n{}\r\n0\r\n\r\n",
    "truncated": b"2\r\n{",
    "no last chunk": b"2\r\n{}\r\n",
    "no trailer": b"2\r\n{}\r\n0\r\n",
    "huge extension": b"2;x=" + b"y" * 100_000 + b"\r\n{}\r\n0\r\n\r\n",
    "endless size": b"1" * 100_000,
    "broken extension": b"2;\r;\r\n{}\r\n0\r\n\r\n",
    "broken trailer": b"2\r\n{}\r\n0\r\nno colon\r\n\r\n",
    "many trailers": b"2\r\n{}\r\n0\r\n" + b"a: b\r\n" * 200 + b"\r\n",
}


@pytest.mark.parametrize("chunks", BROKEN_CHUNKS.values(), ids=BROKEN_CHUNKS)
def test_malformed_chunks_are_the_clients_fault(engine: EngineProcess, chunks: bytes) -> None:
    sent = head(f"POST {RUNTIMES}", "Transfer-Encoding: chunked", user=USER) + chunks
    with logged(engine) as added:
        answer = send(engine, sent)
    assert status(answer) == 400
    assert set(json.loads(answer.partition(b"\r\n\r\n")[2])) == {"error", "message"}
    assert " ERROR " not in added["engine"]


@pytest.mark.parametrize("chunks", BROKEN_CHUNKS.values(), ids=BROKEN_CHUNKS)
def test_a_request_has_one_response_whatever_follows_it(
    engine: EngineProcess, chunks: bytes
) -> None:
    """Nobody reads this body. A second response would be taken for that to the next request."""
    sent = b"GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks
    answer = send(engine, sent)
    assert answer.count(b"HTTP/1.1 ") == 1
    assert status(answer) == 200


@pytest.mark.parametrize("secret", ["pa55word", "pa:55/wo@rd", "p%4055", "pa?55"])
def test_a_password_in_an_absolute_address_is_in_no_log(engine: EngineProcess, secret: str) -> None:
    with logged(engine) as added:
        answer = send(engine, head(f"GET http://devuser:{secret}@host/nowhere"))
        answer += send(engine, head(f"CONNECT devuser:{secret}@host:443"))
        answer += send(engine, head(f"GET devuser:{secret}@host/nowhere"))
    assert re.search(r'"GET http://host/nowhere HTTP/1\.1" (200|40[04]) ', added["api"])
    assert re.search(r'"CONNECT host:443 HTTP/1\.1" 40[045] ', added["api"])
    for text in (*added.values(), answer.decode()):
        assert secret not in text
        assert "devuser" not in text
        assert "wo@rd" not in text


@pytest.mark.parametrize("password", ["e", "in"])
def test_a_short_password_tears_no_line_and_is_in_none(
    sandbox: Sandbox, engine: EngineProcess, password: str
) -> None:
    user = User(f"short{len(password)}", password)
    sandbox.store.add_user(*user)

    with logged(engine) as added:
        made = engine.request("POST", RUNTIMES, {"FAAS": FAAS}, user=user)
        assert made.status == 201
        path = f"{RUNTIMES}/{made.runtime['ID']}"
        assert engine.request("DELETE", path, user=user).status == 204
    assert "Received request to Create a Serverless Runtime" in added["engine"]
    assert "Instantiating service_template" in added["engine"]
    assert "oneflow.instantiate_service(" in added["CloudClient"]
    for text in added.values():
        assert user.session not in text
        assert base64.b64encode(user.session.encode()).decode() not in text


def test_an_old_password_is_a_401_for_what_is_cached_as_well(
    sandbox: Sandbox, engine: EngineProcess
) -> None:
    user = User("changing", "first")
    sandbox.store.add_user(*user)
    assert engine.request("GET", "/flavours", user=user).status == 200
    sandbox.store.user(user.name).password = "second"
    assert engine.request("GET", "/flavours", user=user).status == 401
    assert engine.request("GET", "/flavours", user=User(user.name, "second")).status == 200


def test_the_configuration_shows_no_path(engine: EngineProcess) -> None:
    answer = engine.request("GET", "/server/config", user=None)
    assert answer.json["timeout"] == 30
    assert str(engine.directory) not in answer.content.decode()
    assert "directory" not in answer.json["log"]
    assert "pid_file" not in answer.json["server"]
    assert answer.json["server"]["workers"] == 1


@pytest.mark.parametrize(
    "data", [head("GET /nowhere"), head(f"POST {RUNTIMES}"), b"BROKEN\r\n\r\n"]
)
def test_every_response_has_the_security_headers(engine: EngineProcess, data: bytes) -> None:
    answer = send(engine, data).decode().lower()
    assert "\r\nx-content-type-options: nosniff\r\n" in answer
    assert "\r\ncache-control: no-store\r\n" in answer
    assert "\r\ncontent-security-policy: default-src 'none'; frame-ancestors 'none'\r\n" in answer
