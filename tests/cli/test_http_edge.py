"""HTTP and TLS in front of the application, with slow and misbehaving clients."""

from __future__ import annotations

import http.client
import json
import os
import re
import select
import signal
import ssl
import threading
from http import HTTPStatus
from pathlib import Path

import jsonschema
import pytest
from gunicorn.http import errors

from provision_engine import config
from provision_engine.errors import OperatorError
from provision_engine.server import listener, refusals, serving
from provision_engine.server.worker import Worker
from tests.support.programs import make_certificate
from tests.support.waiting import WAIT_SECONDS, wait_until

from .cli_engine import Engine

ERROR_SCHEMA = config.load_schema("error.json")


def error_of(response: bytes) -> tuple[int, str]:
    """The status and message of an error response; AssertionError if it has another form."""
    head, _, body = response.partition(b"\r\n\r\n")
    status, *headers = head.decode().split("\r\n")
    names = dict(header.split(": ", 1) for header in headers)
    assert names["Content-Type"] == "application/json"
    assert int(names["Content-Length"]) == len(body)
    assert re.fullmatch(r"[0-9a-f]{8}", names["X-Request-ID"])
    error = json.loads(body)
    assert set(error) == {"error", "message"}
    jsonschema.Draft4Validator(ERROR_SCHEMA).validate(error)
    return int(status.split()[1]), error["message"]


@pytest.mark.parametrize(
    ("request_bytes", "status", "message"),
    [
        (b"GARBAGE\r\n\r\n", 400, "the request line is malformed"),
        (b"G\x00T / HTTP/1.1\r\n\r\n", 400, "malformed"),
        (b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", 400, "malformed"),
        (b"GET / HTTP/9.9\r\n\r\n", 505, "the version of HTTP must be 1.0 or 1.1"),
        (b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\n\r\n", 414, "the request line is too long"),
        (b"GET / HTTP/1.1\r\nX: " + b"a" * 20_000 + b"\r\n\r\n", 431, "header fields"),
        (b"GET / HTTP/1.1\r\n" + b"X: a\r\n" * 200 + b"\r\n", 431, "at most 100 header fields"),
        (b"GET / HTTP/1.1\r\nAuthorization pass9\r\n\r\n", 400, "header"),
        (b"GET / HTTP/1.1\r\nX: a\r\n pass9\r\n\r\n", 400, "a header field spans several lines"),
        (b"GET / HTTP/1.1\r\nContent-Length: pass9\r\n\r\n", 400, "a header field is malformed"),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: pass9\r\n\r\n", 501, "chunked is the only"),
        (b"GET /crash HTTP/1.1\r\n\r\n", 500, "the engine failed; its log has the reason"),
    ],
)
def test_every_failure_has_the_error_form(
    shared: Engine, request_bytes: bytes, status: int, message: str
) -> None:
    answer = shared.send(request_bytes)
    found, text = error_of(answer)
    assert found == status
    assert message in text
    assert "pass9" not in text
    assert "pass9" not in shared.log()
    assert f'"-" {status} ' in shared.log("api")
    request_id = re.search(rb"X-Request-ID: (\w+)", answer)
    assert request_id
    assert f" -- {request_id[1].decode()}: " in shared.log()
    assert shared.get()[0] == 200


def test_every_parse_error_of_gunicorn_has_a_status() -> None:
    for name, kind in vars(errors).items():
        if isinstance(kind, type) and issubclass(kind, errors.ParseException):
            status, explanation = refusals.refusal(kind.__new__(kind))
            assert status >= HTTPStatus.BAD_REQUEST, name
            assert explanation.islower() or "HTTP" in explanation, name
    assert refusals.refusal(ssl.SSLError(1, "x"))[0] == HTTPStatus.BAD_REQUEST
    assert refusals.refusal(ValueError("pass9")) == (
        HTTPStatus.INTERNAL_SERVER_ERROR,
        "the engine failed; its log has the reason",
    )


def test_each_request_has_one_line_in_the_access_log(shared: Engine) -> None:
    shared.get("/x?y=1", headers={"Authorization": "Basic cGFzczk="})
    line = wait_until(lambda: re.search(r".*/x.*", shared.log("api")))[0]
    assert re.fullmatch(
        r'127\.0\.0\.1 - - \[[^]]+\] "GET /x\?y=1 HTTP/1\.1" 200 \d+ 0\.\d{4}', line
    )
    assert "cGFzczk" not in shared.log() + shared.log("api")


def test_a_connection_is_kept_for_the_next_request(shared: Engine) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", shared.port, timeout=WAIT_SECONDS)
    connection.connect()
    first = connection.sock
    for _ in range(3):
        connection.request("GET", "/")
        assert connection.getresponse().read()
        assert connection.sock is first
    connection.close()


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"POST /body HTTP/1.1\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello",
        b"POST /body HTTP/1.1\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n",
    ],
)
def test_a_body_arrives_complete(shared: Engine, request_bytes: bytes) -> None:
    assert shared.send(request_bytes).endswith(b"\r\n\r\n5")


