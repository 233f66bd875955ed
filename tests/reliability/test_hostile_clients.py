"""Slow, silent and endless clients: the engine goes on answering the others, alone and proxied."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import select
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from provision_engine.sandbox import Sandbox
from tests.support.client import FAAS, RUNTIMES, authorization, request
from tests.support.engine import EngineProcess, is_answering, settings_for
from tests.support.ports import free_port
from tests.support.waiting import wait_until

HAPROXY = shutil.which("haproxy", path="/usr/sbin:/usr/bin:/usr/local/sbin")
CONFIGURATION = Path(__file__).parents[2] / "etc" / "haproxy.cfg"
IDLE_CONNECTIONS = 2000
LOGIN = f"Authorization: {authorization()['Authorization']}\r\n".encode()
HEAD = b"POST /serverless-runtimes HTTP/1.1\r\nHost: x\r\n" + LOGIN
HALF_REQUESTS = {
    "half a line": b"POST /serverl",
    "half a head": HEAD,
    "no body": HEAD + b"Content-Length: 500\r\n\r\n",
    "half a body": HEAD + b'Content-Length: 500\r\n\r\n{"SERVER',
    "half a chunk": HEAD + b'Transfer-Encoding: chunked\r\n\r\n40\r\n{"SERVER',
}
needs_haproxy = pytest.mark.skipif(HAPROXY is None, reason="haproxy is not installed")


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox() as sandbox:
        yield sandbox


@pytest.fixture
def engines(sandbox: Sandbox, tmp_path: Path) -> Iterator[Callable[[int], list[EngineProcess]]]:
    """Starts so many engines."""
    started: list[EngineProcess] = []

    def start(count: int) -> list[EngineProcess]:
        for number in range(count):
            engine = EngineProcess(tmp_path / f"engine{number}", settings_for(sandbox))
            started.append(engine)
            engine.start()
        return started

    yield start
    for engine in started:
        engine.kill()


@contextlib.contextmanager
def proxy(tmp_path: Path, engines: list[EngineProcess], request_seconds: int = 10) -> Iterator[int]:
    """HAProxy with the shipped configuration, which may be less patient; its port."""
    port, shipped = free_port(), CONFIGURATION.read_text()
    changed = shipped.replace("http-request 10s", f"http-request {request_seconds}s")
    assert f"timeout http-request {request_seconds}s" in changed
    file = tmp_path / "haproxy.cfg"
    file.write_text(changed)
    addresses = {f"PROVISION_ENGINE_{n}": f"127.0.0.1:{e.port}" for n, e in enumerate(engines, 1)}
    process = subprocess.Popen(
        [str(HAPROXY), "-q", "-db", "-f", str(file)],
        env={**os.environ, **addresses, "PROVISION_ENGINE_BIND": f"127.0.0.1:{port}"},
    )
    try:
        wait_until(lambda: is_answering(port))
        yield port
    finally:
        process.terminate()
        process.wait(30)


@contextlib.contextmanager
def crowd(port: int, data: bytes, count: int) -> Iterator[list[socket.socket]]:
    """So many connections that send this and nothing more."""
    with contextlib.ExitStack() as stack:
        connections = []
        for _ in range(count):
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", port), 30))
            connection.sendall(data)
            connections.append(connection)
        yield connections


@pytest.fixture
def many_files() -> Iterator[None]:
    """This process needs as many descriptors as it opens connections."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < IDLE_CONNECTIONS + 500:
        pytest.skip(f"only {hard} open files are allowed here")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, IDLE_CONNECTIONS + 500), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_thousands_of_idle_connections_hinder_nobody(
    engines: Callable[[int], list[EngineProcess]], many_files: None
) -> None:
    (engine,) = engines(1)
    with crowd(engine.port, b"", IDLE_CONNECTIONS) as connections:
        made = engine.request("POST", RUNTIMES, {"FAAS": FAAS})
        assert made.status == 201
        path = f"{RUNTIMES}/{made.runtime['ID']}"
        assert [engine.request("GET", path).status for _ in range(50)] == [200] * 50
        # They are no dead weight either: each may still send its request.
        connections[-1].sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
        assert connections[-1].recv(12).startswith(b"HTTP/1.0 200")


@pytest.mark.parametrize("half", HALF_REQUESTS)
def test_half_requests_take_no_thread_from_others(
    engines: Callable[[int], list[EngineProcess]], half: str
) -> None:
    """Many more of them than the engine has threads."""
    (engine,) = engines(1)
    with crowd(engine.port, HALF_REQUESTS[half], 100):
        with ThreadPoolExecutor(4) as pool:
            asked = [pool.submit(engine.request, "GET", RUNTIMES) for _ in range(40)]
        assert [answer.result().status for answer in asked] == [200] * 40


def endless(port: int, head: bytes, piece: bytes, most_bytes: int) -> tuple[bytes, int]:
    """Send for ever; the answer, and how much was sent until it came."""
    with socket.create_connection(("127.0.0.1", port), 30) as connection:
        connection.sendall(head)
        connection.settimeout(0.01)
        sent_bytes, pending = 0, b""
        while sent_bytes < most_bytes:
            pending = pending or piece
            try:
                number = connection.send(pending)
            except TimeoutError:
                number = 0
            except OSError:
                break  # closed by the engine, perhaps before its answer could be read
            sent_bytes, pending = sent_bytes + number, pending[number:]
            if select.select([connection], [], [], 0)[0]:
                with contextlib.suppress(OSError):
                    return connection.recv(65_536), sent_bytes
                break
        return b"", sent_bytes


