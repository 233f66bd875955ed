"""Which runtimes are listed on which page, and how much is read for each page."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import pytest

from provision_engine.cloud.objects import Document, Quota, Vm
from provision_engine.cloud.oned import MINE
from provision_engine.engine.actions.listing import (
    LARGEST,
    MAX_READ,
    OVERLAP,
    Cursor,
    Filter,
    Page,
    list_runtimes,
)
from provision_engine.engine.runtime.document import body_of
from provision_engine.engine.runtime.model import Runtime
from provision_engine.engine.runtime.states import State
from tests.support.pools import POOLS as POOLS_OF_THOUSANDS
from tests.unit.engine.opennebula import OpenNebula
from tests.unit.support import document, function, vm

RUNNING, FAILED = (3, 3), (3, 36)
VM_IDS_BEGIN_AT = 10**7


class Oned(OpenNebula):
    """A pool of runtimes, each with its VMs; it counts what is read from it."""

    def __init__(self, ids: Iterable[int], *, has_data: bool = False) -> None:
        super().__init__()
        self.has_data = has_data
        self.vms_counted_each = 1 + has_data
        self.states: dict[int, tuple[int, int]] = {}
        self.pages_read: list[int] = []
        """The number of documents that each call has returned."""
        self.vms_read: list[int] = []
        self.before_each_read: Callable[[], None] = lambda: None
        for runtime_id in ids:
            self.add(runtime_id)

    def add(self, runtime_id: int, name: str = "lamp") -> None:
        functions = {"FAAS": function("nature", 1, 1, 1, runtime_id + VM_IDS_BEGIN_AT)}
        if self.has_data:
            functions["DAAS"] = function("nature", 1, 1, 1, runtime_id + 2 * VM_IDS_BEGIN_AT)
        runtime = Runtime(runtime_id, name, functions, service_id=1)
        self.pool[runtime_id] = document(body_of(runtime), id_=runtime_id, name=name)

    def version(self) -> str:
        return "7.4.0"

    def newest_documents(
        self, document_type: int, count: int, whose: int = MINE, *, offset: int = 0
    ) -> list[Document]:
        assert 0 <= offset <= LARGEST
        assert 0 < count <= LARGEST
        self.before_each_read()
        found = super().newest_documents(document_type, count, whose, offset=offset)
        self.pages_read.append(len(found))
        return found

    def quota(self) -> Quota:
        self.pages_read.append(0)
        return Quota({}, {"VMS": float(self.vms_counted_each * len(self.pool))})

    def vms(self, vm_ids: Sequence[int], *, with_actions: bool = False) -> dict[int, Vm]:
        self.vms_read.append(len(vm_ids))
        return {i: vm(*self.states.get(i - VM_IDS_BEGIN_AT, RUNNING), vm_id=i) for i in vm_ids}


def page(oned: Oned, cursor: Cursor, wanted: Filter | None = None) -> Page:
    return list_runtimes(oned.request(), wanted or Filter(), cursor)


def ids(of: Page) -> list[int]:
    return [snapshot.id for snapshot in of.snapshots]


def walk(
    oned: Oned,
    cursor: Cursor,
    wanted: Filter | None = None,
    between: Callable[[Cursor], Cursor] = lambda cursor: cursor,
) -> list[list[int]]:
    """The ids of all pages; ``between`` happens after each of them, and may change the cursor."""
    pages, following = [], cursor
    while following is not None:
        found = page(oned, following, wanted)
        pages.append(ids(found))
        following = found.following and between(found.following)
    return pages


def flat(pages: list[list[int]]) -> list[int]:
    return [number for of_page in pages for number in of_page]


POOLS = {
    "empty": [],
    "one": [0],
    "dense": list(range(400)),
    "gaps of thousands": list(range(7, 200_000, 3711)),
    "clusters far apart": [*range(10), *range(90_000, 90_300), *range(2_000_000, 2_000_003)],
}
DIRECTIONS = pytest.mark.parametrize("is_down", [False, True], ids=["asc", "desc"])
EACH_POOL = pytest.mark.parametrize("pool", POOLS.values(), ids=POOLS)


# ---- what the pages hold ------------------------------------------------------------------------


@DIRECTIONS
@EACH_POOL
def test_without_a_limit_there_is_one_page_in_the_order_asked_for(
    pool: list[int], is_down: bool
) -> None:
    shuffled = random.Random(7).sample(pool, len(pool))
    found = page(Oned(shuffled), Cursor(is_newest_first=is_down))
    assert ids(found) == sorted(pool, reverse=is_down)
    assert found.following is None


@DIRECTIONS
@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 5])
@pytest.mark.parametrize("limit", [1, 2, 3])
def test_pages_are_full_but_for_the_last(count: int, limit: int, is_down: bool) -> None:
    pages = walk(Oned(range(count)), Cursor(limit=limit, is_newest_first=is_down))
    assert flat(pages) == sorted(range(count), reverse=is_down)
    assert all(len(of_page) == limit for of_page in pages[:-1])
    assert len(pages) == max(1, -(-count // limit))


@DIRECTIONS
@EACH_POOL
@pytest.mark.parametrize("limit", [3, 300, LARGEST])
def test_pages_contain_once_what_a_filter_selects(
    pool: list[int], limit: int, is_down: bool
) -> None:
    failed = [number for number in pool if number % 5 == 2]
    oned = Oned(pool)
    oned.states = dict.fromkeys(failed, FAILED)
    for wanted, matching in ((Filter(), pool), (Filter(state=State.ERROR), failed)):
        pages = walk(oned, Cursor(limit=limit, is_newest_first=is_down), wanted)
        assert flat(pages) == sorted(matching, reverse=is_down)
        assert all(len(of_page) <= limit for of_page in pages)


class Changes:
    """Runtimes come and go, few or many of them at once; half of the first ones stay."""

    def __init__(self, oned: Oned, chance: random.Random) -> None:
        self._oned, self._chance = oned, chance
        self.staying = set(chance.sample(sorted(oned.pool), len(oned.pool) // 2))

    def happen(self) -> None:
        leaving = sorted(self._oned.pool.keys() - self.staying)
        for number in self._chance.sample(leaving, min(len(leaving), self._chance.choice([2, 80]))):
            del self._oned.pool[number]
        for _ in range(self._chance.choice([0, 1, 60])):
            self._oned.add(max(self._oned.pool) + self._chance.randrange(1, 100))

    def with_other_offset(self, cursor: Cursor) -> Cursor:
        """Sometimes that of an old cursor, of one without an offset, or a made-up one."""
        offset = self._chance.choice([cursor.offset] * 3 + [None, 0, 500, LARGEST])
        return replace(cursor, offset=offset)


@DIRECTIONS
@pytest.mark.parametrize("wanted", [Filter(), Filter(name="lamp"), Filter(state=State.RUNNING)])
@pytest.mark.parametrize("is_hectic", [False, True], ids=["between pages", "between calls"])
def test_what_exists_all_the_while_is_shown_once_while_others_come_and_go(
    is_hectic: bool, wanted: Filter, is_down: bool
) -> None:
    for seed in range(6):
        chance = random.Random(seed)
        pool = chance.sample(range(100_000), chance.choice([3, 40, 400]))
        oned = Oned(pool)
        for number in chance.sample(pool, len(pool) // 5):
            oned.add(number, chance.choice(["lamp", "other"]))
            oned.states[number] = chance.choice([RUNNING, FAILED])
        changes = Changes(oned, chance)
        staying = {
            number
            for number in changes.staying
            if wanted.name in ("", oned.pool[number].name)
            and (wanted.state is None or oned.states.get(number) != FAILED)
        }
        if is_hectic:
            oned.before_each_read = changes.happen

        def between(cursor: Cursor, changes: Changes = changes) -> Cursor:
            changes.happen()
            return changes.with_other_offset(cursor)

        limit = chance.choice([1, 7]) + len(pool) // 10
        shown = flat(walk(oned, Cursor(limit=limit, is_newest_first=is_down), wanted, between))
        assert shown == sorted(set(shown), reverse=is_down)
        assert staying <= set(shown)


@DIRECTIONS
def test_whatever_a_cursor_says_the_page_is_right(is_down: bool) -> None:
    count = 150
    oned = Oned(range(count))
    for edge in (0, 1, count // 2, count - 2, count - 1, count, LARGEST):
        side = {"before": edge} if is_down else {"after": edge}
        expected = range(count)[:edge][::-1] if is_down else range(count)[edge + 1 :]
        for offset in (None, *range(count + 20), 10**6, LARGEST):
            cursor = Cursor(limit=3, offset=offset, is_newest_first=is_down, **side)
            assert ids(page(oned, cursor)) == list(expected[:3]), cursor


@pytest.mark.parametrize("limit", [None, 1, 5])
@pytest.mark.parametrize(
    ("cursor", "expected"),
    [
        (Cursor(after=3), [9, 8, 7, 6, 5, 4]),
        (Cursor(before=3), [2, 1, 0]),
        (Cursor(after=3, before=6), [5, 4]),
        (Cursor(after=3, before=6, is_newest_first=False), [4, 5]),
        (Cursor(after=9), []),
        (Cursor(before=1), [0]),
        (Cursor(after=5, before=5), []),
        (Cursor(after=LARGEST), []),
        (Cursor(before=LARGEST), [9, 8, 7, 6, 5, 4, 3, 2, 1, 0]),
    ],
)
def test_a_cursor_says_where_a_list_begins_and_ends(
    cursor: Cursor, expected: list[int], limit: int | None
) -> None:
    assert flat(walk(Oned(range(10)), replace(cursor, limit=limit))) == expected


@DIRECTIONS
def test_no_empty_page_follows_the_last_between_two_ids(is_down: bool) -> None:
    pages = walk(Oned(range(100)), Cursor(50, 53, limit=1, is_newest_first=is_down))
    assert pages == ([[52], [51]] if is_down else [[51], [52]])


@DIRECTIONS
def test_if_few_match_the_pages_are_short_but_complete(is_down: bool) -> None:
    oned = Oned(range(10_000))
    matching = [3, 2500, 2501, 9990]
    for number in matching:
        oned.add(number, "rare")
    pages = walk(oned, Cursor(limit=3, is_newest_first=is_down), Filter(name="rare"))
    assert flat(pages) == sorted(matching, reverse=is_down)


@pytest.mark.parametrize("limit", [None, 3])
@pytest.mark.parametrize("unreadable", [0, 4, 9])
def test_an_unreadable_document_hides_no_other(unreadable: int, limit: int | None) -> None:
    oned = Oned(range(10))
    oned.pool[unreadable] = document("no json", id_=unreadable)
    for is_down in (False, True):
        shown = flat(walk(oned, Cursor(limit=limit, is_newest_first=is_down)))
        assert sorted(shown) == [number for number in range(10) if number != unreadable]


# ---- how much is read ---------------------------------------------------------------------------

FIRST_ASCENDING_CALLS, SEARCH_CALLS = 3, 17
"""With the number of the user's VMs; where the place of a page is not known."""