def test_idle_connections_occupy_no_thread(shared: Engine) -> None:
    """There are many more than threads, and they stay open while other requests are served."""
    with shared.connections(300) as idle:
        assert [shared.get()[0] for _ in range(20)] == [200] * 20
        for connection in (idle[0], idle[-1]):
            connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
            assert connection.recv(100).startswith(b"HTTP/1.0 200")


def test_incomplete_requests_are_dropped_and_others_are_served(engine: Engine) -> None:
    """There is one thread, and no proxy."""
    engine.environment |= {"STUB_HEAD_SECONDS": "0.5", "STUB_BODY_SECONDS": "0.5"}
    start_with_one_thread(engine)
    body = b"POST /body HTTP/1.1\r\nContent-Length: 99\r\n\r\n"
    chunked = b"POST /body HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3"
    with (
        engine.connections(2, b"GET / HTTP/1.1\r\nX: ") as slow,
        engine.connections(2, body) as slower,
        engine.connections(2, chunked) as slowest,
    ):
        assert [engine.get()[0] for _ in range(20)] == [200] * 20
        for connection in (*slow, *slower, *slowest):
            while connection.recv(65_536):
                pass


@pytest.mark.parametrize(
    ("begun", "status"),
    [
        (b"GET / HTTP/1.1\r\nX: ", 408),
        (b"POST /body HTTP/1.1\r\nConnection: close\r\nContent-Length: 99999\r\n\r\n", 200),
    ],
)
def test_a_client_that_sends_byte_by_byte_gets_no_extra_time(
    engine: Engine, begun: bytes, status: int
) -> None:
    """Neither for the head nor for the body; what came of that is up to the application."""
    engine.environment |= {"STUB_HEAD_SECONDS": "1", "STUB_BODY_SECONDS": "1"}
    engine.start()
    with engine.connections(1, begun) as (connection,):
        answer = b""
        while not answer:
            connection.sendall(b"y")
            if select.select([connection], [], [], 0.05)[0]:
                answer = b"".join(iter(lambda: connection.recv(65_536), b""))
    assert answer.startswith(b"HTTP/1.1 %d " % status)
    if status == 408:
        assert error_of(answer) == (408, "the request did not arrive in time")
    # The application may take as long as it likes.
    assert engine.get("/slow/2.5")[0] == 200


def start_with_one_thread(engine: Engine, **settings: object) -> None:
    engine.configuration["server"].update(workers=1, threads=1)
    engine.configuration |= {"wait": {"max_requests": 1}, **settings}
    engine.write()
    assert engine.call("start").returncode == 0


def test_a_client_that_does_not_read_occupies_no_thread_for_ever(engine: Engine) -> None:
    engine.environment["STUB_SEND_SECONDS"] = "1"
    start_with_one_thread(engine)
    with engine.connections(2, b"GET /large HTTP/1.1\r\n\r\n") as lazy:
        for connection in lazy:
            assert connection.recv(10) == b"HTTP/1.1 2"
        assert engine.get()[0] == 200


def test_a_request_in_pieces_is_served(shared: Engine) -> None:
    whole = b"POST /body HTTP/1.1\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello"
    with shared.connections(1) as (connection,):
        for number in range(len(whole)):
            connection.sendall(whole[number : number + 1])
        answer = b"".join(iter(lambda: connection.recv(65_536), b""))
    assert answer.endswith(b"\r\n\r\n5")


def test_a_client_that_expects_100_continue_gets_it(shared: Engine) -> None:
    head = b"POST /body HTTP/1.1\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n"
    with shared.connections(1, head) as (connection,):
        assert connection.recv(100).startswith(b"HTTP/1.1 100 Continue")
        connection.sendall(b"hello")
        assert connection.recv(9).startswith(b"HTTP/1.1 ")


