"""HTTP to one backend: reused connections, bounded in number, always with a time limit.

It is built on http.client, because a read sends both of its requests before it waits for the
first response. requests and the pools of urllib3 cannot do that, and take twice the CPU time.
"""

from __future__ import annotations

import json
import select
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from ssl import SSLContext
from typing import Any, cast
from urllib.parse import urlsplit

from provision_engine.cloud.clock import Clock
from provision_engine.cloud.deadline_socket import DeadlineSocket, connect
from provision_engine.cloud.errors import NotConnected, from_transport
from provision_engine.cloud.slots import Slots
from provision_engine.cloud.tls import client_context
from provision_engine.deadline import Deadline
from provision_engine.errors import (
    BackendTimeout,
    BackendUnreachable,
    EngineError,
    TooManyRequests,
)

ADMISSION_WAIT_SECONDS = 1.0
"""How long a call waits for a free connection; most calls need far less."""
TRUSTED_IDLE_SECONDS = 2.0
MAX_RESPONSE_BYTES = 64 * 2**20
"""Users fill pools: a process must not run out of memory because of one of them."""


@dataclass(frozen=True)
class HttpRequest:
    """What is sent to a backend; the path is relative to the backend's URL."""

    method: str
    path: str = ""
    body: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    is_repeatable: bool = False
    """Whether it may be sent once more when the connection breaks."""


@dataclass(frozen=True)
class HttpResponse:
    """A backend's response, read completely."""

    status_code: int
    content: bytes
    date: str = ""
    """The Date header."""

    @property
    def text(self) -> str:
        return self.content.decode(errors="replace")

    def json(self) -> Any:
        """Raises ValueError."""
        return json.loads(self.content)


class HttpBackend:
    """A backend's address and this process's connections to it. Safe for threads."""

    def __init__(self, name: str, url: str, max_in_flight: int, verify: bool | str = True) -> None:
        """``verify``: a file of certificate authorities, True for those of the system, or False.

        Raises OperatorError where that file cannot be used.
        """
        parts = urlsplit(url)
        self.name = name
        self.clock = Clock()
        self._host, self._port, self._base_path = parts.hostname or "", parts.port, parts.path
        self._tls = client_context(verify) if parts.scheme == "https" else None
        self._slots = Slots(max_in_flight)
        self._idle: list[_Connection] = []

    def send(self, request: HttpRequest, deadline: Deadline) -> HttpResponse:
        """Send a request and return its response.

        Raises BackendUnreachable, BackendTimeout, BadGateway or TooManyRequests.
        """
        if not self._slots.acquire(min(ADMISSION_WAIT_SECONDS, deadline.remaining_seconds)):
            raise TooManyRequests(f"All connections to {self.name} are in use")
        try:
            return self._exchange(request, deadline)
        finally:
            self._slots.release()

    def begin(self, request: HttpRequest, deadline: Deadline) -> Exchange | None:
        """Send a request whose response is read later.

        None where no connection is free, or the request cannot be sent: it never waits for a free
        connection, so that exchanges that have been begun do not wait for each other.
        """
        if not self._slots.acquire():
            return None
        connection = None
        try:
            connection = self._sent(request, deadline)
        except EngineError:
            return None
        finally:
            if connection is None:
                self._slots.release()
        return Exchange(self, connection, deadline)

    def finish(self, connection: _Connection, deadline: Deadline) -> HttpResponse:
        """Read the response of an exchange that has been begun. Raises as send does."""
        try:
            return self._received(connection, deadline)
        finally:
            self._slots.release()

    def abandon(self, connection: _Connection) -> None:
        """End an exchange whose response nobody needs."""
        connection.close()
        self._slots.release()

    def _exchange(self, request: HttpRequest, deadline: Deadline) -> HttpResponse:
        try:
            return self._received(self._sent(request, deadline), deadline)
        except BackendUnreachable:
            if not request.is_repeatable or deadline.is_over:
                raise
            return self._received(self._sent(request, deadline, is_new=True), deadline)

    def _sent(
        self, request: HttpRequest, deadline: Deadline, *, is_new: bool = False
    ) -> _Connection:
        """A connection over which the request has been sent."""
        if deadline.is_over:
            raise BackendTimeout(f"No time was left to ask {self.name}")
        connection = None if is_new else self._idle_connection(request.is_repeatable)
        connection = connection or self._new_connection()
        with self._translated(connection, deadline):
            connection.send(request, self._base_path + request.path or "/", deadline)
        return connection

    def _received(self, connection: _Connection, deadline: Deadline) -> HttpResponse:
        with self._translated(connection, deadline):
            response = connection.receive()
        if connection.is_open:
            self._idle.append(connection)
        return response

    @contextmanager
    def _translated(self, connection: _Connection, deadline: Deadline) -> Iterator[None]:
        """Close the connection after a failure, which becomes an error of ours."""
        try:
            yield
        except (OSError, HTTPException) as error:
            connection.close()
            if deadline.is_over:
                raise BackendTimeout(f"{self.name} did not answer in time") from error
            raise from_transport(error, self.name) from error
        except BaseException:
            connection.close()
            raise

    def _idle_connection(self, is_repeatable: bool) -> _Connection | None:
        """The connection that was used last, if it can carry the request."""
        while self._idle:
            try:
                connection = self._idle.pop()
            except IndexError:  # another thread was faster
                break
            if connection.can_carry(is_repeatable):
                return connection
            connection.close()
        return None

    def _new_connection(self) -> _Connection:
        if self._tls is None:
            return _Connection(HTTPConnection(self._host, self._port))
        http = HTTPSConnection(self._host, self._port, context=self._tls)
        return _Connection(http, self._tls)


