"""The port on which the engine listens: its address, its socket options and TLS."""

from __future__ import annotations

import errno
import ipaddress
import socket
import ssl
import struct
import time

from provision_engine.config import Tls
from provision_engine.errors import OperatorError

BACKLOG = 2048
SEND_SECONDS = 30
"""How long a client may take to read the next part of a response."""
_RETRY_SECONDS = 0.05


def listen(host: str, port: int, patience_seconds: float = 0.0) -> socket.socket:
    """Open the port.

    For `patience_seconds` it is tried again while another process has the port. Raises
    OperatorError.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise OperatorError(f"host {host} is unknown: {error.strerror}") from error
    # "localhost" has an IPv4 and an IPv6 address; device clients expect IPv4.
    family, _, _, _, address = min(found, key=lambda entry: entry[0] != socket.AF_INET)
    until = time.monotonic() + patience_seconds
    while True:
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Linux hands this one on to each accepted connection, so a client that does not read its
        # response cannot block a thread forever.
        timeval = struct.pack("@ll", SEND_SECONDS, 0)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, timeval)
        try:
            listener.bind(address)
            listener.listen(BACKLOG)
        except OSError as error:
            listener.close()
            if error.errno != errno.EADDRINUSE or time.monotonic() > until:
                reason = f"cannot listen on {host} port {port}: {error.strerror}"
                raise OperatorError(reason) from error
            time.sleep(_RETRY_SECONDS)
        else:
            return listener


def is_loopback(host: str) -> bool:
    """Return whether only this machine can reach the address."""
    try:
        return ipaddress.ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return host == "localhost"


def tls_context(tls: Tls) -> ssl.SSLContext | None:
    """Return the TLS context for clients, None without a certificate. Raises OperatorError."""
    if tls.certificate is None or tls.key is None:
        return None
    for key, path in (("tls.certificate", tls.certificate), ("tls.key", tls.key)):
        try:
            path.open("rb").close()
        except OSError as error:
            raise OperatorError(f"{key} {path} cannot be read: {error.strerror}") from error
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(tls.certificate, tls.key, password=_no_password)
    except (ssl.SSLError, ValueError) as error:
        raise OperatorError(
            f"tls.certificate {tls.certificate} and tls.key {tls.key} "
            f"are not a certificate and its key without a password: {error}"
        ) from error
    return context


def _no_password() -> str:
    raise ValueError("it is encrypted")
