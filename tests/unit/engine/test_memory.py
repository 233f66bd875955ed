"""What one process remembers: for whom, for how long, and how much."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest

from provision_engine.cloud.client import Credentials
from provision_engine.cloud.objects import User
from provision_engine.engine import memory as memory_module
from provision_engine.engine.memory import (
    KEY_SLACK,
    MAX_ENTRIES,
    MAX_LOGINS,
    KeyIndex,
    Lru,
    Memory,
    Standbys,
    UserMemory,
)
from provision_engine.engine.runtime.model import Runtime
from provision_engine.errors import BackendTimeout, Unauthorized

ME, OTHER = Credentials("devuser", "devpass"), Credentials("other", "otherpass")
WRONG = Credentials("devuser", "wrong")


def of(memory: Memory, credentials: Credentials = ME) -> UserMemory:
    return memory.for_login(memory.login(credentials))


def fails(error: Exception) -> Callable[[], Any]:
    def fail() -> Any:
        raise error

    return fail


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time; a test sets it."""
    now = [1000.0]
    monkeypatch.setattr(memory_module, "time", SimpleNamespace(monotonic=lambda: now[0]))
    return now


# ---- what is cached for a login -----------------------------------------------------------------


def test_each_user_and_password_has_its_own_entries() -> None:
    memory, loads = Memory(10), list[str]()
    for who in (ME, OTHER, WRONG, ME, OTHER, WRONG):
        found = of(memory, who).cached("key", lambda who=who: loads.append(who.session) or who)
        assert found == who
    assert loads == [ME.session, OTHER.session, WRONG.session]


@pytest.mark.parametrize(
    ("seconds", "at", "expected"),
    [(10, (0, 9.9, 10.1, 20.0, 20.2), [0, 0, 1, 1, 2]), (0, (0, 0, 0), [0, 1, 2])],
)
def test_an_expired_entry_is_read_again(
    clock: list[float], seconds: float, at: tuple[float, ...], expected: list[int]
) -> None:
    mine, values, seen = of(Memory(seconds)), iter(range(10)), []
    for offset in at:
        clock[0] = 1000 + offset
        has_cached = mine.has_cached("key")
        seen.append(mine.cached("key", lambda: next(values)))
        assert has_cached is (seen[-1] in seen[:-1])
    assert seen == expected


def test_a_failure_is_not_cached() -> None:
    mine = of(Memory(10))
    with pytest.raises(BackendTimeout):
        mine.cached("key", fails(BackendTimeout("slow")))
    assert mine.cached("key", lambda: 7) == 7


def test_only_that_user_s_entries_are_removed() -> None:
    memory = Memory(10)
    for who in (ME, OTHER):
        of(memory, who).cached("key", lambda: "old")
    of(memory).forget_cached()
    assert of(memory).cached("key", lambda: "new") == "new"
    assert of(memory, OTHER).cached("key", lambda: "new") == "old"


def test_hits_and_misses_are_counted() -> None:
    looks: list[bool] = []
    mine = of(Memory(10, looks.append))
    for key in ("a", "a", "b", "a"):
        mine.cached(key, lambda: 1)
    assert looks == [False, True, False, True]


def test_whom_a_login_belongs_to_is_read_once() -> None:
    memory, users = Memory(), iter([User(2, False), User(3, False)])
    assert [of(memory, who).user(lambda: next(users)).id for who in (ME, ME, OTHER)] == [2, 2, 3]


def test_a_login_that_was_not_accepted_takes_no_room() -> None:
    """Otherwise anybody without credentials could evict what is remembered of others."""
    memory = Memory(10)
    of(memory).cached("key", lambda: "mine")
    for number in range(MAX_LOGINS + 1):
        refused = of(memory, Credentials(f"user{number}", "wrong"))
        with pytest.raises(Unauthorized):
            refused.user(fails(Unauthorized("no")))
        with pytest.raises(Unauthorized):
            refused.cached("key", fails(Unauthorized("no")))
    assert of(memory).has_cached("key")


def test_it_stores_no_password() -> None:
    memory = Memory(10)
    of(memory).cached("key", lambda: 1)
    assert "devpass" not in str(vars(memory)) + str(vars(of(memory)))


def test_many_threads_may_use_it_at_once() -> None:
    memory, wrong = Memory(10), []

    def work(number: int) -> None:
        for step in range(2 * MAX_ENTRIES):
            key = str((number + step) % (2 * MAX_ENTRIES))
            if of(memory).cached(key, lambda key=key: key) != key:
                wrong.append(key)
            if step % 50 == 0:
                of(memory).forget_cached()

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(work, range(4)))
    assert wrong == []


# ---- how much -----------------------------------------------------------------------------------


def test_the_least_recently_used_goes_first() -> None:
    lru: Lru[str, int] = Lru(2)
    for number, key in enumerate("ab"):
        lru.put(key, number)
    assert lru.get("a") == 0
    lru.put("c", 2)
    assert [lru.get(key) for key in "abc"] == [0, None, 2]


def test_what_a_process_remembers_is_bounded() -> None:
    """More users and templates than fit into memory; the newest stay known."""
    memory, count = Memory(60), 2 * MAX_LOGINS
    for number in range(count):
        of(memory, Credentials(f"user{number}", "pass")).cached("key", lambda: 1)
    known = [of(memory, Credentials(f"user{n}", "pass")).has_cached("key") for n in range(count)]
    assert known == [False] * (count - MAX_LOGINS) + [True] * MAX_LOGINS
    for number in range(2 * MAX_ENTRIES):
        of(memory).cached(str(number), lambda: 1)
    known = [of(memory).has_cached(str(number)) for number in range(2 * MAX_ENTRIES)]
    assert known == [False] * MAX_ENTRIES + [True] * MAX_ENTRIES