@DIRECTIONS
@pytest.mark.parametrize("has_data", [False, True])
@pytest.mark.parametrize("limit", [1, 10, 50])
def test_a_page_among_thousands_takes_one_call_for_documents_and_one_for_vms(
    limit: int, has_data: bool, is_down: bool
) -> None:
    oned, cursor = Oned(range(5000), has_data=has_data), Cursor(limit=limit)
    for number in range(5):
        cursor = replace(cursor, is_newest_first=is_down)
        oned.pages_read.clear()
        oned.vms_read.clear()
        found = page(oned, cursor)
        assert len(ids(found)) == limit
        assert len(oned.pages_read) == (1 if is_down or number else FIRST_ASCENDING_CALLS)
        assert sum(oned.pages_read) <= limit + 2 * OVERLAP + 2
        assert oned.vms_read == [limit * (1 + has_data)]
        assert found.following is not None
        cursor = found.following
        for created in range(OVERLAP - 1):  # few changes cost nothing
            oned.add(max(oned.pool) + 1 + created)


@pytest.mark.parametrize("pool", POOLS_OF_THOUSANDS.values(), ids=POOLS_OF_THOUSANDS)
@DIRECTIONS
def test_a_page_whose_place_is_not_known_is_found_in_few_calls(
    pool: list[int], is_down: bool
) -> None:
    oned = Oned(pool)
    for place in (10, 400, 1000, 1600, 1989):
        side = {"before": pool[place]} if is_down else {"after": pool[place]}
        for offset in (None, 0, 1000, 2000):
            oned.pages_read.clear()
            page(oned, Cursor(limit=10, offset=offset, is_newest_first=is_down, **side))
            assert len(oned.pages_read) <= SEARCH_CALLS, (side, offset)
            assert sum(oned.pages_read) <= SEARCH_CALLS * (10 + 2 * OVERLAP + 1)


