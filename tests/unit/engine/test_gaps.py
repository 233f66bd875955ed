"""How wide a range of ids may be where gaps are known."""

from __future__ import annotations

import random

import pytest

from provision_engine.engine.actions.gaps import MAX_GAPS, MIN_IDS, Gaps, GapsOfUsers, Recorder


def gaps(*ranges: tuple[int, int]) -> Gaps:
    made = Gaps()
    for first, last in ranges:
        made.add(first, last)
    return made


def test_without_gaps_a_range_has_as_many_ids_as_asked_for() -> None:
    assert gaps().upwards(10, 64) == 73
    assert gaps().downwards(73, 64) == 10


@pytest.mark.parametrize(
    ("known", "upwards"),
    [
        ([(100, 999)], 73),
        ([(0, 999)], 1063),
        ([(20, 999)], 10 + 64 + 980 - 1),
        ([(74, 999)], 999),
        ([(75, 999)], 73),
        ([(20, 999), (1010, 1999)], 10 + 64 + 980 + 990 - 1),
        ([(20, 500), (400, 999)], 10 + 64 + 980 - 1),
        ([(20, 999), (500, 700)], 10 + 64 + 980 - 1),
        ([(20, 499), (500, 999)], 10 + 64 + 980 - 1),
    ],
)
def test_the_ids_of_gaps_do_not_count(known: list[tuple[int, int]], upwards: int) -> None:
    assert gaps(*known).upwards(10, 64) == upwards


@pytest.mark.parametrize("seed", range(30))
def test_upwards_and_downwards_count_the_ids_outside_of_gaps(seed: int) -> None:
    chance = random.Random(seed)
    starts = [chance.randrange(3000) for _ in range(8)]
    ranges = [(first, first + chance.randrange(MIN_IDS, 500)) for first in starts]
    known = gaps(*ranges)
    inside = {number for first, last in ranges for number in range(first, last + 1)}

    def outside(first: int, last: int) -> int:
        return sum(number not in inside for number in range(first, last + 1))

    begin = chance.randrange(3000)
    assert outside(begin, known.upwards(begin, 64)) == 64
    assert outside(known.downwards(begin, 64), begin) == 64


def test_short_gaps_are_not_remembered() -> None:
    known = gaps((20, 20 + MIN_IDS - 2))
    assert known.upwards(10, 64) == 73


def test_the_gaps_seen_last_stay() -> None:
    known = gaps(*((1000 * number, 1000 * number + 500) for number in range(MAX_GAPS + 1)))
    assert known.upwards(0, 10) == 9
    assert known.upwards(1000, 10) == 1510


@pytest.mark.parametrize(
    ("beside", "ids", "expected"),
    [
        (-1, [500], [(0, 499)]),
        (-1, [500, 600], [(0, 499), (501, 599)]),
        (-1, [500, 600, 700], [(0, 499), (501, 599)]),  # only the first two are of the page
        (1000, [500, 0], [(501, 999), (1, 499)]),
        (None, [500, 0], [(1, 499)]),
    ],
)
def test_the_gaps_between_the_first_runtimes_of_a_list_are_remembered(
    beside: int | None, ids: list[int], expected: list[tuple[int, int]]
) -> None:
    seen, known = Gaps(), gaps(*expected)
    recorder = Recorder(seen, 2, beside)
    recorder.add(ids[:1])
    recorder.add(ids[1:])
    assert [seen.upwards(n, 10) for n in range(0, 1000, 10)] == [
        known.upwards(n, 10) for n in range(0, 1000, 10)
    ]


def test_users_are_apart_and_those_seen_last_stay() -> None:
    users = GapsOfUsers(2)
    users.of(b"one").add(0, 999)
    users.of(b"two").add(0, 499)
    assert users.of(b"one").upwards(0, 64) == 1063
    users.of(b"three")
    assert users.of(b"one").upwards(0, 64) == 1063
    assert users.of(b"two").upwards(0, 64) == 63