class Exchange:
    """A request that has been sent. It occupies a connection until it is read or closed."""

    def __init__(self, backend: HttpBackend, connection: _Connection, deadline: Deadline) -> None:
        self._backend, self._connection, self._deadline = backend, connection, deadline

    def response(self) -> HttpResponse:
        """Wait for the response; once only. Raises as HttpBackend.send does."""
        return self._backend.finish(self._connection, self._deadline)

    def close(self) -> None:
        """Give up the response, which has not been read."""
        self._backend.abandon(self._connection)


class _Connection:
    """A connection to a backend, for one exchange after another."""

    def __init__(self, http: HTTPConnection, tls: SSLContext | None = None) -> None:
        self._http, self._tls = http, tls
        self._used_at = 0.0

    @property
    def is_open(self) -> bool:
        """Whether another request can be sent; a backend may close it after any response."""
        return self._http.sock is not None

    def can_carry(self, is_repeatable: bool) -> bool:
        """Whether a request will arrive, as far as that can be known.

        A backend may be closing a connection that was idle for long, and then nobody knows
        whether a request arrived; a new one costs far less than what such a request does.
        """
        is_trusted = time.monotonic() - self._used_at < TRUSTED_IDLE_SECONDS
        return (is_repeatable or is_trusted) and not self._has_ended()

    def send(self, request: HttpRequest, path: str, deadline: Deadline) -> None:
        """Raises OSError, HTTPException; NotConnected where nothing was sent."""
        if self.is_open:
            cast(DeadlineSocket, self._http.sock).deadline = deadline
        else:
            self._connect(deadline)
        self._http.request(request.method, path, request.body, request.headers)

    def receive(self) -> HttpResponse:
        """Read the response before the deadline of its request. Raises OSError, HTTPException."""
        with self._http.getresponse() as response:
            if (response.length or 0) > MAX_RESPONSE_BYTES:
                raise HTTPException(f"the response is longer than {MAX_RESPONSE_BYTES} bytes")
            content = response.read()
        self._used_at = time.monotonic()
        return HttpResponse(response.status, content, response.headers.get("Date", ""))

    def close(self) -> None:
        self._http.close()

    def _connect(self, deadline: Deadline) -> None:
        http = self._http
        try:
            http.sock = connect(http.host, http.port, deadline, self._tls)
        except (OSError, UnicodeError) as error:  # UnicodeError: a name that cannot be a host's
            raise NotConnected(f"Failed to establish a new connection: {error}") from error

    def _has_ended(self) -> bool:
        """Whether the backend has closed it: nothing else can arrive before a request."""
        poll = select.poll()
        poll.register(self._http.sock, select.POLLIN)
        return bool(poll.poll(0))
