"""HTTP to a backend, over real sockets: never without a time limit, never more than admitted."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

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


def drip(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
    for _ in range(SERVER_SECONDS * 10):
        connection.sendall(b".")
        time.sleep(0.1)
    connection.shutdown(socket.SHUT_RDWR)


def send(url: str, seconds: float = 5) -> bytes:
    return HttpBackend("oned", url, 4).send(GET, Deadline(seconds)).content


def test_a_response_is_returned() -> None:
    with server(lambda c: c.sendall(OK)) as url:
        assert send(url) == b"ok"


def test_a_request_to_a_backend_that_hangs_ends_at_the_deadline() -> None:
    with server(hang) as url, pytest.raises(errors.BackendTimeout):
        send(url, 0.3)


def test_a_response_that_comes_byte_by_byte_ends_at_the_deadline() -> None:
    """504: OpenNebula did not finish within ``timeout``."""
    with server(drip) as url, pytest.raises(errors.BackendTimeout):
        send(url, 0.5)


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