def test_a_body_without_end_is_ended(
    engines: Callable[[int], list[EngineProcess]],
) -> None:
    (engine,) = engines(1)
    piece = b"10000\r\n" + b" " * 65_536 + b"\r\n"
    head = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
    answer, sent_bytes = endless(engine.port, head, piece, 64 * 1_048_576)
    assert sent_bytes < 32 * 1_048_576
    if answer:  # else the connection was closed before it could be read
        assert answer.split(b"\r\n")[0].split()[1] == b"413"
    assert engine.request("GET", RUNTIMES).status == 200


def test_a_head_without_end_is_ended(
    engines: Callable[[int], list[EngineProcess]],
) -> None:
    (engine,) = engines(1)
    answer, sent_bytes = endless(engine.port, HEAD, b"X-More: " + b"y" * 1000 + b"\r\n", 2**26)
    assert sent_bytes < 8 * 1_048_576
    if answer:
        assert answer.split(b"\r\n")[0].split()[1] in (b"431", b"400")
    assert engine.request("GET", RUNTIMES).status == 200


# ---- behind the proxy ----------------------------------------------------------------------


@needs_haproxy
@pytest.mark.parametrize("half", ["half a head", "half a body"])
def test_half_requests_never_reach_an_engine(
    engines: Callable[[int], list[EngineProcess]], tmp_path: Path, half: str
) -> None:
    (engine,) = engines(1)
    with proxy(tmp_path, [engine], request_seconds=1) as port:
        with crowd(port, HALF_REQUESTS[half], 50) as connections:
            assert request(port, "GET", RUNTIMES).status == 200
            answers = [connection.recv(65_536) for connection in connections]
        head, _, body = answers[0].partition(b"\r\n\r\n")
        assert {answer.split()[1] for answer in answers} == {b"408"}
        if half == "half a body":  # else HAProxy knows no form but its own
            assert b"content-type: application/json" in head.lower()
            assert sorted(json.loads(body)) == ["error", "message"]
    assert "POST" not in engine.log("api")


@needs_haproxy
def test_the_proxys_own_errors_have_our_form(
    engines: Callable[[int], list[EngineProcess]], tmp_path: Path
) -> None:
    (engine,) = engines(1)
    with proxy(tmp_path, [engine]) as port:
        # It answers when its buffer is full; to go on sending would race with the answer.
        begun = {"headers": {"Content-Length": "1100000"}, "body": b" " * 20_000}
        large = request(port, "POST", RUNTIMES, **begun)
        engine.kill()
        gone = wait_until(lambda: (a := request(port, "GET", RUNTIMES)).status == 503 and a)
    for answer, status in ((large, 413), (gone, 503)):
        assert answer.status == status, answer
        assert answer.headers["content-type"] == "application/json"
        assert sorted(answer.json) == ["error", "message"]


@needs_haproxy
def test_restarts_behind_the_proxy_lose_no_request(
    engines: Callable[[int], list[EngineProcess]], sandbox: Sandbox, tmp_path: Path
) -> None:
    """Nothing is repeated by the clients here, reads or creates."""
    several = engines(3)
    with proxy(tmp_path, several) as port:
        end, statuses, guard = threading.Event(), [], threading.Lock()

        def call(number: int) -> None:
            while not end.is_set():
                is_create = number == 0
                sent = ("POST", {"FAAS": FAAS}) if is_create else ("GET", None)
                answer = request(port, sent[0], RUNTIMES, sent[1])
                with guard:
                    statuses.append(answer.status)
                if is_create:
                    time.sleep(0.1)  # fewer runtimes, so that the lists stay short

        with ThreadPoolExecutor(5) as pool:
            callers = [pool.submit(call, number) for number in range(5)]
            try:
                for engine in several[:2]:
                    wait_until(lambda: len(statuses) > 20)
                    engine.stop()
                    engine.start()
                    # The next one only when the proxy has seen that this one is back.
                    served = engine.log("api").count(RUNTIMES)
                    wait_until(lambda: engine.log("api").count(RUNTIMES) > served)  # noqa: B023
            finally:
                end.set()
        for caller in callers:
            caller.result()
    assert set(statuses) == {200, 201}
    assert statuses.count(201) == sandbox.store.count()["runtimes"] > 0


def test_what_is_in_flight_when_the_engine_stops_is_answered(
    engines: Callable[[int], list[EngineProcess]], sandbox: Sandbox
) -> None:
    (engine,) = engines(1)
    sandbox.faults.set("oneflow", "slow", seconds=1.5)
    with ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(engine.request, "POST", RUNTIMES, {"FAAS": FAAS}) for _ in range(3)]
        wait_until(lambda: sum(call.method == "POST" for call in sandbox.calls) == 3)
        engine.stop()
    assert [answer.result().status for answer in asked] == [201] * 3
    assert sandbox.store.count() == {"runtimes": 3, "services": 3, "vms": 3}
