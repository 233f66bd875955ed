"""Connections to a backend: bounded in number, and each exchange within a deadline."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from email.utils import parsedate_to_datetime
from http.client import HTTPException
from typing import Any
from urllib.parse import urlsplit

from provision_engine.cloud.errors import NotConnected, from_transport
from provision_engine.deadline import Deadline
from provision_engine.errors import BackendTimeout, OperatorError, TooManyRequests

CONNECT_TIMEOUT_SECONDS = 5.0
"""For all addresses of a host together, and the TLS handshake."""
ADMISSION_WAIT_SECONDS = 1.0
"""How long a call waits for a free connection; most calls need far less."""
MAX_RESPONSE_BYTES = 64 * 2**20
"""Users fill pools: a process must not run out of memory because of one of them."""

CLOCK_TOLERANCE_SECONDS = 2.0
"""The Date header counts whole seconds; clocks that differ by less are taken for equal."""

_deadline: ContextVar[Deadline] = ContextVar("deadline")
"""Of the exchange that this thread is making."""


class Backend:
    """A backend's address, and the bound on this process's connections to it. Safe for threads."""

    def __init__(
        self, name: str, url: str, max_connections: int, verify: bool | str = True
    ) -> None:
        """``verify``: a file of certificate authorities, True for those of the system, or False.

        Raises OperatorError where that file cannot be used.
        """
        parts = urlsplit(url)
        self.name, self.url = name, url
        self.host, self.port, self.path = parts.hostname or "", parts.port, parts.path or "/"
        self.tls = _client_context(verify) if parts.scheme == "https" else None
        self.clock = Clock()
        self._slots = Slots(max_connections)

    @contextmanager
    def exchanging(self, deadline: Deadline) -> Iterator[None]:
        """Hold one of the connections for an exchange, and translate its failures.

        Raises BackendUnreachable, BackendTimeout, BadGateway or TooManyRequests.
        """
        if deadline.is_over:
            raise BackendTimeout(f"Deadline exceeded before calling {self.name}")
        if not self._slots.acquire(min(ADMISSION_WAIT_SECONDS, deadline.remaining_seconds)):
            raise TooManyRequests(f"All connections to {self.name} are in use")
        token = _deadline.set(deadline)
        try:
            yield
        except (OSError, HTTPException) as error:
            if deadline.is_over:
                raise BackendTimeout(f"{self.name} did not answer in time") from error
            raise from_transport(error, self.name) from error
        finally:
            _deadline.reset(token)
            self._slots.release()


class DeadlineSocket(socket.socket):
    """Limits each receive and send, as http.client uses them, to the time that is left.

    The timeout of an ordinary socket begins anew with each part that arrives.
    """

    def recv_into(self, *arguments: Any) -> int:
        """Raises TimeoutError after the deadline; so do the other two."""
        self.settimeout(_seconds_left(_deadline.get()))
        return super().recv_into(*arguments)

    def send(self, *arguments: Any) -> int:
        self.settimeout(_seconds_left(_deadline.get()))
        return super().send(*arguments)

    def sendall(self, *arguments: Any) -> None:
        self.settimeout(_seconds_left(_deadline.get()))
        super().sendall(*arguments)


class DeadlineTlsSocket(DeadlineSocket, ssl.SSLSocket):
    """The same over TLS."""


def connect(host: str, port: int | None, tls: ssl.SSLContext | None) -> socket.socket:
    """Connect to a host within the deadline of the exchange. Raises NotConnected.

    The system's resolver has time limits of its own, so that the look-up of a name may be late.
    """
    limited = _deadline.get().at_most(CONNECT_TIMEOUT_SECONDS)
    try:
        addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        connected = _connect(addresses, limited)
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls is None:
            return connected
        connected.settimeout(_seconds_left(limited))
        return tls.wrap_socket(connected, server_hostname=host)
    except (OSError, UnicodeError) as error:  # UnicodeError: a name that cannot be a host's
        raise NotConnected(f"Failed to establish a new connection: {error}") from error


def _connect(addresses: list[Any], deadline: Deadline) -> DeadlineSocket:
    """Connect to the first address that accepts; each one has its share of the time."""
    while True:
        share = _seconds_left(deadline) / len(addresses)
        family, kind, protocol, _, address = addresses.pop(0)
        connecting = DeadlineSocket(family, kind, protocol)
        try:
            connecting.settimeout(share)
            connecting.connect(address)
            return connecting
        except OSError:
            connecting.close()
            if not addresses:
                raise


def _seconds_left(deadline: Deadline) -> float:
    """Raises TimeoutError; a socket's timeout of 0 would mean not to wait at all."""
    if seconds := deadline.remaining_seconds:
        return seconds
    raise TimeoutError("Deadline exceeded")


def _client_context(verify: bool | str) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=verify if isinstance(verify, str) else None)
    except (OSError, ValueError) as error:  # SSLError is an OSError
        raise OperatorError(f"tls.ca_file {verify} cannot be used: {error}") from error
    if not verify:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.sslsocket_class = DeadlineTlsSocket
    return context


class Slots:
    """A number of slots. Whoever waits for one gets the next that is released, in their order.

    A semaphore would let a newcomer take it first, again and again while many threads are busy.
    """

    def __init__(self, count: int) -> None:
        self._free = count
        self._queue: deque[threading.Event] = deque()
        self._lock = threading.Lock()

    def acquire(self, timeout_seconds: float) -> bool:
        """Return whether a slot became free in time."""
        with self._lock:
            if self._free:
                self._free -= 1
                return True
            turn = threading.Event()
            self._queue.append(turn)
        return turn.wait(timeout_seconds) or self._was_late(turn)

    def release(self) -> None:
        with self._lock:
            if self._queue:
                self._queue.popleft().set()
            else:
                self._free += 1

    def _was_late(self, turn: threading.Event) -> bool:
        """Leave the queue; True where a slot was handed over in the meantime."""
        with self._lock:
            if turn.is_set():
                return True
            self._queue.remove(turn)
            return False


class Clock:
    """The time of OpenNebula's host, as the Date headers of its responses tell it."""

    def __init__(self) -> None:
        self._ahead_seconds = 0.0
        self._last_date = ""

    def observe(self, date: str, sent_at: float, received_at: float) -> None:
        """Compare a response's Date header with this host's clock (Unix times)."""
        if not date or date == self._last_date:
            return
        self._last_date = date
        try:
            seconds = parsedate_to_datetime(date).timestamp()
        except (ValueError, OverflowError):
            return
        if seconds < sent_at - CLOCK_TOLERANCE_SECONDS:
            self._ahead_seconds = seconds - sent_at
        elif seconds > received_at + CLOCK_TOLERANCE_SECONDS:
            self._ahead_seconds = seconds - received_at
        else:
            self._ahead_seconds = 0.0

    def now(self) -> float:
        """Return the time (Unix time)."""
        return time.time() + self._ahead_seconds
