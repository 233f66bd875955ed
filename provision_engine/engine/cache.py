"""What one process remembers of OpenNebula, for each user apart, for a limited time."""

from __future__ import annotations

import hashlib
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, TypeVar

from provision_engine.cloud.client import Credentials

T = TypeVar("T")


class Cache:
    """Entries of users, each for so many seconds; the least recently loaded go first."""

    def __init__(
        self,
        seconds: float,
        on_look: Callable[[bool], None] = lambda is_hit: None,
        max_entries: int = 4096,
    ) -> None:
        self._seconds, self._max_entries = seconds, max_entries
        self._on_look = on_look
        self._salt = secrets.token_bytes(16)
        self._lock = threading.Lock()
        self._entries: OrderedDict[tuple[bytes, str], tuple[float, Any]] = OrderedDict()

    def get(self, credentials: Credentials, key: str, load: Callable[[], T]) -> T:
        """The value under the key for this very user and password, loaded where there is none."""
        is_hit, value = self._look(credentials, key)
        self._on_look(is_hit)
        if is_hit:
            return value  # type: ignore[no-any-return]
        loaded = load()
        self.put(credentials, key, loaded)
        return loaded

    def peek(self, credentials: Credentials, key: str) -> Any:
        """The value under the key; None where there is none."""
        is_hit, value = self._look(credentials, key)
        return value if is_hit else None

    def put(self, credentials: Credentials, key: str, value: Any) -> None:
        entry = (self.owner(credentials), key)
        with self._lock:
            self._entries[entry] = (time.monotonic() + self._seconds, value)
            self._entries.move_to_end(entry)
            while len(self._entries) > self._max_entries:
                self._entries.popitem(last=False)

    def _look(self, credentials: Credentials, key: str) -> tuple[bool, Any]:
        with self._lock:
            expires, value = self._entries.get((self.owner(credentials), key), (0.0, None))
        return expires > time.monotonic(), value

    def forget(self, credentials: Credentials) -> None:
        """Drop all entries of a user, because one of them proved to be stale."""
        owner = self.owner(credentials)
        with self._lock:
            for entry in [entry for entry in self._entries if entry[0] == owner]:
                del self._entries[entry]

    def owner(self, credentials: Credentials) -> bytes:
        return hashlib.blake2b(credentials.session.encode(), key=self._salt).digest()
