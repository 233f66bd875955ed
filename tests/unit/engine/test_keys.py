"""The index of idempotency keys: what it reads, what it finds, and its limits."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

import pytest

from provision_engine.engine.runtime.model import Runtime
from provision_engine.engine.safety.keys import SLACK, KeyIndex
from provision_engine.errors import BackendTimeout

ME, OTHER = b"me", b"other"


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
    assert index.candidates(ME, "a", pool.read) == [3, 9, 27]
    assert index.candidates(ME, "b", pool.read) == [4]
    assert index.candidates(ME, "c", pool.read) == []


def test_only_ids_above_the_highest_are_read_again(index: KeyIndex) -> None:
    pool = Pool(a=[3, 900])
    pool.add(950)
    index.candidates(ME, "a", pool.read)
    pool.add(2000, "a")
    assert index.candidates(ME, "a", pool.read) == [3, 900, 2000]
    index.candidates(ME, "a", pool.read)
    assert pool.read_from == [0, 951, 2001]
    assert pool.returned == 4, "each document is read once"


def test_a_document_that_has_gone_is_forgotten_and_no_other(index: KeyIndex) -> None:
    pool = Pool(a=[3, 5], b=[4])
    index.candidates(ME, "a", pool.read)
    for key, runtime_id in (("a", 3), ("a", 99), ("unknown", 5)):
        index.forget(ME, key, runtime_id)
    index.forget(OTHER, "a", 5)
    assert index.candidates(ME, "a", pool.read) == [5]
    assert index.candidates(ME, "b", pool.read) == [4]


def test_users_are_separate(index: KeyIndex) -> None:
    mine, theirs = Pool(a=[3]), Pool(a=[4])
    assert index.candidates(ME, "a", mine.read) == [3]
    assert index.candidates(OTHER, "a", theirs.read) == [4]
    assert (mine.read_from, theirs.read_from) == ([0], [0])


def test_the_number_of_users_is_limited() -> None:
    index, pools = KeyIndex(max_users=2), {owner: Pool(a=[1]) for owner in (b"1", b"2", b"3")}
    for owner in (b"1", b"2", b"1", b"3", b"1", b"2"):
        assert index.candidates(owner, "a", pools[owner].read) == [1]
    assert pools[b"1"].read_from == [0, 2, 2]
    assert pools[b"2"].read_from == [0, 0], "it was the least recently used of three"


@pytest.mark.parametrize("first", [0, 500])
def test_it_is_rebuilt_when_it_has_grown_much(index: KeyIndex, first: int) -> None:
    pool = Pool()
    for number in range(first):
        pool.add(number, f"first {number}")
    index.candidates(ME, "x", pool.read)
    highest = 2 * first + SLACK
    for number in range(first, highest):
        pool.add(number, f"key {number}")
    index.candidates(ME, "x", pool.read)
    pool.runtimes = {}
    pool.add(highest, "x")
    index.candidates(ME, "x", pool.read)
    assert pool.read_from == [0, first, highest], "not rebuilt yet: it may contain that many"
    assert index.candidates(ME, "x", pool.read) == [highest]
    assert pool.read_from[-1] == 0
    assert index.candidates(ME, "x", pool.read) == [highest]
    assert pool.read_from[-1] == highest + 1, "and then goes on from there"


def test_a_failed_read_leaves_it_unchanged(index: KeyIndex) -> None:
    pool = Pool(a=[3])
    index.candidates(ME, "a", pool.read)

    def fail(first_id: int) -> Iterable[Runtime]:
        raise BackendTimeout("slow")

    with pytest.raises(BackendTimeout):
        index.candidates(ME, "a", fail)
    assert index.candidates(ME, "a", pool.read) == [3]
    assert pool.read_from == [0, 4]


def test_requests_at_the_same_time_find_each_document_once(index: KeyIndex) -> None:
    pool, barrier = Pool(a=list(range(50))), threading.Barrier(8)

    def look(_: int) -> list[int]:
        barrier.wait()
        return index.candidates(ME, "a", pool.read)

    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(look, range(8)))
    assert found == [list(range(50))] * 8
    assert pool.returned == 50
