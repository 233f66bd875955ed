"""What a request costs OpenNebula, in calls and bytes, however many runtimes there are."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field

import pytest

from provision_engine.sandbox import Sandbox
from tests.support.client import Device, Response
from tests.support.engine import engine_in_process, settings_for
from tests.support.opennebula import calls_of
from tests.support.waiting import wait_until

from ..support.pools import POOLS
from .device import PATH, QUICK, Json, ids, small
from .settings import FLAVOUR, User

FEW, MANY = 50, 5_000
FAR_ID = 1_000_000
LIMIT = 10
PAGE_CALLS = 2
"""The documents, and the VMs."""
OLDEST_CALLS = 4
"""The same, the newest document and the number of the user's VMs."""
SEARCH_CALLS = 18
"""About two more for each doubling of the number of runtimes, if a page is searched for."""
MOST_READ = 3024
"""So many runtimes does a page with a filter read at most."""
PAGE_DOCUMENTS = LIMIT + 37
"""The maximum number of documents read for a page."""
PER_DOCUMENT_BYTES = 1_500
PER_VM_BYTES = 8_000
POLLS, POLL_BYTES = 6, 4_000
"""The number of polls of a new service by which two creates may differ."""


def body(name: str, service_id: int, vm_id: int) -> str:
    """A runtime's document as the engine writes it."""
    faas = {"FLAVOUR": FLAVOUR, "CPU": 1, "MEMORY": 128, "DISK_SIZE": 1024, "VM_ID": vm_id}
    engine = {"PHASE": "READY", "NAME": name, "SERVICE_NAME": "example-service"}
    engine |= dict.fromkeys(("CREATED_AT", "INTENDED_AT"), int(time.time()))
    members = {"FAAS": faas, "SCHEDULING": {}, "DEVICE_INFO": {}, "SERVICE_ID": service_id}
    return json.dumps(members | {"ENGINE": engine})


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
        made = calls_of(self.sandbox, already)
        cost.calls = len(made)
        cost.bytes = sum(call.request_bytes + call.response_bytes for call in made)
        cost.methods = [call.method for call in made]

    def runtime_ids(self, user: str = "user0") -> list[int]:
        return sorted(d.id for d in self.sandbox.store.documents() if d.uname == user)


@contextmanager
def place(
    runtimes: int, *, users: int = 1, templates: int = 0, ids: Iterable[int] = ()
) -> Iterator[Place]:
    """With so many runtimes, which may have these ids: between two of them is that of a service."""
    with Sandbox("6.8.0", timings=QUICK, hosts=2_000) as sandbox:
        documents, following = sandbox.world.store.documents, iter(ids)

        def body_at_next_id(name: str, service_id: int, vm_id: int) -> str:
            documents.next_id = next(following, documents.next_id)
            return body(name, service_id, vm_id)

        if ids:
            documents.next_id = 0
        sandbox.store.populate(users, runtimes, templates, body_at_next_id)
        with engine_in_process(settings_for(sandbox, cache={"seconds": 0})) as url:
            yield Place(sandbox, Device(url, User("user0", "pass0")))


def spread(runtime_ids: list[int]) -> AbstractContextManager[Place]:
    return place(len(runtime_ids), ids=runtime_ids)


@pytest.fixture(scope="module")
def few() -> Iterator[Place]:
    with place(FEW) as few:
        yield few


@pytest.fixture(scope="module")
def many() -> Iterator[Place]:
    with place(MANY) as many:
        yield many


# ---- pages --------------------------------------------------------------------------------------


