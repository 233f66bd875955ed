"""Which of a user's runtimes was created with an idempotency key, without reading all of them.

A process remembers the keys that it has seen and the highest document id. Ids only grow, so one
call brings what was created since, by whatever engine. What is remembered only says where to look:
the documents themselves decide, and a process that knows nothing reads them all once.
"""

from __future__ import annotations

import hashlib
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from provision_engine.engine.lru import Lru
from provision_engine.engine.runtime.model import Runtime

Read = Callable[[int], Iterable[Runtime]]
"""Reads a user's runtimes from an id on."""

MAX_USERS = 1000
SLACK = 1000
"""So many keys of runtimes that have gone may an index hold, beside twice its first keys."""


@dataclass
class _User:
    lock: threading.Lock = field(default_factory=threading.Lock)
    highest_id: int = -1
    ids: defaultdict[bytes, list[int]] = field(default_factory=lambda: defaultdict(list))
    size_at_first: int = -1
    """How many keys the first reading found; -1 before it."""


class KeyIndex:
    """The keys of many users, each apart from the others."""

    def __init__(self, max_users: int = MAX_USERS) -> None:
        self._users: Lru[int, _User] = Lru(max_users)

    def candidates(self, owner_id: int, key: str, read: Read) -> list[int]:
        """The ids of the documents that were written with a key, in their order.

        Raises what ``read`` raises.
        """
        user = self._users.get_or_put(owner_id, _User)
        with user.lock:
            self._refresh(user, read)
            return sorted(user.ids.get(_digest(key), ()))

    def forget(self, owner_id: int, key: str, runtime_id: int) -> None:
        """The document has gone, and ids do not come back."""
        user = self._users.get_or_put(owner_id, _User)
        with user.lock:
            ids = user.ids.get(_digest(key), [])
            if runtime_id in ids:
                ids.remove(runtime_id)

    def _refresh(self, user: _User, read: Read) -> None:
        is_first = user.size_at_first < 0
        if not is_first and len(user.ids) > 2 * user.size_at_first + SLACK:
            user.ids.clear()
            user.highest_id, is_first = -1, True
        for runtime in read(user.highest_id + 1):
            user.highest_id = max(user.highest_id, runtime.id)
            if runtime.key:
                user.ids[_digest(runtime.key)].append(runtime.id)
        if is_first:
            user.size_at_first = len(user.ids)


def _digest(key: str) -> bytes:
    return hashlib.blake2b(key.encode(), digest_size=16).digest()
