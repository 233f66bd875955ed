"""Sockets that keep a deadline, however late or slowly bytes come.

The timeout of an ordinary socket begins anew with each part that arrives.
"""

from __future__ import annotations

import socket
import ssl
from typing import Any, cast

from provision_engine.deadline import Deadline

CONNECT_TIMEOUT_SECONDS = 5.0
"""For all addresses of a host together, and the TLS handshake."""


class DeadlineSocket(socket.socket):
    """Limits each receive and send, as http.client uses them, to the time that is left.

    Its deadline may be replaced before each exchange.
    """

    deadline: Deadline

    def recv_into(self, *arguments: Any) -> int:
        """Raises TimeoutError after the deadline; so do the other two."""
        self.settimeout(_seconds_left(self.deadline))
        return super().recv_into(*arguments)

    def send(self, *arguments: Any) -> int:
        self.settimeout(_seconds_left(self.deadline))
        return super().send(*arguments)

    def sendall(self, *arguments: Any) -> None:
        self.settimeout(_seconds_left(self.deadline))
        super().sendall(*arguments)


class DeadlineTlsSocket(DeadlineSocket, ssl.SSLSocket):
    """The same over TLS."""


def connect(
    host: str, port: int, deadline: Deadline, tls: ssl.SSLContext | None = None
) -> DeadlineSocket:
    """Connect to a host, with TLS where a context is given. Raises OSError, UnicodeError.

    The system's resolver has time limits of its own, so that the look-up of a name may be late.
    """
    addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    limited = deadline.at_most(CONNECT_TIMEOUT_SECONDS)
    connected = _connect(addresses, limited)
    connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if tls is not None:
        tls.sslsocket_class = DeadlineTlsSocket
        connected.settimeout(_seconds_left(limited))
        connected = cast(DeadlineTlsSocket, tls.wrap_socket(connected, server_hostname=host))
    connected.deadline = deadline
    return connected


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
