"""Finding where the runtimes that are older than an id begin, and in how many calls."""

from __future__ import annotations

import random
from bisect import bisect_left

import pytest

from provision_engine.engine.actions.pool_search import PRECISION, Bracket, find
from tests.support.pools import POOLS


class Pool:
    def __init__(self, ids: list[int]) -> None:
        self.newest_first = ids[::-1]
        self.calls = 0

    def id_at(self, offset: int) -> int | None:
        self.calls += 1
        return self.newest_first[offset] if offset < len(self.newest_first) else None


EACH_POOL = pytest.mark.parametrize("ids", POOLS.values(), ids=POOLS)


@EACH_POOL
def test_the_offsets_lie_on_both_sides_and_close_together(ids: list[int]) -> None:
    chance = random.Random(7)
    for boundary in [0, 1, ids[0] + 1, ids[-1], *chance.choices(range(ids[-1]), k=200)]:
        pool = Pool(ids)
        found = find(pool.id_at, boundary, ids[-1])
        begin = len(ids) - bisect_left(ids, boundary)
        assert found.newer <= begin <= found.older <= found.newer + PRECISION
        assert pool.calls <= 12


def test_a_boundary_beyond_the_newest_needs_no_call() -> None:
    pool = Pool([1, 2, 3])
    assert find(pool.id_at, 4, 3) == Bracket(0, 0)
    assert pool.calls == 0


@pytest.mark.parametrize("distance", [1, 2, 100, 10_000])
def test_evenly_spread_ids_need_few_calls(distance: int) -> None:
    ids = list(range(0, 5000 * distance, distance))
    for boundary in (ids[100], ids[2500], ids[4000]):
        pool = Pool(ids)
        find(pool.id_at, boundary, ids[-1])
        assert pool.calls <= 4


def test_the_calls_grow_with_the_logarithm_of_the_pool() -> None:
    calls = []
    for number in (5_000, 500_000):
        pool = Pool(list(range(10**7, 10**7 + number)))
        find(pool.id_at, 0, 10**7 + number - 1)
        calls.append(pool.calls)
    assert calls[1] <= calls[0] + 2 * 7  # a hundred times as many are less than seven doublings
