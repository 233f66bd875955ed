"""What one process remembers of OpenNebula between requests; all of it is expendable."""

from __future__ import annotations

import hashlib
import math
import mmap
import secrets
import struct
import threading
import time
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Hashable, Iterable
from typing import Any, Generic, TypeVar, cast

from provision_engine.cloud.client import Credentials
from provision_engine.cloud.objects import User, Vm
from provision_engine.cloud.oned import Call
from provision_engine.engine.runtime.model import Runtime

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")
Read = Callable[[int], Iterable[Runtime]]
"""Reads a user's runtimes from an id on."""

MAX_LOGINS = 2_000
MAX_ENTRIES = 100
"""Maximum number of templates and the like that are remembered for one login."""
MAX_RUNTIMES = 10_000
"""Maximum number of runtimes whose VMs are remembered, of one login or of all."""
KEY_SLACK = 1000
"""Maximum number of keys of deleted runtimes in an index, in addition to twice its first keys."""


class Lru(Generic[K, V]):
    """Values by key; the least recently used go first. Safe for threads."""

    def __init__(self, max_entries: int) -> None:
        self._max_entries = max_entries
        self._lock = threading.Lock()
        self._entries: OrderedDict[K, V] = OrderedDict()

    def get(self, key: K) -> V | None:
        """Return the value of a key; None if there is none."""
        with self._lock:
            if key in self._entries:
                self._entries.move_to_end(key)
            return self._entries.get(key)

    def put(self, key: K, value: V) -> None:
        """Store a value, in place of the least recently used one if there are too many."""
        with self._lock:
            self._entries[key] = value
            self._entries.move_to_end(key)
            if len(self._entries) > self._max_entries:
                self._entries.popitem(last=False)


VmsCalls = tuple[Call[dict[int, Vm]], ...]
"""The call that reads a runtime's VMs; none if it has none."""
KnownVms = Lru[tuple[bytes, int], VmsCalls]
"""By login and runtime: how to read the VMs that a runtime had when it was last read."""


class KeyIndex:
    """Which of a user's runtimes were created with an idempotency key.

    It knows the keys that it has read and the highest document id. Ids only grow, so one call
    brings what was created since, by whatever engine. It only says where to look: the documents
    themselves decide, and an index that knows nothing reads them all once.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._clear()

    def candidates(self, key: str, read: Read) -> list[int]:
        """Return the ids of the documents that were written with a key, in their order.

        Raises what ``read`` raises.
        """
        with self._lock:
            self._refresh(read)
            return sorted(self._ids.get(_digest(key), ()))

    def forget(self, key: str, runtime_id: int) -> None:
        """Drop a document that has gone: ids do not come back."""
        with self._lock:
            ids = self._ids.get(_digest(key), [])
            if runtime_id in ids:
                ids.remove(runtime_id)

    def _clear(self) -> None:
        self._ids: defaultdict[bytes, list[int]] = defaultdict(list)
        self._highest_id = -1
        self._max_keys: int | None = None  # as soon as the first reading tells how many there are

    def _refresh(self, read: Read) -> None:
        if self._max_keys is not None and len(self._ids) > self._max_keys:
            self._clear()
        for runtime in read(self._highest_id + 1):
            self._highest_id = max(self._highest_id, runtime.id)
            if runtime.key:
                self._ids[_digest(runtime.key)].append(runtime.id)
        if self._max_keys is None:
            self._max_keys = 2 * len(self._ids) + KEY_SLACK


Endpoint = tuple[int, str]
"""The id of a VM, and the address that it has: another one has to answer anew."""
_ANSWER = struct.Struct("<Qd")
MAX_ANSWERS, NEIGHBOURS = 2**16, 8


class Answers:
    """When to ask each VM again whether it answers; shared by the processes of an engine.

    It is made before they fork. Each reads and writes without waiting for the others, so that two
    may ask the same VM in the same moment. A VM that is not in the table is asked at once.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self._table = mmap.mmap(-1, MAX_ANSWERS * _ANSWER.size)

    def due_at(self, endpoint: Endpoint) -> float:
        """Return when a VM is due, on the monotonic clock; math.inf once it has answered."""
        key, rows = self._rows(endpoint)
        return next((at for _, known, at in rows if known == key), 0.0)

    def put(self, endpoint: Endpoint, due_at: float) -> None:
        """Set when a VM is due, in place of another one if there is no room."""
        key, rows = self._rows(endpoint)
        position = next((p for p, known, _ in rows if known in (key, 0)), rows[0][0])
        _ANSWER.pack_into(self._table, position, key, due_at)

    def _rows(self, endpoint: Endpoint) -> tuple[int, list[tuple[int, int, float]]]:
        """Return the key of a VM, and the rows in which it may stand: position, key, due time."""
        digest = hashlib.blake2b(repr(endpoint).encode(), digest_size=8).digest()
        key = int.from_bytes(digest, "little") or 1
        positions = [(key + n) % MAX_ANSWERS * _ANSWER.size for n in range(NEIGHBOURS)]
        return key, [(p, *_ANSWER.unpack_from(self._table, p)) for p in positions]


