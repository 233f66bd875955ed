"""HTTP to a backend, over real sockets: never without a time limit, never more than admitted."""

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
from provision_engine.cloud import http
from provision_engine.cloud.http import HttpBackend, HttpRequest
from provision_engine.deadline import Deadline

GET = HttpRequest("GET")
READ = HttpRequest("GET", is_repeatable=True)
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


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


def send(url: str, seconds: float = 5) -> bytes:
    return HttpBackend("oned", url, 4).send(GET, Deadline(seconds)).content


def test_a_response_is_returned() -> None:
    with server(lambda c: c.sendall(OK)) as url:
        assert send(url) == b"ok"


def test_a_request_to_a_backend_that_hangs_ends_at_the_deadline() -> None:
    with server(hang) as url, pytest.raises(errors.BackendTimeout):
        send(url, 0.3)


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
    start: bytes, repeated: bytes
) -> None:
    """504: OpenNebula did not finish within ``timeout``."""
    drip, sent = dripping(start, repeated)
    with server(drip) as url, pytest.raises(errors.BackendTimeout):
        send(url, 0.5)
    assert len(sent) < ENOUGH_DRIPS / 5


@pytest.mark.parametrize(
    "start", [b"HTTP/1.1 200 OK\r\nContent-", OK[:-1]], ids=["headers", "body"]
)
def test_a_response_that_stalls_late_ends_at_the_deadline(start: bytes) -> None:
    """Whatever came until then does not begin the time anew."""

    def stall(connection: socket.socket) -> None:
        time.sleep(1.6)
        connection.sendall(start)
        hang(connection)

    began_at = time.monotonic()
    with server(stall) as url, pytest.raises(errors.BackendTimeout):
        send(url, 2)
    assert (time.monotonic() - began_at) / 2 < 1.5


def test_a_connection_that_is_used_again_has_the_deadline_of_the_new_request() -> None:
    delays = iter([0.0, 1.0, float(SERVER_SECONDS)])
    peers = set()

    def slower(connection: socket.socket) -> None:
        peers.add(connection.getpeername())
        connection.settimeout(next(delays) or 0.01)
        with contextlib.suppress(TimeoutError):
            connection.recv(1)
        connection.settimeout(None)
        connection.sendall(OK)

    with server(slower) as url:
        backend = HttpBackend("oned", url, 4)
        assert backend.send(GET, Deadline(0.9)).content == b"ok"
        assert backend.send(GET, Deadline(SERVER_SECONDS)).content == b"ok"
        with pytest.raises(errors.BackendTimeout):
            backend.send(GET, Deadline(0.3))
    assert len(peers) == 1


