"""Limits the requests that change runtimes or wait for them, in all and for each user."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

from flask import current_app

from provision_engine.config import Configuration, Limits
from provision_engine.engine.context import Context
from provision_engine.errors import TooManyRequests


class Slots:
    """A number of slots; one user may hold a share of them, and at least one."""

    def __init__(self, count: int, limits: Limits, holders: str, key: str) -> None:
        """``holders`` take slots and ``key`` sets their number, for the error messages."""
        self._count, self._count_of_user = count, limits.of_one_user(count)
        self._holders, self._key = holders, key
        self._lock = threading.Lock()
        self._held: Counter[int] = Counter()

    @contextmanager
    def taken_by(self, user_id: int) -> Iterator[None]:
        """Hold a slot for a user. Raises TooManyRequests at once if none is free.

        The client repeats the request later, or sends it to another engine.
        """
        with self._lock:
            if self._held.total() >= self._count:
                raise TooManyRequests(f"Too many {self._holders} ({self._key})")
            if self._held[user_id] >= self._count_of_user:
                raise TooManyRequests(f"Too many {self._holders} of one user (limits.user_share)")
            self._held[user_id] += 1
        try:
            yield
        finally:
            with self._lock:
                self._held[user_id] -= 1
                self._held = +self._held  # forgets users who hold none


def slots(configuration: Configuration) -> dict[str, Slots]:
    """Return the slots of a process, which leave threads for reads."""
    limits, max_waits = configuration.limits, configuration.wait.max_requests
    return {
        "changes": Slots(limits.oneflow_requests, limits, "changes", "limits.oneflow_requests"),
        "waits": Slots(max_waits, limits, "waiting requests", "wait.max_requests"),
    }


def change_slot(caller: Context) -> AbstractContextManager[None]:
    """Take a slot for a change, which may take OpenNebula long. Raises TooManyRequests."""
    changes: Slots = current_app.extensions["changes"]
    return changes.taken_by(caller.user().id)


def wait_slot(caller: Context, is_needed: bool) -> AbstractContextManager[None]:
    """Take a slot for a request that waits, if it needs one. Raises TooManyRequests."""
    waits: Slots = current_app.extensions["waits"]
    return waits.taken_by(caller.user().id) if is_needed else nullcontext()