def test_only_standbys_whose_lease_has_not_ended_are_counted(clock: list[float]) -> None:
    standbys = Standbys()
    for runtime_id, owner_id, lease_seconds in ((1, 2, 10), (2, 2, 20), (3, 3, 30), (4, 3, 30)):
        standbys.add(runtime_id, owner_id, lease_seconds)
    standbys.remove(4)
    standbys.remove(99)
    counts = []
    for clock[0] in (1000.0, 1009.9, 1010.0, 1020.0, 1030.0):
        counts.append([standbys.count(owner_id) for owner_id in (None, 2, 3)])
    assert counts == [[3, 2, 1], [3, 2, 1], [2, 1, 1], [1, 0, 1], [0, 0, 0]]


# ---- the index of idempotency keys --------------------------------------------------------------


class Pool:
    """A user's runtimes by id; it records from which id on they were read."""

    def __init__(self, **ids_by_key: list[int]) -> None:
        self.runtimes = {i: Runtime(i, "", {}, key=k) for k, ids in ids_by_key.items() for i in ids}
        self.read_from: list[int] = []
        self.returned = 0

    def add(self, runtime_id: int, key: str = "") -> None:
        self.runtimes[runtime_id] = Runtime(runtime_id, "", {}, key=key)

    def read(self, first_id: int) -> Iterable[Runtime]:
        self.read_from.append(first_id)
        found = [r for i, r in sorted(self.runtimes.items(), reverse=True) if i >= first_id]
        self.returned += len(found)
        return found


@pytest.fixture
def index() -> KeyIndex:
    return KeyIndex()


def test_the_documents_of_a_key_come_in_the_order_of_their_ids(index: KeyIndex) -> None:
    pool = Pool(a=[9, 3, 27], b=[4])
    found = {key: index.candidates(key, pool.read) for key in "abc"}
    assert found == {"a": [3, 9, 27], "b": [4], "c": []}


def test_only_ids_above_the_highest_are_read_again(index: KeyIndex) -> None:
    pool = Pool(a=[3, 900])
    pool.add(950)
    index.candidates("a", pool.read)
    pool.add(2000, "a")
    assert index.candidates("a", pool.read) == [3, 900, 2000]
    index.candidates("a", pool.read)
    assert pool.read_from == [0, 951, 2001]
    assert pool.returned == 4, "each document is read once"


def test_a_document_that_has_gone_is_forgotten_and_no_other(index: KeyIndex) -> None:
    pool = Pool(a=[3, 5], b=[4])
    index.candidates("a", pool.read)
    for key, runtime_id in (("a", 3), ("a", 99), ("unknown", 5)):
        index.forget(key, runtime_id)
    assert index.candidates("a", pool.read) == [5]
    assert index.candidates("b", pool.read) == [4]


def test_each_login_has_an_index_of_its_own() -> None:
    memory = Memory()
    for who, pool in ((ME, Pool(a=[1])), (OTHER, Pool(a=[2])), (ME, Pool())):
        of(memory, who).user(lambda: User(2, False))
        found = of(memory, who).keys.candidates("a", pool.read)
        assert found == ([1] if who is ME else [2])


@pytest.mark.parametrize("first", [0, 500])
def test_it_is_rebuilt_when_it_has_grown_much(index: KeyIndex, first: int) -> None:
    pool = Pool()
    for number in range(first):
        pool.add(number, f"first {number}")
    index.candidates("x", pool.read)
    highest = 2 * first + KEY_SLACK
    for number in range(first, highest):
        pool.add(number, f"key {number}")
    index.candidates("x", pool.read)
    pool.runtimes = {}
    pool.add(highest, "x")
    index.candidates("x", pool.read)
    assert pool.read_from == [0, first, highest], "not rebuilt yet: it may contain that many"
    assert index.candidates("x", pool.read) == [highest]
    assert pool.read_from[-1] == 0
    assert index.candidates("x", pool.read) == [highest]
    assert pool.read_from[-1] == highest + 1, "and then goes on from there"


def test_a_failed_read_leaves_it_unchanged(index: KeyIndex) -> None:
    pool = Pool(a=[3])
    index.candidates("a", pool.read)
    with pytest.raises(BackendTimeout):
        index.candidates("a", lambda first_id: fails(BackendTimeout("slow"))())
    assert index.candidates("a", pool.read) == [3]
    assert pool.read_from == [0, 4]


def test_requests_at_the_same_time_find_each_document_once(index: KeyIndex) -> None:
    pool, barrier = Pool(a=list(range(50))), threading.Barrier(8)

    def look(_: int) -> list[int]:
        barrier.wait()
        return index.candidates("a", pool.read)

    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(look, range(8)))
    assert found == [list(range(50))] * 8
    assert pool.returned == 50


def test_vms_that_meet_in_the_table_of_answers_are_told_apart(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(memory_module, "MAX_ANSWERS", 8)
    answers = memory_module.Answers()
    endpoints = [(number, "10.0.0.1") for number in range(5)]
    for endpoint in endpoints:
        answers.put(endpoint, 10.0 + endpoint[0])
    assert [answers.due_at(endpoint) for endpoint in endpoints] == [10, 11, 12, 13, 14]
    assert answers.due_at((0, "10.0.0.2")) == 0