def test_addresses_that_do_not_answer_share_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host may have several of them, and one that answers is found behind two that do not."""
    with server(lambda c: c.sendall(OK)) as url, full() as silent:
        port = int(url.rpartition(":")[2])
        found = [
            (socket.AF_INET, socket.SOCK_STREAM, 0, "", ("127.0.0.1", port))
            for port in (silent, silent, port)
        ]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: list(found))
        assert send("http://host.example", 3) == b"ok"
        del found[2]
        began_at = time.monotonic()
        with pytest.raises(errors.BackendTimeout):
            send("http://host.example", 1)
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


def test_a_backend_that_refuses_connections_cannot_be_reached() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with pytest.raises(errors.BackendDown, match="Connection refused"):
        send(f"http://127.0.0.1:{port}")


def test_a_response_that_ends_in_the_middle_is_invalid() -> None:
    def cut(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
        connection.shutdown(socket.SHUT_RDWR)

    with server(cut) as url, pytest.raises(errors.BadGateway):
        send(url)


def test_garbage_instead_of_http_is_an_invalid_response() -> None:
    def garbage(connection: socket.socket) -> None:
        connection.sendall(b"\x00\x01 no http at all\r\n\r\n")
        connection.shutdown(socket.SHUT_RDWR)

    with server(garbage) as url, pytest.raises(errors.BadGateway):
        send(url)


def test_one_connection_serves_many_requests() -> None:
    connections = set()

    def count(connection: socket.socket) -> None:
        connections.add(connection.fileno())
        connection.sendall(OK)

    with server(count) as url:
        backend = HttpBackend("oned", url, 4)
        for _ in range(5):
            assert backend.send(GET, Deadline(5)).content == b"ok"
    assert len(connections) == 1


def test_a_kept_connection_that_the_backend_closed_is_opened_again() -> None:
    def once(connection: socket.socket) -> None:
        connection.sendall(OK)
        connection.shutdown(socket.SHUT_RDWR)

    with server(once) as url:
        backend = HttpBackend("oned", url, 4)
        for _ in range(3):
            answer = backend.send(READ, Deadline(5))
            assert answer.content == b"ok"


@pytest.mark.parametrize(("repeatable", "connections"), [(True, 1), (False, 2)])
def test_a_connection_idle_for_long_carries_only_what_may_be_repeated(
    monkeypatch: pytest.MonkeyPatch, repeatable: bool, connections: int
) -> None:
    """A backend may be closing it at this moment, and nobody would know what became of it."""
    monkeypatch.setattr(http, "TRUSTED_IDLE_SECONDS", 0.05)
    peers = set()

    def answer(connection: socket.socket) -> None:
        peers.add(connection.getpeername())
        connection.sendall(OK)

    with server(answer) as url:
        backend = HttpBackend("oned", url, 4)
        for _ in range(2):
            backend.send(READ if repeatable else GET, Deadline(5))
            time.sleep(0.1)
    assert len(peers) == connections


def test_more_requests_at_once_than_admitted_are_told_to_come_later() -> None:
    entered, leave = threading.Event(), threading.Event()

    def slow(connection: socket.socket) -> None:
        entered.set()
        leave.wait(5)
        connection.sendall(OK)

    with server(slow) as url:
        backend = HttpBackend("oned", url, 1)
        first = threading.Thread(target=backend.send, args=(GET, Deadline(5)))
        first.start()
        assert entered.wait(5)
        with pytest.raises(errors.TooManyRequests) as caught:
            backend.send(GET, Deadline(5))
        assert caught.value.retry_after_seconds
        leave.set()
        first.join(5)
        assert backend.send(GET, Deadline(5)).content == b"ok"


def test_a_request_that_was_begun_never_waits_for_a_connection() -> None:
    with server(lambda c: c.sendall(OK)) as url:
        backend = HttpBackend("oned", url, 1)
        exchange = backend.begin(READ, Deadline(5))
        assert exchange is not None
        assert backend.begin(READ, Deadline(5)) is None
        assert exchange.response().content == b"ok"
        given_up = backend.begin(READ, Deadline(5))
        assert given_up is not None
        given_up.close()
        assert backend.send(READ, Deadline(5)).content == b"ok"


def test_a_request_that_cannot_be_begun_occupies_no_connection() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
    backend = HttpBackend("oned", url, 1)
    assert [backend.begin(READ, Deadline(5)) for _ in range(3)] == [None] * 3
    with pytest.raises(errors.BackendDown):
        backend.send(READ, Deadline(5))


class _Interrupted(dict[str, str]):
    def items(self) -> Any:
        raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("request_", "error"),
    [
        (HttpRequest("GET", "/é"), UnicodeError),
        (HttpRequest("GET", "/", headers={"A": "b\nc"}), ValueError),
        (HttpRequest("GET", "/", headers=_Interrupted()), KeyboardInterrupt),
    ],
)
def test_whatever_prevents_a_request_from_being_begun_occupies_no_connection(
    request_: HttpRequest, error: type[BaseException]
) -> None:
    with server(lambda c: c.sendall(OK)) as url:
        backend = HttpBackend("oned", url, 1)
        with pytest.raises(error):
            backend.begin(request_, Deadline(5))
        assert backend.send(READ, Deadline(5)).content == b"ok"
