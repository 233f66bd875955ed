"""Free TCP ports."""

from __future__ import annotations

import random
import socket

_RANDOM = random.SystemRandom()  # not the generator that other tests seed
FIRST, LAST = 15_000, 32_000
"""Below Linux' range for outgoing connections, which could occupy a port meanwhile."""


def free_port() -> int:
    """A port on which nothing listens now, on any address."""
    while True:
        port = _RANDOM.randrange(FIRST, LAST)
        with socket.socket() as probe:
            try:
                probe.bind(("0.0.0.0", port))
            except OSError:
                continue
        return port
