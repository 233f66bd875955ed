"""What a request costs OpenNebula, in calls and bytes, however many runtimes there are."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pytest

from provision_engine.engine.document import body_of
from provision_engine.engine.model import Function, Phase, Runtime
from provision_engine.sandbox import Sandbox

from .conftest import QUICK, engine
from .device import PATH, Device, Json, small
from .lifetime import ids, page
from .opennebula import until
from .settings import FLAVOUR, User

FEW, MANY = 50, 5_000
FAR_ID = 1_000_000
"""A cloud has so many other documents before the user's first one."""
LIMIT = 10
PAGE_CALLS = 4
"""The newest runtime, at most two ranges of ids, and the VMs."""
SEARCH_CALLS = 18
"""Two more for each doubling of the number of runtimes, at most, where ranges are sought."""
RANGE_DOCUMENTS = 300
"""So many documents are read for a page at most."""
PER_DOCUMENT_BYTES = 1_500


def body(name: str, service_id: int, vm_id: int) -> str:
    """A runtime's document as the engine writes it."""
    now = int(time.time())
    runtime = Runtime(
        id=-1,
        name=name,
        functions={"FAAS": Function(FLAVOUR, 1, 128, 1024, vm_id)},
        service_id=service_id,
        service_name=f"{name}-service",
        phase=Phase.READY,
        created_at=now,
        intended_at=now,
    )
    return body_of(runtime)


@dataclass
class Cost:
    calls: int = 0
    bytes: int = 0
    methods: list[str] = field(default_factory=list)


@dataclass
class Place:
    """A sandbox with runtimes of user0, and an engine in front of it."""

    sandbox: Sandbox
    device: Device

    @contextmanager
    def cost(self) -> Iterator[Cost]:
        cost = Cost()
        already = len(self.sandbox.calls)
        yield cost
        made = self.sandbox.calls[already:]
        cost.calls = len(made)
        cost.bytes = sum(call.request_bytes + call.response_bytes for call in made)
        cost.methods = [call.method for call in made]

    def runtime_ids(self, user: str = "user0") -> list[int]:
        return sorted(d.id for d in self.sandbox.store.documents() if d.uname == user)


@contextmanager
def place(
    runtimes: int, *, first_id: int = 0, users: int = 1, templates: int = 0, cache: int = 0
) -> Iterator[Place]:
    with Sandbox("6.8.0", timings=QUICK, hosts=2_000) as sandbox:
        documents = sandbox.world.store.documents
        documents.next_id = max(documents.next_id, first_id)
        sandbox.store.populate(users, runtimes, templates, body)
        further = f"cache: {{seconds: {cache}}}"
        with engine(sandbox.oned_url, sandbox.oneflow_url, further) as url:
            yield Place(sandbox, Device(url, User("user0", "pass0")))


@pytest.fixture(scope="module")
def few() -> Iterator[Place]:
    with place(FEW) as few:
        yield few


@pytest.fixture(scope="module")
def many() -> Iterator[Place]:
    with place(MANY) as many:
        yield many


# ---- pages --------------------------------------------------------------------------------------


def pages(expected: list[int]) -> Iterator[tuple[Json, list[int]]]:
    """Queries of pages at the beginning, in the middle and at the end, and what they show."""
    middle = len(expected) // 2
    newest_first = expected[::-1]
    yield {}, expected[:LIMIT]
    yield {"after": expected[middle - 1]}, expected[middle : middle + LIMIT]
    yield {"after": expected[-LIMIT - 1]}, expected[-LIMIT:]
    yield {"order": "desc"}, newest_first[:LIMIT]
    yield {"order": "desc", "before": expected[middle]}, newest_first[-middle:][:LIMIT]
    yield {"order": "desc", "before": expected[LIMIT]}, newest_first[-LIMIT:]


def check_pages(place: Place, calls: int) -> None:
    for query, expected in pages(place.runtime_ids()):
        with place.cost() as cost:
            seen, _ = page(place.device, PATH, limit=LIMIT, **query)
        assert ids(seen) == expected, query
        assert cost.calls <= calls, (query, cost.methods)
        assert cost.bytes <= RANGE_DOCUMENTS * PER_DOCUMENT_BYTES, query


def test_a_page_costs_the_same_wherever_it_is(few: Place, many: Place) -> None:
    check_pages(few, PAGE_CALLS)
    check_pages(many, PAGE_CALLS)


def test_a_page_costs_the_same_behind_many_other_documents() -> None:
    with place(MANY, first_id=FAR_ID) as far:
        check_pages(far, SEARCH_CALLS)


def test_the_first_page_is_sought_once_in_a_while() -> None:
    with place(MANY, first_id=FAR_ID, cache=60) as far:
        page(far.device, PATH, limit=LIMIT)
        with far.cost() as again:
            seen, _ = page(far.device, PATH, limit=LIMIT)
        assert ids(seen) == far.runtime_ids()[:LIMIT]
        assert again.calls <= PAGE_CALLS


def test_a_page_that_spans_a_gap_costs_no_more() -> None:
    """Three old runtimes, many documents of others, and then many runtimes at once."""
    with place(3) as gap:
        documents = gap.sandbox.world.store.documents
        documents.next_id = FAR_ID
        user = gap.sandbox.world.store.authenticate("user0:pass0")
        from provision_engine.sandbox.store import RUNTIME
        from provision_engine.sandbox.template import Template

        for number in range(MANY):
            content = Template([("BODY", body(f"r{number}", 10, 10))])
            gap.sandbox.world.store.new_document(user, RUNTIME, f"r{number}", content)
        expected = gap.runtime_ids()
        for query, shown in (
            ({}, expected[:LIMIT]),
            ({"after": expected[0]}, expected[1 : LIMIT + 1]),
            ({"order": "desc", "before": expected[5]}, expected[4::-1]),
        ):
            with gap.cost() as cost:
                seen, _ = page(gap.device, PATH, limit=LIMIT, **query)
            assert ids(seen) == shown
            assert cost.calls <= SEARCH_CALLS, cost.methods
            assert cost.bytes <= RANGE_DOCUMENTS * PER_DOCUMENT_BYTES


def test_all_pages_together_show_each_runtime_once(many: Place) -> None:
    seen: list[int] = []
    following = f"{PATH}?limit=500"
    while following:
        shown, following = page(many.device, following)
        seen += ids(shown)
    assert seen == many.runtime_ids()


@pytest.mark.parametrize(
    "query",
    [{"name": "runtime7"}, {"name": "none"}, {"flavour": "none"}, {"state": "ERROR"}],
)
def test_a_filter_reads_a_bounded_number_of_runtimes(many: Place, query: Json) -> None:
    with many.cost() as cost:
        page(many.device, PATH, limit=LIMIT, **query)
    assert cost.calls <= SEARCH_CALLS + 30, cost.methods
    # 2,000 runtimes at most, and one range more, with their VMs where their states are asked for.
    assert cost.bytes <= 3_100 * (PER_DOCUMENT_BYTES + 4_000 * ("state" in query))
