"""Who changes runtimes may not take the threads that readers need."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from flask import current_app

from provision_engine.errors import TooManyRequests

P = ParamSpec("P")
T = TypeVar("T")


def bounded(handler: Callable[P, T]) -> Callable[P, T]:
    """Let so many requests at once into handlers that wait for OpenNebula, and no more.

    They may wait long, for a slow oneflow or for VMs; the rest of the threads is for reads.
    Raises TooManyRequests at once, so that the client comes again or asks another engine.
    """

    @functools.wraps(handler)
    def admitted(*arguments: P.args, **named: P.kwargs) -> T:
        places = current_app.extensions["changes"]
        if not places.acquire(blocking=False):
            raise TooManyRequests("As many changes as this engine admits are under way")
        try:
            return handler(*arguments, **named)
        finally:
            places.release()

    return admitted
