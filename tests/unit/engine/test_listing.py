"""Which runtimes are listed on which page, and how much is read for each page."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from provision_engine.cloud.calls import ALL, MINE
from provision_engine.cloud.objects import Document, Quota, Vm
from provision_engine.engine.actions.listing import (
    MAX_READ,
    Cursor,
    Filter,
    Page,
    list_runtimes,
)
from provision_engine.engine.actions.windows import FIRST_IDS, MAX_GUESSED_IDS
from provision_engine.engine.runtime.document import body_of
from provision_engine.engine.runtime.model import Runtime
from provision_engine.engine.runtime.snapshot import Observation, Snapshot
from provision_engine.engine.runtime.states import Condition, State
from tests.support.pools import POOLS as POOLS_OF_THOUSANDS
from tests.unit.engine.samples import Cloud, context
from tests.unit.support import OWNER, document, function, vm

FAAS, DAAS = function("nature", 1, 1, 1), function("s3", 1, 1, 1)
RUNNING, FAILED = (3, 3), (3, 36)
VM_IDS_BEGIN_AT = 10**7


class Oned:
    """A pool of runtimes, each with its VMs; it counts what is read from it."""

    def __init__(self, ids: Iterable[int], *, has_data: bool = False) -> None:
        self.has_data = has_data
        self.vms_counted_each = 1 + has_data
        self.pool: dict[int, Document] = {}
        self.states: dict[int, tuple[int, int]] = {}
        self.gone_vms: set[int] = set()
        self.windows: list[int] = []
        """The number of documents that each call has returned."""
        self.vms_read: list[int] = []
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

    def documents(
        self, document_type: int, whose: int, *, first_id: int = ALL, last_id: int = ALL
    ) -> list[Document]:
        if document_type != 1337:
            return []
        assert whose in (MINE, OWNER)
        last = max(self.pool, default=0) if last_id == ALL else last_id
        found = [d for i, d in self.pool.items() if max(first_id, 0) <= i <= last]
        self.windows.append(len(found))
        return found

    def newest_documents(
        self, document_type: int, count: int, whose: int, *, offset: int = 0
    ) -> list[Document]:
        assert (document_type, whose) == (1337, MINE)
        newest = sorted(self.pool, reverse=True)[offset : offset + count]
        self.windows.append(len(newest))
        return [self.pool[i] for i in newest]

    def quota(self) -> Quota:
        self.windows.append(0)
        return Quota({}, {"VMS": float(self.vms_counted_each * len(self.pool))})

    def vms(self, vm_ids: list[int], *, with_actions: bool = False) -> dict[int, Vm]:
        self.vms_read.append(len(vm_ids))
        return {
            i: vm(*self.states.get(i - VM_IDS_BEGIN_AT, RUNNING), vm_id=i)
            for i in vm_ids
            if i - VM_IDS_BEGIN_AT not in self.gone_vms
        }


def page(oned: Oned, cursor: Cursor | None = None, wanted: Filter | None = None) -> Page:
    return list_runtimes(context(Cloud(oned)), wanted or Filter(), cursor or Cursor())


def ids(of: Page) -> list[int]:
    return [snapshot.id for snapshot in of.snapshots]


def walk(
    oned: Oned,
    limit: int,
    is_newest_first: bool,
    wanted: Filter | None = None,
    between: Callable[[], None] = lambda: None,
) -> list[list[int]]:
    """The ids of all pages; ``between`` happens after each of them."""
    pages, edge = [], None
    while not pages or edge is not None:
        if edge is None:
            cursor = Cursor(limit=limit, is_newest_first=is_newest_first)
        elif is_newest_first:
            cursor = Cursor(limit=limit, is_newest_first=True, before=edge)
        else:
            cursor = Cursor(limit=limit, after=edge)
        found = page(oned, cursor, wanted)
        pages.append(ids(found))
        edge = found.next_id
        between()
    return pages


def flat(pages: list[list[int]]) -> list[int]:
    return [number for of_page in pages for number in of_page]


POOLS = {
    "empty": [],
    "one": [0],
    "dense": list(range(400)),
    "a gap in front": list(range(50_000, 50_020)),
    "gaps of thousands": list(range(7, 200_000, 3711)),
    "clusters far apart": [*range(10), *range(90_000, 90_300), *range(2_000_000, 2_000_003)],
}
DIRECTIONS = pytest.mark.parametrize("is_newest_first", [False, True], ids=["asc", "desc"])
EACH_POOL = pytest.mark.parametrize("pool", POOLS.values(), ids=POOLS)


# ---- what the pages hold ------------------------------------------------------------------------


@DIRECTIONS
@EACH_POOL
def test_without_a_limit_there_is_one_page_in_the_order_asked_for(
    pool: list[int], is_newest_first: bool
) -> None:
    shuffled = random.Random(7).sample(pool, len(pool))
    found = page(Oned(shuffled), Cursor(is_newest_first=is_newest_first))
    assert ids(found) == sorted(pool, reverse=is_newest_first)
    assert found.next_id is None


@DIRECTIONS
@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 5])
@pytest.mark.parametrize("limit", [1, 2, 3])
def test_pages_are_full_but_for_the_last(count: int, limit: int, is_newest_first: bool) -> None:
    pages = walk(Oned(range(count)), limit, is_newest_first)
    assert flat(pages) == sorted(range(count), reverse=is_newest_first)
    assert all(len(of_page) == limit for of_page in pages[:-1])
    assert len(pages) == max(1, -(-count // limit))


@DIRECTIONS
@EACH_POOL
@pytest.mark.parametrize("limit", [7, 300])
def test_pages_contain_everything_once(pool: list[int], limit: int, is_newest_first: bool) -> None:
    pages = walk(Oned(pool), limit, is_newest_first)
    assert flat(pages) == sorted(pool, reverse=is_newest_first)
    assert all(len(of_page) <= limit for of_page in pages)


@DIRECTIONS
@pytest.mark.parametrize("seed", range(20))
def test_pages_contain_everything_once_during_creates_and_deletes(
    seed: int, is_newest_first: bool
) -> None:
    chance = random.Random(seed)
    pool = chance.sample(range(100_000), 120)
    staying = set(chance.sample(pool, 60))
    oned = Oned(pool)

    def change() -> None:
        for leaving in chance.sample(sorted(oned.pool.keys() - staying), 2):
            del oned.pool[leaving]
        oned.add(max(oned.pool) + chance.randrange(1, 3000))

    shown = flat(walk(oned, 5, is_newest_first, between=change))
    assert shown == sorted(set(shown), reverse=is_newest_first)
    assert staying <= set(shown)


class Busy(Oned):
    """Runtimes come and go between any two calls, many of them at once."""

    def __init__(self, ids: Iterable[int], seed: int) -> None:
        super().__init__(ids)
        self._chance = random.Random(seed)
        self.staying = set(self._chance.sample(sorted(self.pool), len(self.pool) // 2))

    def _change(self) -> None:
        leaving = sorted(self.pool.keys() - self.staying)
        for number in self._chance.sample(leaving, min(len(leaving), self._chance.choice([2, 80]))):
            del self.pool[number]
        for _ in range(self._chance.choice([0, 1, 60])):
            self.add(max(self.pool) + self._chance.randrange(1, 100))

    def documents(self, *args: Any, **options: Any) -> list[Document]:
        self._change()
        return super().documents(*args, **options)

    def newest_documents(self, *args: Any, **options: Any) -> list[Document]:
        self._change()
        return super().newest_documents(*args, **options)


@DIRECTIONS
@pytest.mark.parametrize("pool", ["gap in front", "gap in the middle", "at random", "clusters"])
def test_pages_contain_everything_once_while_runtimes_come_and_go(
    pool: str, is_newest_first: bool
) -> None:
    for seed in range(3):
        oned = Busy(POOLS_OF_THOUSANDS[pool][::5], seed)
        shown = flat(walk(oned, 50, is_newest_first))
        assert shown == sorted(set(shown), reverse=is_newest_first)
        assert oned.staying <= set(shown)


@DIRECTIONS
@EACH_POOL
@pytest.mark.parametrize("limit", [3, 50])
def test_pages_contain_once_what_a_filter_selects(
    pool: list[int], limit: int, is_newest_first: bool
) -> None:
    failed = [number for number in pool if number % 5 == 2]
    oned = Oned(pool)
    oned.states = dict.fromkeys(failed, FAILED)
    pages = walk(oned, limit, is_newest_first, Filter(state=State.ERROR))
    assert flat(pages) == sorted(failed, reverse=is_newest_first)
    assert all(len(of_page) <= limit for of_page in pages)


@DIRECTIONS
def test_if_few_match_the_pages_are_short_but_complete(is_newest_first: bool) -> None:
    oned = Oned(range(10_000))
    matching = [3, 2500, 2501, 9990]
    for number in matching:
        oned.add(number, "rare")
    pages = walk(oned, 3, is_newest_first, Filter(name="rare"))
    assert flat(pages) == sorted(matching, reverse=is_newest_first)


@pytest.mark.parametrize(
    ("cursor", "expected"),
    [
        (Cursor(after=3), [4, 5, 6, 7, 8, 9]),
        (Cursor(before=3), [0, 1, 2]),
        (Cursor(after=3, before=6), [4, 5]),
        (Cursor(after=3, before=6, is_newest_first=True), [5, 4]),
        (Cursor(after=3, before=6, limit=1), [4]),
        (Cursor(after=3, before=6, limit=1, is_newest_first=True), [5]),
        (Cursor(after=9), []),
        (Cursor(before=1), [0]),
        (Cursor(before=1, limit=5), [0]),
        (Cursor(after=5, before=5, limit=5), []),
        (Cursor(after=2**31 - 1, limit=5), []),
        (Cursor(before=2**31 - 1, limit=2, is_newest_first=True), [9, 8]),
    ],
)
def test_a_cursor_says_where_a_page_begins_and_ends(cursor: Cursor, expected: list[int]) -> None:
    assert ids(page(Oned(range(10)), cursor)) == expected


@pytest.mark.parametrize("limit", [None, 3])
@pytest.mark.parametrize("unreadable", [0, 4, 9])
def test_an_unreadable_document_hides_no_other(unreadable: int, limit: int | None) -> None:
    oned = Oned(range(10))
    oned.pool[unreadable] = document("no json", id_=unreadable)
    pages = [ids(page(oned))] if limit is None else walk(oned, limit, is_newest_first=False)
    assert flat(pages) == [number for number in range(10) if number != unreadable]


def test_a_runtime_whose_service_has_gone_is_shown_with_its_error() -> None:
    oned = Oned(range(3))
    oned.gone_vms = {1}
    assert [seen.states for seen in page(oned).snapshots] == [
        {State.RUNNING},
        {State.ERROR},
        {State.RUNNING},
    ]


# ---- how much is read ---------------------------------------------------------------------------


@DIRECTIONS
@pytest.mark.parametrize("limit", [1, 5, 50])
def test_a_small_page_of_a_large_pool_reads_no_more_than_a_window(
    limit: int, is_newest_first: bool
) -> None:
    oned = Oned(range(5000))
    assert len(ids(page(oned, Cursor(limit=limit, is_newest_first=is_newest_first)))) == limit
    assert sum(oned.windows) <= max(FIRST_IDS, limit + 2)
    assert oned.vms_read == [limit]


@DIRECTIONS
@EACH_POOL
def test_the_calls_of_a_page_are_few_however_far_apart_the_ids_are(
    pool: list[int], is_newest_first: bool
) -> None:
    oned, calls = Oned(pool), []
    walk(oned, 5, is_newest_first, between=lambda: calls.append(len(oned.windows)))
    per_page = [after - before for before, after in zip([0, *calls], calls, strict=False)]
    assert max(per_page) <= 9


FIRST_CALLS, LATER_CALLS, AGAIN_CALLS = 6, 16, 4
"""With the call for the VMs: the first pages, others, and any page that was read before."""
MOST_DOCUMENTS = 180
"""If the runtimes of two neighbouring ranges of ids lie similarly close."""


@pytest.mark.parametrize("pool", POOLS_OF_THOUSANDS.values(), ids=POOLS_OF_THOUSANDS)
@pytest.mark.parametrize("has_data", [False, True])
def test_the_calls_and_documents_of_a_page_among_thousands(pool: list[int], has_data: bool) -> None:
    oned = Oned(pool, has_data=has_data)
    for number, cursor in enumerate(cursors(pool)):
        memory = context(Cloud(oned))
        expected = [i for i in pool if cursor.after < i < (cursor.before or pool[-1] + 1)]
        for most in (FIRST_CALLS if number < 2 else LATER_CALLS, AGAIN_CALLS):
            oned.windows.clear()
            found = list_runtimes(memory, Filter(), cursor)
            assert ids(found) == expected[:: -1 if cursor.is_newest_first else 1][:10]
            assert len(oned.windows) + 1 <= most, cursor
            assert sum(oned.windows) <= MOST_DOCUMENTS, cursor


def cursors(pool: list[int]) -> list[Cursor]:
    """The first pages, and others at the beginning, in the middle and at the end."""
    middle = len(pool) // 2
    after = [pool[2], pool[middle - 1], pool[middle - 1] + 1, pool[-11]]
    before = [pool[5], pool[middle], pool[middle] - 1, pool[-1] + 1]
    return [
        Cursor(limit=10),
        Cursor(limit=10, is_newest_first=True),
        *(Cursor(limit=10, after=number) for number in after),
        *(Cursor(limit=10, before=number, is_newest_first=True) for number in before),
    ]


def test_a_wrong_count_of_vms_costs_a_search() -> None:
    """VMs of no runtime count too, and not every runtime has as many as the newest."""
    oned = Oned(POOLS_OF_THOUSANDS["gap in front"])
    for oned.vms_counted_each in (0, 3):
        oned.windows.clear()
        assert ids(page(oned, Cursor(limit=10))) == sorted(oned.pool)[:10]
        assert len(oned.windows) + 1 <= LATER_CALLS


def test_an_older_runtime_that_is_given_to_a_user_is_shown_at_once() -> None:
    oned = Oned(range(1_000_000, 1_001_000))
    memory = context(Cloud(oned))
    for older in ([], [70_000], [70_000, 300]):
        for number in older:
            oned.add(number)
        found = list_runtimes(memory, Filter(), Cursor(limit=10))
        assert ids(found) == sorted(oned.pool)[:10]


def test_a_gap_that_is_passed_does_not_widen_the_next_range() -> None:
    """What was read behind a gap says how far apart runtimes lie there, not in the gap."""
    oned = Oned([*range(3), 1_000_000, *range(1_000_060, 1_005_000)])
    memory = context(Cloud(oned))
    for _ in range(3):
        oned.windows.clear()
        list_runtimes(memory, Filter(), Cursor(limit=10))
        assert sum(oned.windows) <= MAX_GUESSED_IDS


def test_only_one_page_of_vms_is_looked_at_unless_the_state_decides() -> None:
    oned = Oned(range(100))
    page(oned, Cursor(limit=5))
    assert sum(oned.vms_read) == 5
    page(oned, Cursor(limit=5), Filter(state=State.ERROR))
    assert sum(oned.vms_read) == 105


@DIRECTIONS
def test_a_page_without_a_match_is_bounded_and_has_a_cursor(
    is_newest_first: bool,
) -> None:
    oned = Oned(range(10_000))
    cursor = Cursor(limit=5, is_newest_first=is_newest_first)
    found = page(oned, cursor, Filter(name="nobody"))
    assert ids(found) == []
    assert found.next_id is not None
    assert sum(oned.windows) - 1 <= MAX_READ


# ---- filters ------------------------------------------------------------------------------------


def runtime(name: str, has_data: bool = False) -> Runtime:
    return Runtime(1, name, {"FAAS": FAAS} | ({"DAAS": DAAS} if has_data else {}))


@pytest.mark.parametrize(
    ("wanted", "shown"),
    [
        (Filter(), {"one", "both"}),
        (Filter(name="one"), {"one"}),
        (Filter(name="on"), set()),
        (Filter(flavour="nature"), {"one", "both"}),
        (Filter(flavour="nature-s3"), {"both"}),
        (Filter(flavour="s3"), {"both"}),
        (Filter(flavour="s"), set()),
        (Filter(name="one", flavour="s3"), set()),
    ],
)
def test_the_filters_of_name_and_flavour(wanted: Filter, shown: set[str]) -> None:
    known = [runtime("one"), runtime("both", has_data=True)]
    assert {r.name for r in known if wanted.matches(r)} == shown


@pytest.mark.parametrize(
    ("state", "is_shown"),
    [(None, True), (State.ERROR, True), (State.RUNNING, True), (State.PENDING, False)],
)
def test_the_filter_of_state_is_about_any_function(state: State | None, is_shown: bool) -> None:
    def observed(of: State) -> Any:
        return Observation(Condition(of))

    seen = Snapshot(
        runtime("both", has_data=True),
        {"FAAS": observed(State.RUNNING), "DAAS": observed(State.ERROR)},
    )
    assert Filter(state=state).shows(seen) is is_shown
