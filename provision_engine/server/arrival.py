"""How long the head and the body of a request may take to arrive.

A thread that reads from a client notes until when it waits; the worker's main loop looks
through these notes once a second and ends the input of clients that are late. The blocked
thread then reads the end of the input and is free again.
"""

from __future__ import annotations

import io
import math
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from gunicorn.http.errors import NoMoreData, ParseException

from provision_engine.errors import BadRequest
from provision_engine.server.refusals import refusal

HEAD_SECONDS = 10.0
BODY_SECONDS = 30.0

Application = Callable[[dict[str, Any], Any], Iterable[bytes]]


@dataclass
class Arrival:
    """One request of one of gunicorn's connections; `until` is on the monotonic clock."""

    connection: Any
    """TLS replaces its socket on the way."""
    until: float
    has_head: bool = False
    is_late: bool = False


class Arrivals:
    """Holds the requests that the threads of this process are reading."""

    def __init__(self) -> None:
        self._by_thread: dict[int, Arrival] = {}

    @contextmanager
    def receive(self, connection: Any) -> Iterator[Arrival]:
        """Note that the calling thread reads a request within it, first of all its head."""
        arrival = Arrival(connection, time.monotonic() + HEAD_SECONDS)
        self._by_thread[threading.get_ident()] = arrival
        try:
            yield arrival
        finally:
            del self._by_thread[threading.get_ident()]

    def head_arrived(self) -> None:
        """Note that the calling thread has read the head of its request."""
        if arrival := self._by_thread.get(threading.get_ident()):
            arrival.has_head, arrival.until = True, math.inf

    def wait_for_client(self, until: float) -> None:
        """Note until when the calling thread waits for its client: math.inf if it does not."""
        if arrival := self._by_thread.get(threading.get_ident()):
            arrival.until = until

    def end_late_ones(self) -> None:
        """End the input of each client whose time is over."""
        now = time.monotonic()
        for arrival in list(self._by_thread.values()):
            if arrival.until < now:
                arrival.is_late = True
                with suppress(OSError):
                    # Not SSLSocket.shutdown, which would take TLS off the connection.
                    socket.socket.shutdown(arrival.connection.sock, socket.SHUT_RD)


class _Body(io.RawIOBase):
    """The body of a request, which has to arrive completely within BODY_SECONDS.

    Reading it raises BadRequest if its chunks are malformed or it breaks off between them.
    """

    def __init__(self, source: Any, arrivals: Arrivals) -> None:
        self._source, self._arrivals = source, arrivals
        self._until = math.inf

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if self._until == math.inf:
            self._until = time.monotonic() + BODY_SECONDS
        self._arrivals.wait_for_client(self._until)
        try:
            data: bytes = self._source.read(len(buffer))
        except ParseException as error:
            raise BadRequest(refusal(error)[1]) from error
        except NoMoreData as error:
            raise BadRequest("the body is incomplete") from error
        finally:
            self._arrivals.wait_for_client(math.inf)
        buffer[: len(data)] = data
        return len(data)


def with_timed_body(application: Application, arrivals: Arrivals) -> Application:
    """Wrap a WSGI application: its `wsgi.input` ends when the client takes too long."""

    def timed(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if environ.get("CONTENT_LENGTH") or environ.get("HTTP_TRANSFER_ENCODING"):
            environ["wsgi.input"] = io.BufferedReader(_Body(environ["wsgi.input"], arrivals))
        return application(environ, start_response)

    return timed
