"""What a process remembers for each of many users, each apart from the others."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

MAX_USERS = 1000

T = TypeVar("T")


class PerUser(Generic[T]):
    """An object for each user; those of the least recent users go first. Safe for threads."""

    def __init__(self, make: Callable[[], T], max_users: int = MAX_USERS) -> None:
        self._make, self._max_users = make, max_users
        self._lock = threading.Lock()
        self._users: OrderedDict[bytes, T] = OrderedDict()

    def of(self, owner: bytes) -> T:
        """That of a user, made where there is none. ``owner`` tells users apart, password
        included.
        """
        with self._lock:
            if owner not in self._users:
                self._users[owner] = self._make()
            self._users.move_to_end(owner)
            while len(self._users) > self._max_users:
                self._users.popitem(last=False)
            return self._users[owner]
