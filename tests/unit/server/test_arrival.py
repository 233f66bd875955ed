"""provision_engine.server.arrival: which clients are late, and what happens to their input."""

from __future__ import annotations

import io
import socket
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest

from provision_engine.server import arrival
from provision_engine.server.arrival import Arrivals, with_timed_body


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    ours, theirs = socket.socketpair()
    ours.settimeout(10)
    client = Client(ours)
    monkeypatch.setattr(arrival, "time", client)
    with ours, theirs:
        yield client


class Client:
    """A connection that sends nothing, and a clock."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock, self.now = sock, 1000.0

    def monotonic(self) -> float:
        return self.now


def test_only_a_client_that_is_waited_for_for_too_long_is_late(client: Client) -> None:
    arrivals = Arrivals()
    with arrivals.receive(client) as received:
        client.now += arrival.HEAD_SECONDS - 0.1
        arrivals.end_late_ones()
        assert not received.is_late
        arrivals.head_arrived()
        client.now += 10_000  # the application may take as long as it likes
        arrivals.end_late_ones()
        assert (received.is_late, received.has_head) == (False, True)
        arrivals.wait_for_client(client.now)
        client.now += 1
        arrivals.end_late_ones()
        assert received.is_late
        assert client.sock.recv(1) == b""
    arrivals.head_arrived()  # nothing is being read any more


def test_all_of_a_body_has_one_time_limit(client: Client) -> None:
    arrivals, late = Arrivals(), []

    class Source:
        def read(self, _size: int) -> bytes:
            client.now += arrival.BODY_SECONDS * 0.4
            arrivals.end_late_ones()
            late.append(received.is_late)
            return b"" if received.is_late else b"x"

    application = with_timed_body(wsgi(lambda body: body.read()), arrivals)
    with arrivals.receive(client) as received:
        arrivals.head_arrived()
        environ = {"wsgi.input": Source(), "CONTENT_LENGTH": "9"}
        assert list(application(environ, None)) == [b"xx"]
        assert late == [False, False, True]


def wsgi(read: Callable[[Any], bytes]) -> Callable[[dict[str, Any], Any], Iterable[bytes]]:
    return lambda environ, _start: [read(environ["wsgi.input"])]


@pytest.mark.parametrize(
    ("read", "found"),
    [
        (lambda body: body.read(), b"one\ntwo\n"),
        (lambda body: body.read(5), b"one\nt"),
        (lambda body: body.readline(), b"one\n"),
        (lambda body: b"|".join(body), b"one\n|two\n"),
        (lambda body: body.readlines()[1], b"two\n"),
    ],
)
def test_a_body_is_read_as_wsgi_wants(read: Callable[[Any], bytes], found: bytes) -> None:
    application = with_timed_body(wsgi(read), Arrivals())
    environ = {"wsgi.input": io.BytesIO(b"one\ntwo\n"), "CONTENT_LENGTH": "8"}
    assert list(application(environ, None)) == [found]


def test_a_request_without_a_body_is_passed_on_as_it_is() -> None:
    source = io.BytesIO()
    seen: list[Any] = []
    application = with_timed_body(wsgi(lambda body: seen.append(body) or b""), Arrivals())
    application({"wsgi.input": source}, None)
    assert seen == [source]