@pytest.mark.parametrize("counted_each", [0, 3])
def test_a_wrong_count_of_vms_costs_a_search(counted_each: int) -> None:
    """VMs of no runtime count too, and not every runtime has as many as the newest."""
    oned = Oned(range(5000))
    oned.vms_counted_each = counted_each
    assert ids(page(oned, Cursor(limit=10, is_newest_first=False))) == list(range(10))
    assert len(oned.pages_read) <= SEARCH_CALLS + FIRST_ASCENDING_CALLS


def test_only_one_page_of_vms_is_looked_at_unless_the_state_decides() -> None:
    oned = Oned(range(100))
    page(oned, Cursor(limit=5))
    assert sum(oned.vms_read) == 5
    page(oned, Cursor(limit=5), Filter(state=State.ERROR))
    assert sum(oned.vms_read) == 105


@DIRECTIONS
def test_a_page_without_a_match_is_bounded_and_has_a_cursor(is_down: bool) -> None:
    oned = Oned(range(10_000))
    found = page(oned, Cursor(limit=5, is_newest_first=is_down), Filter(name="nobody"))
    assert ids(found) == []
    assert found.following is not None
    assert sum(oned.pages_read) - 1 <= MAX_READ
    assert len(oned.pages_read) <= 7


def test_a_filter_compares_whole_names_and_flavours() -> None:
    known = Runtime(1, "one", {"FAAS": function("nature", 1, 1, 1)})
    assert Filter(name="one", flavour="nature").matches(known)
    for other in (Filter(name="on"), Filter(flavour="nat"), Filter(name="one", flavour="s3")):
        assert not other.matches(known)
