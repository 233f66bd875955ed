"""Who changes runtimes may not take the threads that readers need."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from flask import current_app

from provision_engine.errors import TooManyRequests


@contextmanager
def a_change() -> Iterator[None]:
    """One of so many changes at once, which wait for OpenNebula, perhaps long.

    The rest of the threads is for reads. Raises TooManyRequests at once where no place is
    free, so that the client comes again or asks another engine.
    """
    places = current_app.extensions["changes"]
    if not places.acquire(blocking=False):
        raise TooManyRequests("As many changes as this engine admits are under way")
    try:
        yield
    finally:
        places.release()
