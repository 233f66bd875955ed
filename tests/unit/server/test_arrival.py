"""provision_engine.server.arrival: which clients are late, and what happens to their input."""

from __future__ import annotations

import io
import socket
from collections.abc import Callable, Iterable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from provision_engine.server import arrival
from provision_engine.server.arrival import Arrivals, with_timed_body


class Clock:
    now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(arrival, "time", clock)
    return clock


@pytest.fixture
def pair() -> Iterator[tuple[Any, socket.socket]]:
    ours, theirs = socket.socketpair()
    ours.settimeout(10)
    with ours, theirs:
        yield SimpleNamespace(sock=ours), theirs


def test_a_late_header_section_is_ended(clock: Clock, pair: tuple[Any, socket.socket]) -> None:
    connection, _ = pair
    arrivals = Arrivals()
    with arrivals.receive(connection) as received:
        clock.now += arrival.HEAD_SECONDS - 0.1
        arrivals.end_late_ones()
        assert not received.is_late
        clock.now += 0.2
        arrivals.end_late_ones()
        assert (received.is_late, received.has_head) == (True, False)
        assert connection.sock.recv(1) == b""


def test_the_application_may_take_as_long_as_it_likes(
    clock: Clock, pair: tuple[Any, socket.socket]
) -> None:
    arrivals = Arrivals()
    with arrivals.receive(pair[0]) as received:
        arrivals.head_arrived()
        clock.now += 10_000
        arrivals.end_late_ones()
        assert (received.is_late, received.has_head) == (False, True)


def test_a_request_that_is_over_is_not_late(clock: Clock, pair: tuple[Any, socket.socket]) -> None:
    arrivals = Arrivals()
    with arrivals.receive(pair[0]) as received:
        pass
    clock.now += 10_000
    arrivals.end_late_ones()
    arrivals.head_arrived()
    assert not received.is_late


def wsgi(read: Callable[[Any], bytes]) -> Callable[[dict[str, Any], Any], Iterable[bytes]]:
    return lambda environ, _start: [read(environ["wsgi.input"])]


def test_all_of_a_body_has_one_time_limit(clock: Clock, pair: tuple[Any, socket.socket]) -> None:
    arrivals, limits = Arrivals(), []

    class Source:
        def read(self, _size: int) -> bytes:
            (reading,) = arrivals._by_thread.values()
            limits.append(reading.until)
            clock.now += 10
            return b"x" if len(limits) < 3 else b""

    application = with_timed_body(wsgi(lambda body: body.read()), arrivals)
    with arrivals.receive(pair[0]) as received:
        arrivals.head_arrived()
        environ = {"wsgi.input": Source(), "CONTENT_LENGTH": "9"}
        assert list(application(environ, None)) == [b"xx"]
        assert limits == [1000 + arrival.BODY_SECONDS] * 3
        assert received.until == float("inf")


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
