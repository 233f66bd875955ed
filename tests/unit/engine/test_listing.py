"""Which runtimes are listed, and in which pages."""

from __future__ import annotations

import random

import pytest

from provision_engine.engine.document import Runtime, StoredFunction
from provision_engine.engine.listing import Wanted

FAAS, DAAS = StoredFunction("nature", 1, 1, 1), StoredFunction("s3", 1, 1, 1)


def runtime(number: int, name: str = "lamp", has_data: bool = False) -> Runtime:
    functions = {"FAAS": FAAS} | ({"DAAS": DAAS} if has_data else {})
    return Runtime(id=number, name=name, functions=functions)


def body(number: int, faas: str = "RUNNING", daas: str = "") -> dict:
    told = {"ID": number, "FAAS": {"STATE": faas}}
    return told | ({"DAAS": {"STATE": daas}} if daas else {})


def walked(wanted: Wanted, kept: list[Runtime], gone: set[int]) -> list[list[int]]:
    """The ids of all pages, where some runtimes are gone when they are looked at."""
    pages = []
    after: int | None = -1
    while after is not None:
        step = Wanted(state=wanted.state, limit=wanted.limit, after=after)
        found, last = step.candidates(kept)
        page, after = step.page([body(r.id) for r in found if r.id not in gone], last)
        pages.append([told["ID"] for told in page])
    return pages


def test_without_a_limit_there_is_one_page_in_the_order_of_ids() -> None:
    found, last = Wanted().candidates([runtime(3), runtime(1), runtime(2)])
    assert [r.id for r in found] == [1, 2, 3]
    assert Wanted().page([body(1), body(2)], last) == ([body(1), body(2)], None)


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 5])
@pytest.mark.parametrize("limit", [1, 2, 3])
def test_pages_hold_everything_once(count: int, limit: int) -> None:
    pages = walked(Wanted(limit=limit), [runtime(n) for n in range(count)], set())
    assert [n for page in pages for n in page] == list(range(count))
    assert all(len(page) <= limit for page in pages)
    assert len(pages) == max(1, -(-count // limit))


@pytest.mark.parametrize("state", ["", "RUNNING"])
@pytest.mark.parametrize("seed", range(20))
def test_a_page_does_not_end_early_because_some_of_it_are_gone(state: str, seed: int) -> None:
    chance = random.Random(seed)
    kept = [runtime(n) for n in range(12)]
    gone = {n for n in range(12) if chance.random() < 0.5}
    pages = walked(Wanted(state=state, limit=3), kept, gone)
    assert [n for page in pages for n in page] == [n for n in range(12) if n not in gone]


def test_only_one_page_is_looked_at_unless_the_state_decides() -> None:
    kept = [runtime(n) for n in range(100)]
    assert len(Wanted(limit=5).candidates(kept)[0]) == 5
    assert len(Wanted(limit=5, state="ERROR").candidates(kept)[0]) == 100


def test_the_filters() -> None:
    one, both = runtime(1, "one"), runtime(2, "both", has_data=True)
    kept = [one, both]
    assert Wanted(name="one").candidates(kept)[0] == [one]
    assert Wanted(flavour="nature").candidates(kept)[0] == kept
    assert Wanted(flavour="nature-s3").candidates(kept)[0] == [both]
    assert Wanted(flavour="s3").candidates(kept)[0] == [both]
    assert Wanted(flavour="s").candidates(kept)[0] == []
    assert Wanted(after=1).candidates(kept)[0] == [both]
    assert Wanted(state="ERROR").shows(body(1, "RUNNING", "ERROR"))
    assert not Wanted(state="ERROR").shows(body(1, "RUNNING", "PENDING"))
