"""Requests that change runtimes or wait for them must not take the threads that readers need."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

from flask import current_app

from provision_engine.engine.wait import Waiting
from provision_engine.errors import TooManyRequests


@contextmanager
def change_slot() -> Iterator[None]:
    """One of so many changes at once, which wait for OpenNebula, perhaps long.

    The rest of the threads is for reads. Raises TooManyRequests at once where no slot is free,
    so that the client comes again or asks another engine.
    """
    slots = current_app.extensions["changes"]
    if not slots.acquire(blocking=False):
        raise TooManyRequests("As many changes as this engine admits are under way")
    try:
        yield
    finally:
        slots.release()


def wait_slot(seconds: float) -> AbstractContextManager[None]:
    """A slot among the waiting requests, if the caller wants to wait. Raises TooManyRequests."""
    waiting: Waiting = current_app.extensions["waiting"]
    return waiting.slot() if seconds else nullcontext()
