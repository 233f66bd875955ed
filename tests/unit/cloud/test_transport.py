"""Both clients over real sockets: never beyond their deadline, never more calls than admitted."""

from __future__ import annotations

import contextlib
import itertools
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from provision_engine import errors
from provision_engine.cloud.oned import Oned
from provision_engine.cloud.oneflow import Oneflow
from provision_engine.cloud.transport import Backend
from provision_engine.deadline import Deadline
from tests.unit.support import xmlrpc_answer

CLIENTS = ("oned", "oneflow")
XML = xmlrpc_answer(True, 9).encode()
OK = {
    "oned": b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(XML), XML),
    "oneflow": b"HTTP/1.1 204 No Content\r\n\r\n",
}


@contextmanager
def server(answer: Callable[[socket.socket], None]) -> Iterator[str]:
    """A server that reads the header section of each request and then calls `answer`."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listening.accept()
                except OSError:
                    return
                threading.Thread(target=one, args=(connection,), daemon=True).start()

        def one(connection: socket.socket) -> None:
            with connection:
                try:
                    while connection.recv(65536):
                        answer(connection)
                except OSError:
                    return

        threading.Thread(target=serve, daemon=True).start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        listening.shutdown(socket.SHUT_RDWR)


SERVER_SECONDS = 30
"""After this time a server closes; a client that ignores its deadline fails otherwise then."""


def hang(connection: socket.socket) -> None:
    connection.settimeout(SERVER_SECONDS)
    connection.recv(1)


ENOUGH_DRIPS = 500
"""A client that ignores its deadline reads so many bytes, one by one."""


def dripping(start: bytes, repeated: bytes) -> tuple[Callable[[socket.socket], None], list[int]]:
    """An answer that goes on byte by byte after its start; and the bytes that were sent so."""
    sent: list[int] = []

    def drip(connection: socket.socket) -> None:
        connection.sendall(start)
        for byte in itertools.islice(itertools.cycle(repeated), ENOUGH_DRIPS):
            connection.sendall(bytes([byte]))
            sent.append(byte)
            time.sleep(0.02)
        connection.shutdown(socket.SHUT_RDWR)

    return drip, sent


def call(client: str, backend: Backend, seconds: float = 10) -> None:
    """Make a call that must not be repeated."""
    if client == "oned":
        Oned(backend, "u:p", Deadline(seconds)).delete_document(9)
    else:
        Oneflow(backend, "u:p", Deadline(seconds)).delete_service(9)


def send(client: str, url: str, seconds: float = 10) -> None:
    call(client, Backend(client, url, 4), seconds)


each_client = pytest.mark.parametrize("client", CLIENTS)


@each_client
def test_a_response_is_returned(client: str) -> None:
    with server(lambda c: c.sendall(OK[client])) as url:
        send(client, url)


@each_client
def test_a_request_to_a_backend_that_hangs_ends_at_the_deadline(client: str) -> None:
    with server(hang) as url, pytest.raises(errors.BackendTimeout):
        send(client, url, 0.3)


@each_client
@pytest.mark.parametrize(
    ("start", "repeated"),
    [
        (b"HTTP/1.1 200 ", b"O"),
        (b"HTTP/1.1 200 OK\r\n", b"A: b\r\n"),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n", b"."),
        (b"HTTP/1.1 200 OK\r\n\r\n", b"."),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"0"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\n.\r\n"),
    ],
    ids=["status line", "headers", "interim", "body", "endless body", "chunk size", "chunks"],
)
def test_a_response_that_comes_byte_by_byte_ends_at_the_deadline(
    client: str, start: bytes, repeated: bytes
) -> None:
    """504: OpenNebula did not finish within ``timeout``."""
    drip, sent = dripping(start, repeated)
    with server(drip) as url, pytest.raises(errors.BackendTimeout):
        send(client, url, 0.5)
    assert len(sent) < ENOUGH_DRIPS / 5


@each_client
@pytest.mark.parametrize(
    "start",
    [b"HTTP/1.1 200 OK\r\nContent-", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n<"],
    ids=["headers", "body"],
)
def test_a_response_that_stalls_late_ends_at_the_deadline(client: str, start: bytes) -> None:
    """Whatever came until then does not begin the time anew."""

    def stall(connection: socket.socket) -> None:
        time.sleep(1.6)
        connection.sendall(start)
        hang(connection)

    began_at = time.monotonic()
    with server(stall) as url, pytest.raises(errors.BackendTimeout):
        send(client, url, 2)
    assert (time.monotonic() - began_at) / 2 < 1.5


@each_client
def test_addresses_that_do_not_answer_share_the_time(
    client: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A host may have several of them, and one that answers is found behind two that do not."""
    with server(lambda c: c.sendall(OK[client])) as url, full() as silent:
        port = int(url.rpartition(":")[2])
        found = [
            (socket.AF_INET, socket.SOCK_STREAM, 0, "", ("127.0.0.1", port))
            for port in (silent, silent, port)
        ]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: list(found))
        send(client, "http://host.example", 3)
        del found[2]
        began_at = time.monotonic()
        with pytest.raises(errors.BackendTimeout):
            send(client, "http://host.example", 1)
        assert (time.monotonic() - began_at) / 1 < 1.8


