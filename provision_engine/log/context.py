"""The request that a thread handles: its id, and the secrets that no line may contain."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

request_id: ContextVar[str] = ContextVar("request_id", default="")
"""Every line of engine.log and CloudClient.log names it."""
secrets: ContextVar[tuple[str, ...]] = ContextVar("secrets", default=())
"""Replaced by *** in every line of this request."""


@contextmanager
def request(identifier: str) -> Iterator[None]:
    """Within it every line names this request; its secrets are forgotten at the end."""
    named, hidden = request_id.set(identifier), secrets.set(())
    try:
        yield
    finally:
        secrets.reset(hidden)
        request_id.reset(named)


def secret(*values: str) -> None:
    """Replace these values by *** in every later line of this request.

    A thread that is started without a copy of the caller's context does not know them.
    """
    secrets.set((*secrets.get(), *(value for value in values if value)))