def pages(place: Place) -> Iterator[tuple[str, list[int], int]]:
    """Pages at the beginning, in the middle and at the end: path, ids and the maximum of calls."""
    in_order = place.runtime_ids()
    for order, calls in (("asc", OLDEST_CALLS), ("desc", PAGE_CALLS)):
        yield f"{PATH}?limit={LIMIT}&order={order}", in_order[:LIMIT], calls
        for shown in (len(in_order) // 2, len(in_order) - LIMIT):
            _, following = place.device.page(f"{PATH}?limit={shown}&order={order}")
            path = following.replace(f"limit={shown}", f"limit={LIMIT}")
            yield path, in_order[shown : shown + LIMIT], PAGE_CALLS
            without_offset = path[: path.index("&offset=")]
            yield without_offset, in_order[shown : shown + LIMIT], SEARCH_CALLS
        in_order.reverse()


def check_pages(place: Place) -> None:
    for path, expected, calls in pages(place):
        with place.cost() as cost:
            seen, _ = place.device.page(path)
        assert ids(seen) == expected, path
        assert cost.calls <= calls, (path, cost.methods)
        if calls < SEARCH_CALLS:
            assert cost.bytes <= PAGE_DOCUMENTS * PER_DOCUMENT_BYTES + LIMIT * PER_VM_BYTES, path


def test_a_page_costs_the_same_wherever_it_is(few: Place, many: Place) -> None:
    check_pages(few)
    check_pages(many)


@pytest.mark.parametrize(
    "pool", ["geometric, dense at the newest end", "three, then a gap", "clusters"]
)
def test_a_page_costs_the_same_however_the_ids_are_spread(pool: str) -> None:
    runtime_ids = [2 * number + 1 for number in POOLS[pool]]
    with spread(runtime_ids) as place:
        assert place.runtime_ids() == runtime_ids
        check_pages(place)


def test_pages_are_right_where_oned_lists_the_oldest_first() -> None:
    """API_LIST_ORDER in oned.conf: documents by offset come from the other end."""
    with spread(POOLS["clusters"][:600]) as place:
        place.sandbox.world.store.documents.lists_oldest_first = True
        for path, expected, _ in pages(place):
            assert ids(place.device.page(path)[0]) == expected, path


def test_a_page_across_a_gap_reads_vms_once() -> None:
    with spread([1, 3, 5, *range(FAR_ID, FAR_ID + 2 * FEW, 2)]) as place, place.cost() as cost:
        place.device.page(limit=LIMIT)
    assert cost.methods.count("one.vmpool.infoset") == 1


def test_all_pages_together_show_each_runtime_once(many: Place) -> None:
    seen: list[int] = []
    following = f"{PATH}?limit=500&order=asc"
    while following:
        shown, following = many.device.page(following)
        seen += ids(shown)
    assert seen == many.runtime_ids()


@pytest.mark.parametrize(
    "query",
    [{"name": "runtime7"}, {"name": "none"}, {"flavour": "none"}, {"state": "ERROR"}],
)
def test_a_filter_reads_a_bounded_number_of_runtimes(many: Place, query: Json) -> None:
    with many.cost() as cost:
        many.device.page(limit=LIMIT, **query)
    assert cost.calls <= SEARCH_CALLS + 30, cost.methods
    # With their VMs, if their states are requested.
    each_bytes = PER_DOCUMENT_BYTES + (PER_VM_BYTES if "state" in query else 0)
    assert cost.bytes <= MOST_READ * each_bytes


# ---- one runtime among many ---------------------------------------------------------------------


def no_more(of_few: Cost, of_many: Cost) -> None:
    """Neither calls nor bytes grow, except that some ten numbers may have two more digits."""
    assert sorted(settled(of_many)) == sorted(settled(of_few))
    assert of_many.methods.count(ORDER) <= 1
    # The number of polls until a VM has changed depends on how busy the machine is.
    polls = max(0, len(of_many.methods) - len(of_few.methods))
    assert of_many.bytes <= of_few.bytes * 1.05 + 200 + polls * PER_VM_BYTES


Action = Callable[[Device, int], Response]


def read(device: Device, runtime_id: int) -> Response:
    return device.get(runtime_id)


def update(device: Device, runtime_id: int) -> Response:
    return device.put(runtime_id, FAAS={"MEMORY": 192}, NAME=f"new {runtime_id}")


def recover(device: Device, runtime_id: int) -> Response:
    return device.act(runtime_id, "recover")


def delete(device: Device, runtime_id: int) -> Response:
    return device.delete(runtime_id)


def cost_of(place: Place, action: Action, runtime_id: int) -> Cost:
    with place.cost() as cost:
        response = action(place.device, runtime_id)
    assert response.status in (200, 204), response.text
    return cost


@pytest.mark.parametrize("action", [read, update, delete])
def test_a_request_for_one_runtime_costs_the_same(few: Place, many: Place, action: Action) -> None:
    costs = [cost_of(place, action, place.runtime_ids()[-2]) for place in (few, many)]
    if action is read:
        assert [cost.calls for cost in costs] == [2, 2]
    no_more(*costs)


def test_a_recovery_costs_the_same(few: Place, many: Place) -> None:
    costs = []
    for place in (few, many):
        runtime_id = place.runtime_ids()[3]
        vm_id = place.device.read(runtime_id)["FAAS"]["VM_ID"]
        place.sandbox.store.put_vm(vm_id, "POWEROFF")
        costs.append(cost_of(place, recover, runtime_id))
    no_more(*costs)


def create(place: Place, **headers: str) -> Cost:
    """The cost of a create, without the calls that wait for its VMs."""
    with place.cost() as cost:
        answer = place.device.request("POST", PATH, {"FAAS": small()}, headers=headers)
        assert answer.status == 201, answer.text
    service_id = answer.runtime["SERVICE_ID"]
    wait_until(lambda: (place.sandbox.store.service(service_id) or {}).get("state") == 2)
    return cost


POLLED = ("one.document.info", "one.vm.info", "one.vmpool.infoset")
"""The calls that poll until a VM exists or has changed."""
ORDER = "one.vm.schedadd"
"""Ends a deleted VM, if it is still shutting down when the engine looks at it."""


def settled(cost: Cost) -> list[str]:
    """The methods without what depends on OpenNebula's speed: further polls, and an order."""
    methods = [method for method in cost.methods if method != ORDER]
    return [m for i, m in enumerate(methods) if m not in POLLED or m not in methods[:i]]


def test_a_create_costs_the_same(few: Place, many: Place) -> None:
    costs = [create(place) for place in (few, many)]
    assert sorted(settled(costs[0])) == sorted(settled(costs[1]))
    assert costs[1].calls <= costs[0].calls + POLLS
    assert costs[1].bytes <= costs[0].bytes + POLLS * POLL_BYTES


def test_a_create_with_a_key_costs_what_came_since_the_last(few: Place, many: Place) -> None:
    """The first one in a process reads the user's runtimes; the others what is new."""
    costs = []
    for place in (few, many):
        create(place, **{"Idempotency-Key": "first"})
        without = create(place)
        costs.append(create(place, **{"Idempotency-Key": "second"}))
        # Before the intent, and after it: what is new, and whether another request won.
        assert costs[-1].calls <= without.calls + 4 + POLLS, costs[-1].methods
        assert costs[-1].bytes <= without.bytes + 20_000 + POLLS * POLL_BYTES
    assert sorted(settled(costs[0])) == sorted(settled(costs[1]))


# ---- one user among many ------------------------------------------------------------------------

USERS, EACH, TEMPLATES = 20, 500, 300


@pytest.fixture(scope="module")
def alone() -> Iterator[Place]:
    with place(EACH, templates=TEMPLATES) as alone:
        yield alone


@pytest.fixture(scope="module")
def crowd() -> Iterator[Place]:
    """The ids of the users' runtimes are interleaved: each user has one in twenty."""
    with place(USERS * EACH, users=USERS, templates=TEMPLATES) as crowd:
        yield crowd


def test_many_users_with_many_runtimes_cost_one_of_them_nothing(alone: Place, crowd: Place) -> None:
    for action in (read, update, delete):
        costs = [cost_of(place, action, place.runtime_ids()[-2]) for place in (alone, crowd)]
        no_more(*costs)
    creates = [create(place) for place in (alone, crowd)]
    assert sorted(settled(creates[0])) == sorted(settled(creates[1]))
    assert creates[1].bytes <= creates[0].bytes * 1.05 + POLLS * POLL_BYTES
    check_pages(crowd)
