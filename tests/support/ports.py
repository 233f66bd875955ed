"""Free TCP ports."""

from __future__ import annotations

import random
import socket

_RANDOM = random.SystemRandom()  # not the one that other tests seed
FIRST, LAST = 15_000, 32_000
"""Below those that Linux gives to outgoing connections, any of which could take one meanwhile."""


def free_port() -> int:
    """A port on which nobody listens now, on any address."""
    while True:
        port = _RANDOM.randrange(FIRST, LAST)
        with socket.socket() as probe:
            try:
                probe.bind(("0.0.0.0", port))
            except OSError:
                continue
        return port
