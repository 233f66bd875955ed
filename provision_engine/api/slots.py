"""Limits the requests that change runtimes or wait for them, so that threads remain for reads."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

from flask import current_app

from provision_engine.engine.wait import Waiting
from provision_engine.errors import TooManyRequests


@contextmanager
def change_slot() -> Iterator[None]:
    """A slot for a change, which may have to wait long for OpenNebula.

    The other threads are for reads. Raises TooManyRequests at once if no slot is free, so that the
    client repeats the request later or sends it to another engine.
    """
    slots = current_app.extensions["changes"]
    if not slots.acquire(blocking=False):
        raise TooManyRequests("The maximum number of changes is already in progress")
    try:
        yield
    finally:
        slots.release()


def wait_slot(seconds: float) -> AbstractContextManager[None]:
    """A slot for a waiting request, if the caller wants to wait. Raises TooManyRequests."""
    waiting: Waiting = current_app.extensions["waiting"]
    return waiting.slot() if seconds else nullcontext()