@contextmanager
def full() -> Iterator[int]:
    """A port on which a new connection is neither accepted nor refused."""
    with socket.socket() as listening, contextlib.ExitStack() as stack:
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        for _ in range(3):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listening.getsockname())
        yield listening.getsockname()[1]


@each_client
def test_a_backend_that_refuses_connections_cannot_be_reached(client: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with pytest.raises(errors.BackendDown, match="Connection refused"):
        send(client, f"http://127.0.0.1:{port}")


@each_client
@pytest.mark.parametrize(
    "response",
    [
        b"Content-Length: 100\r\n\r\nhalf",
        b"Transfer-Encoding: chunked\r\n\r\n64\r\nhalf",
        b"Transfer-Encoding: chunked\r\n\r\nno number\r\n",
    ],
    ids=["length", "chunk", "size of a chunk"],
)
def test_a_response_that_ends_in_the_middle_is_invalid(client: str, response: bytes) -> None:
    def cut(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\n" + response)
        connection.shutdown(socket.SHUT_RDWR)

    with server(cut) as url, pytest.raises(errors.BadGateway):
        send(client, url)


@each_client
@pytest.mark.parametrize("earlier", [errors.DeployFailed("no"), ValueError("no")])
def test_a_failure_while_another_one_is_handled_is_judged_by_itself(
    client: str, earlier: Exception
) -> None:
    """What is undone after a failure fails in its own way."""
    with server(lambda c: c.shutdown(socket.SHUT_RDWR)) as url:
        try:
            raise earlier
        except type(earlier):
            with pytest.raises(errors.BackendUnreachable) as caught:
                send(client, url)
    assert not isinstance(caught.value, errors.BackendDown)


@pytest.mark.parametrize("path", ["/%7Eflow", "/x/../flow", "/a b"])
def test_the_deadline_holds_however_the_url_is_written(path: str) -> None:
    with server(hang) as url, pytest.raises(errors.BackendTimeout):
        send("oneflow", url + path, 0.3)


def test_a_redirect_is_not_followed() -> None:
    moved = b"HTTP/1.1 302 Found\r\nLocation: http://[bad\r\nContent-Length: 0\r\n\r\n"
    with server(lambda c: c.sendall(moved)) as url, pytest.raises(errors.BadGateway):
        send("oneflow", url)


@each_client
def test_garbage_instead_of_http_is_an_invalid_response(client: str) -> None:
    def garbage(connection: socket.socket) -> None:
        connection.sendall(b"\x00\x01 no http at all\r\n\r\n")
        connection.shutdown(socket.SHUT_RDWR)

    with server(garbage) as url, pytest.raises(errors.BadGateway):
        send(client, url)


@each_client
def test_a_response_that_is_too_long_is_invalid(
    client: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("xml_rpc", "oneflow"):
        monkeypatch.setattr(f"provision_engine.cloud.{module}.MAX_RESPONSE_BYTES", 1000)
    long = b"HTTP/1.1 200 OK\r\n\r\n" + 2000 * b"x"

    def flood(connection: socket.socket) -> None:
        connection.sendall(long)
        connection.shutdown(socket.SHUT_RDWR)

    with server(flood) as url, pytest.raises(errors.BadGateway, match=r"too long|longer than"):
        send(client, url)


@each_client
def test_a_call_that_must_not_be_repeated_is_sent_once(client: str) -> None:
    requests = set()

    def close(connection: socket.socket) -> None:
        requests.add(connection.getpeername())
        connection.shutdown(socket.SHUT_RDWR)

    with server(close) as url, pytest.raises(errors.BackendUnreachable):
        send(client, url)
    assert len(requests) == 1


@each_client
def test_more_requests_at_once_than_admitted_are_told_to_come_later(client: str) -> None:
    entered, leave = threading.Event(), threading.Event()

    def slow(connection: socket.socket) -> None:
        entered.set()
        leave.wait(SERVER_SECONDS)
        connection.sendall(OK[client])

    with server(slow) as url:
        backend = Backend(client, url, 1)
        first = threading.Thread(target=call, args=(client, backend, SERVER_SECONDS))
        first.start()
        assert entered.wait(SERVER_SECONDS)
        with pytest.raises(errors.TooManyRequests) as caught:
            call(client, backend)
        assert caught.value.retry_after_seconds
        leave.set()
        first.join(SERVER_SECONDS)
        call(client, backend)


@each_client
@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt, ValueError])
def test_whatever_prevents_a_request_occupies_no_connection(
    client: str, error: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    with server(lambda c: c.sendall(OK[client])) as url:
        backend = Backend(client, url, 1)
        monkeypatch.setattr(socket, "getaddrinfo", _raising(error))
        with pytest.raises((error, errors.EngineError)):
            call(client, backend)
        monkeypatch.undo()
        call(client, backend)


def _raising(error: type[BaseException]) -> Callable[..., Any]:
    def fail(*_: Any, **__: Any) -> Any:
        raise error("cannot")

    return fail