def test_a_client_that_disconnects_breaks_nothing(engine: Engine) -> None:
    engine.start()
    for data in (b"", b"GET", b"POST /body HTTP/1.1\r\nContent-Length: 9\r\n\r\nabc"):
        with engine.connections(1, data):
            pass
    assert engine.get()[0] == 200
    assert "ERROR" not in engine.log()


# ---- TLS -------------------------------------------------------------------------------


@pytest.fixture
def tls(tmp_path: Path) -> dict[str, str]:
    certificate, key = make_certificate(tmp_path)
    return {"certificate": str(certificate), "key": str(key)}


def answered_over_tls(engine: Engine, certificate: str) -> bool:
    trust = ssl.create_default_context(cafile=certificate)
    with (
        engine.connections(1) as (plain,),
        trust.wrap_socket(plain, server_hostname="127.0.0.1") as connection,
    ):
        assert connection.version() in ("TLSv1.2", "TLSv1.3")
        connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
        return connection.recv(65_536).startswith(b"HTTP/1.0 200")


def test_the_engine_speaks_tls(engine: Engine, tls: dict[str, str]) -> None:
    engine.configuration |= {"tls": tls, "host": "0.0.0.0"}
    engine.write()
    done = engine.call("start")
    assert done.stdout.endswith(f" on https://0.0.0.0:{engine.port}\n")
    assert answered_over_tls(engine, tls["certificate"])
    assert "without TLS" not in engine.log()
    # A client without TLS is rejected and blocks nothing.
    engine.send(b"GET / HTTP/1.0\r\n\r\n")
    assert engine.call("status").returncode == 0


def test_an_incomplete_handshake_times_out_and_others_are_served(
    engine: Engine, tls: dict[str, str]
) -> None:
    engine.environment["STUB_HEAD_SECONDS"] = "1"
    start_with_one_thread(engine, tls=tls)
    with engine.connections(4, b"\x16\x03\x01\x02\x00\x01") as slow:
        assert answered_over_tls(engine, tls["certificate"])
        for connection in slow:
            while connection.recv(65_536):
                pass


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        ("none.pem", "tls.key {key} cannot be read: No such file"),
        ("", "are not a certificate and its key"),
    ],
)
def test_invalid_certificate_files_stop_the_start(
    engine: Engine, tls: dict[str, str], key: str, reason: str
) -> None:
    tls["key"] = str(engine.directory / key) if key else tls["certificate"]
    engine.configuration["tls"] = tls
    engine.write()
    done = engine.call("start")
    assert (done.returncode, reason.format(**tls) in done.stderr) == (1, True)


# ---- signals ---------------------------------------------------------------------------


def test_a_signal_that_would_replace_the_program_is_ignored(engine: Engine) -> None:
    """Also after a reload of the configuration."""
    pid = engine.start()
    for number in (1, 2):
        os.kill(pid, signal.SIGUSR2)
        os.kill(pid, signal.SIGWINCH)
        wait_until(lambda: engine.log().count("USR2 is not supported") == number)  # noqa: B023
        os.kill(pid, signal.SIGHUP)
        wait_until(lambda: engine.log().count("Handling signal: hup") == number)  # noqa: B023
    assert engine.get()[0] == 200
    assert engine.pid_file.read_text() == f"{pid}\n"


# ---- pieces ----------------------------------------------------------------------------


def test_the_timeout_of_a_worker_exceeds_every_request() -> None:
    found = config.parse("timeout: 100\nserver: {grace_seconds: 40}", Path("/x"))
    settings = serving.Server(found, 3, None).cfg
    assert settings.timeout >= 100 + found.wait.max_seconds + 40
    assert settings.graceful_timeout == 40
    assert settings.worker_class is Worker


def test_only_after_a_killed_engine_a_start_waits_for_the_port() -> None:
    with listener.listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(OperatorError, match="Address already in use"):
            listener.listen("127.0.0.1", port)
        threading.Timer(0.3, taken.close).start()
        listener.listen("127.0.0.1", port, patience_seconds=10).close()


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        *[("127.0.0.1", True), ("127.1.2.3", True), ("::1", True), ("localhost", True)],
        *[("0.0.0.0", False), ("::", False), ("10.0.0.1", False), ("front-end", False)],
    ],
)
def test_only_loopback_addresses_are_safe_without_tls(host: str, loopback: bool) -> None:
    assert listener.is_loopback(host) is loopback
