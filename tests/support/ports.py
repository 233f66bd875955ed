"""Free TCP ports."""

from __future__ import annotations

import random
import socket
import threading
from collections.abc import Iterator

_RANDOM = random.SystemRandom()  # not the generator that other tests seed
FIRST, LAST = 15_000, 32_000
"""Below Linux' range for outgoing connections, which could occupy a port meanwhile."""
BLOCK = 100

_guard = threading.Lock()
_reservations: list[socket.socket] = []


def free_port() -> int:
    """A port on which nothing listens now, on any address.

    It is handed out once, and to no other process: a server that is stopped for a moment would
    otherwise lose it to another test.
    """
    with _guard:
        return next(port for port in _ports if _is_free(port))


def _reserved_ports() -> Iterator[int]:
    """Blocks of ports. A name that only one process can bind reserves each until it ends."""
    starts = range(FIRST, LAST, BLOCK)
    for start in _RANDOM.sample(starts, len(starts)):
        reservation = socket.socket(socket.AF_UNIX)
        try:
            reservation.bind(f"\0provision-engine-tests-{start}")
        except OSError:
            reservation.close()
            continue
        _reservations.append(reservation)
        yield from range(start, start + BLOCK)
    raise RuntimeError("the tests that run at the same time have reserved all ports")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("0.0.0.0", port))
        except OSError:
            return False
    return True


_ports = _reserved_ports()
