"""Slow, silent and endless clients: the engine goes on answering the others, alone and proxied."""

from __future__ import annotations

import contextlib
import http.client
import json
import resource
import select
import socket
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from provision_engine.sandbox import Sandbox
from tests.support.client import FAAS, RUNTIMES, Response, authorization, request
from tests.support.engine import EngineProcess, engine_process, settings_for
from tests.support.waiting import wait_until

from . import proxies

IDLE_CONNECTIONS = 2000
SLOW_CLIENTS = 200
LOGIN = f"Authorization: {authorization()['Authorization']}\r\n".encode()
HEAD = b"POST /serverless-runtimes HTTP/1.1\r\nHost: x\r\n" + LOGIN
HALF_REQUESTS = {
    "half a line": b"POST /serverl",
    "half a head": HEAD,
    "no body": HEAD + b"Content-Length: 500\r\n\r\n",
    "half a body": HEAD + b'Content-Length: 500\r\n\r\n{"SERVER',
    "half a chunk": HEAD + b'Transfer-Encoding: chunked\r\n\r\n40\r\n{"SERVER',
}


@pytest.fixture
def engine(sandbox: Sandbox, tmp_path: Path) -> Iterator[EngineProcess]:
    with engine_process(tmp_path / "engine", sandbox) as engine:
        yield engine


@contextlib.contextmanager
def crowd(
    port: int, data: bytes, count: int, has_tls: bool = False
) -> Iterator[list[socket.socket]]:
    """So many connections, at most 50 from one address, that send this and nothing more."""
    with contextlib.ExitStack() as stack:
        connections = []
        for number in range(count):
            source = f"127.0.1.{1 + number // 50}"
            client = proxies.connected(port, has_tls=has_tls, source=source)
            connections.append(stack.enter_context(client))
            connections[-1].sendall(data)
        yield connections