class UserMemory:
    """What is remembered for one user and password, from OpenNebula's first response on."""

    def __init__(
        self, seconds: float, on_look: Callable[[bool], None], keep: Callable[[UserMemory], None]
    ) -> None:
        """Call ``keep`` with this memory when OpenNebula has accepted the login."""
        self._seconds, self._on_look, self._keep = seconds, on_look, keep
        self._entries: Lru[str, tuple[float, Any]] = Lru(MAX_ENTRIES)
        self._user: User | None = None
        self.keys = KeyIndex()

    def user(self, load: Callable[[], User]) -> User:
        """Return the user whom the login belongs to, loaded once."""
        if self._user is None:
            self._user = load()
            self._keep(self)
        return self._user

    def cached(self, key: str, load: Callable[[], V]) -> V:
        """Return the value cached under a key; load it if there is none, or it is too old."""
        expires, value = self._entries.get(key) or (-math.inf, None)
        is_hit = expires > time.monotonic()
        self._on_look(is_hit)
        if not is_hit:
            value = load()
            self._entries.put(key, (time.monotonic() + self._seconds, value))
            self._keep(self)
        return cast(V, value)

    def has_cached(self, key: str) -> bool:
        """Return whether ``cached`` would load nothing."""
        expires, _ = self._entries.get(key) or (-math.inf, None)
        return expires > time.monotonic()

    def forget_cached(self) -> None:
        """Drop everything that is cached, because some of it proved to be stale."""
        self._entries = Lru(MAX_ENTRIES)


class Standbys:
    """The standbys that this process has ordered, to keep to the operator's maximum."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[int, tuple[int, float]] = {}

    def add(self, runtime_id: int, owner_id: int, lease_seconds: float) -> None:
        """Count a standby until its lease ends."""
        with self._lock:
            self._known[runtime_id] = owner_id, time.monotonic() + lease_seconds

    def remove(self, runtime_id: int) -> None:
        """Do not count a standby any more."""
        with self._lock:
            self._known.pop(runtime_id, None)

    def count(self, owner_id: int | None = None) -> int:
        """Count those whose lease has not ended, of one user or of all."""
        now = time.monotonic()
        with self._lock:
            self._known = {n: known for n, known in self._known.items() if known[1] > now}
            return sum(owner_id in (None, owner) for owner, _ in self._known.values())


class Memory:
    """What a process remembers for all its users, each apart from the others."""

    def __init__(
        self, seconds: float = 0.0, on_look: Callable[[bool], None] = lambda is_hit: None
    ) -> None:
        """Trust what is cached for ``seconds``; tell ``on_look`` of each hit or miss."""
        self._seconds, self._on_look = seconds, on_look
        self._salt = secrets.token_bytes(16)
        self._logins: Lru[bytes, UserMemory] = Lru(MAX_LOGINS)
        self.vms: KnownVms = Lru(MAX_RUNTIMES)
        """A guess, since a runtime's document decides."""
        self.publishers: dict[int, str] = {}
        """The publishers of flavours that were found: their names by id."""
        self.standbys = Standbys()
        self.answers = Answers()

    def login(self, credentials: Credentials) -> bytes:
        """Return a digest that tells users and passwords apart, and reveals neither."""
        return hashlib.blake2b(credentials.session.encode(), key=self._salt).digest()

    def for_login(self, login: bytes) -> UserMemory:
        """Return the memory of a login, which is stored once OpenNebula accepts the login."""
        known = self._logins.get(login)
        if known is not None:
            return known
        return UserMemory(self._seconds, self._on_look, lambda made: self._logins.put(login, made))


def _digest(key: str) -> bytes:
    return hashlib.blake2b(key.encode(), digest_size=16).digest()