@pytest.fixture
def many_files() -> Iterator[None]:
    """This process needs as many descriptors as it opens connections."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, IDLE_CONNECTIONS + 500), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_thousands_of_idle_connections_hinder_nobody(
    engine: EngineProcess, many_files: None
) -> None:
    with crowd(engine.port, b"", IDLE_CONNECTIONS) as connections:
        made = engine.request("POST", RUNTIMES, {"FAAS": FAAS})
        assert made.status == 201
        path = f"{RUNTIMES}/{made.runtime['ID']}"
        assert [engine.request("GET", path).status for _ in range(50)] == [200] * 50
        # They are no dead weight either: each may still send its request.
        connections[-1].sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
        assert connections[-1].recv(12).startswith(b"HTTP/1.0 200")


class ImpatientEngine(EngineProcess):
    """Gives clients half a second for the head of a request, and for its body."""

    def command(self, *arguments: str) -> list[str]:
        program = (
            "import sys; from provision_engine import cli; "
            "from provision_engine.server import arrival; "
            "arrival.HEAD_SECONDS = arrival.BODY_SECONDS = 0.5; sys.exit(cli.main())"
        )
        return [sys.executable, "-c", program, "--config", str(self.file), *arguments]


@pytest.mark.parametrize("half", HALF_REQUESTS)
def test_half_requests_end_and_the_engine_answers_again(
    sandbox: Sandbox, tmp_path: Path, half: str
) -> None:
    """Many more of them than the engine has threads, and no proxy in front of it."""
    engine = ImpatientEngine(tmp_path / "engine", settings_for(sandbox))
    engine.start()
    with contextlib.closing(engine), crowd(engine.port, HALF_REQUESTS[half], 50) as connections:
        assert engine.request("GET", RUNTIMES, seconds=120).status == 200
        for connection in connections:
            while connection.recv(65_536):
                pass


def send_endlessly(port: int, head: bytes, piece: bytes, most_bytes: int) -> int:
    """Send `piece` again and again; how many bytes until the engine responds or closes."""
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
                break
            sent_bytes, pending = sent_bytes + number, pending[number:]
            if select.select([connection], [], [], 0)[0]:
                break
        return sent_bytes


@pytest.mark.parametrize(
    ("head", "piece", "most_mb", "status"),
    [
        (HALF_REQUESTS["half a head"], b"X-More: " + b"y" * 1000 + b"\r\n", 8, 431),
        (
            HEAD + b"Transfer-Encoding: chunked\r\n\r\n",
            b"10000\r\n" + b" " * 65_536 + b"\r\n",
            *(32, 413),
        ),
    ],
    ids=["headers", "body"],
)
def test_an_endless_request_is_rejected(
    engine: EngineProcess, head: bytes, piece: bytes, most_mb: int, status: int
) -> None:
    assert send_endlessly(engine.port, head, piece, 64 * 2**20) < most_mb * 2**20
    # The connection may be closed before the client can read the response.
    wait_until(lambda: f'" {status} ' in engine.log("api"))
    assert engine.request("GET", RUNTIMES).status == 200


# ---- behind a proxy ------------------------------------------------------------------------


def raw_over_tls(port: int, data: bytes) -> Response:
    with proxies.connected(port, has_tls=True) as connection:
        connection.sendall(data)
        response = http.client.HTTPResponse(connection)
        response.begin()
        return Response(response.status, dict(response.getheaders()), response.read())


def got_over_tls(port: int, path: str = RUNTIMES) -> Response:
    return raw_over_tls(port, b"GET %s HTTP/1.1\r\nHost: x\r\n%s\r\n" % (path.encode(), LOGIN))


@pytest.mark.parametrize("half", HALF_REQUESTS)
@pytest.mark.parametrize("name", ["haproxy", "nginx"])
def test_slow_clients_behind_a_proxy_never_reach_an_engine(
    engine: EngineProcess, tmp_path: Path, many_files: None, name: str, half: str
) -> None:
    """All others are answered meanwhile; behind HAProxy before the first is given up."""
    is_patient = {"request_seconds": 60} if name == "haproxy" else {}
    with (
        getattr(proxies, name)(tmp_path, [engine], **is_patient) as port,
        crowd(port, HALF_REQUESTS[half], SLOW_CLIENTS, has_tls=name == "nginx") as connections,
    ):
        get = got_over_tls if name == "nginx" else lambda port: request(port, "GET", RUNTIMES)
        assert [get(port).status for _ in range(20)] == [200] * 20
        assert name == "nginx" or select.select(connections, [], [], 0)[0] == []
    assert "POST" not in engine.log("api")


@pytest.mark.parametrize("half", ["half a head", "half a body"])
def test_haproxy_answers_half_requests_itself(
    engine: EngineProcess, tmp_path: Path, half: str
) -> None:
    with proxies.haproxy(tmp_path, [engine], request_seconds=1) as port:
        with crowd(port, HALF_REQUESTS[half], 50) as connections:
            answers = [connection.recv(65_536) for connection in connections]
        head, _, body = answers[0].partition(b"\r\n\r\n")
        assert {answer.split()[1] for answer in answers} == {b"408"}
        if half == "half a body":  # for half a head HAProxy's own page cannot be changed
            assert b"content-type: application/json" in head.lower()
            assert sorted(json.loads(body)) == ["error", "message"]
    assert "POST" not in engine.log("api")


def assert_error_form(answer: Response, status: int) -> None:
    headers = {name.lower(): value for name, value in answer.headers.items()}
    assert (answer.status, headers["content-type"]) == (status, "application/json")
    assert sorted(answer.json) == ["error", "message"]


def test_haproxys_own_errors_have_the_form_of_all_errors(
    engine: EngineProcess, tmp_path: Path
) -> None:
    with proxies.haproxy(tmp_path, [engine]) as port:
        wait_until(lambda: request(port, "GET", "/").status == 200)
        # It answers when its buffer is full; to go on sending would race with the answer.
        begun = {"headers": {"Content-Length": "1100000"}, "body": b" " * 20_000}
        assert_error_form(request(port, "POST", RUNTIMES, **begun), 413)
        engine.kill()
        gone = wait_until(lambda: (a := request(port, "GET", RUNTIMES)).status == 503 and a)
        assert_error_form(gone, 503)


def test_nginxs_own_errors_have_the_form_of_all_errors(
    engine: EngineProcess, tmp_path: Path
) -> None:
    with proxies.nginx(tmp_path, [engine]) as port:
        refused = got_over_tls(port, f"{RUNTIMES}/999999")
        assert_error_form(refused, 404)
        assert "999999" in refused.content.decode()  # the engine's own, unchanged
        head = HEAD + b"Content-Length: 1100000\r\n\r\n"
        assert_error_form(raw_over_tls(port, head), 413)
        assert_error_form(raw_over_tls(port, b"BROKEN\r\n\r\n"), 400)
        long_line = b"GET /" + b"x" * 9_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n"
        assert_error_form(raw_over_tls(port, long_line), 414)
        long_header = HEAD + b"X: " + b"x" * 9_000 + b"\r\n\r\n"
        assert_error_form(raw_over_tls(port, long_header), 431)
        assert_error_form(request(port, "GET", RUNTIMES), 400)  # without TLS
        engine.kill()
        gone = got_over_tls(port)
        assert_error_form(gone, 502)
        assert gone.headers["Retry-After"] == "1"


def test_nginx_limits_the_connections_of_one_address(engine: EngineProcess, tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        port = stack.enter_context(proxies.nginx(tmp_path, [engine]))
        for _ in range(64):
            connection = stack.enter_context(proxies.connected(port, has_tls=True))
            connection.sendall(HALF_REQUESTS["half a body"])
        limited = wait_until(lambda: (a := got_over_tls(port)).status == 429 and a)
        assert_error_form(limited, 429)


def test_restarts_behind_the_proxy_lose_no_request(
    engine: EngineProcess, sandbox: Sandbox, tmp_path: Path
) -> None:
    """Nothing is repeated by the clients here, reads or creates."""
    with contextlib.ExitStack() as stack:
        several = [engine]
        for number in range(2):
            further = engine_process(tmp_path / f"engine{number}", sandbox)
            several.append(stack.enter_context(further))
        port = stack.enter_context(proxies.haproxy(tmp_path, several))
        wait_until(lambda: request(port, "GET", "/").status == 200)
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
                for one in several[:2]:
                    wait_until(lambda: len(statuses) > 20)
                    one.stop()
                    one.start()
                    # The next one only when the proxy has seen that this one is back.
                    served = one.log("api").count(RUNTIMES)
                    wait_until(lambda: one.log("api").count(RUNTIMES) > served)  # noqa: B023
            finally:
                end.set()
        for caller in callers:
            caller.result()
    assert set(statuses) == {200, 201}
    assert statuses.count(201) == sandbox.store.count()["runtimes"] > 0


def test_what_is_in_flight_when_the_engine_stops_is_answered(
    engine: EngineProcess, sandbox: Sandbox
) -> None:
    sandbox.faults.set("oneflow", "slow", seconds=1.5)
    with ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(engine.request, "POST", RUNTIMES, {"FAAS": FAAS}) for _ in range(3)]
        wait_until(lambda: sum(call.method == "POST" for call in sandbox.calls) == 3)
        engine.stop()
    assert [answer.result().status for answer in asked] == [201] * 3
    assert sandbox.store.count() == {"runtimes": 3, "services": 3, "vms": 3}
