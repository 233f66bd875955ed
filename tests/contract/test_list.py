"""GET /serverless-runtimes."""

from __future__ import annotations

import time

import pytest

from tests.support.opennebula import RUNTIME
from tests.support.waiting import wait_until

from .device import PATH, Device, Stage, data, ids, raw_document, small
from .settings import ADMIN, DATA_FLAVOUR, FLAVOUR

LIST_CALLS = 3
"""The documents, their VMs and, if a VM is missing, the services."""


def test_it_shows_the_caller_s_own_runtimes_with_their_current_states(
    device: Device, stranger: Device
) -> None:
    made = [device.create_running(NAME=f"lamp {n}", FAAS=small()) for n in range(2)]
    seen = [runtime for runtime in device.list() if runtime["ID"] in ids(made)]
    assert seen == made[::-1]
    assert not set(ids(made)) & set(ids(stranger.list()))


def test_an_administrator_sees_the_runtimes_of_all_users_with_their_owners(
    stage: Stage, device: Device, stranger: Device
) -> None:
    of_device = [device.create_running(NAME=f"lamp {n}", FAAS=small()) for n in range(2)]
    of_stranger = stranger.create_running(FAAS=small())
    device.create_stuck(NAME="waits")  # its service is looked at as well
    administrator = stage.device(ADMIN)
    shown = administrator.list(all="true")
    assert [one for one in shown if one["NAME"] == "waits"]
    by_id = {one["ID"]: one for one in shown}
    for one, owner in ((*of_device[:1], device), (of_device[1], device), (of_stranger, stranger)):
        assert by_id[one["ID"]] == one | {"OWNER": owner.user.name}
    for order in ("asc", "desc"):
        seen, following = administrator.page(limit=1, order=order, all="true")
        while following:
            assert "all=true" in following
            more, following = administrator.page(following)
            seen += more
        assert ids(seen) == sorted(ids(shown), reverse=order == "desc")
    assert ids(administrator.list()) == ids(administrator.list(all="false")) == []
    assert not any("OWNER" in one for one in device.list(all="false"))
    assert stranger.delete(of_stranger["ID"]).status == 204


def test_all_runtimes_are_for_administrators_only(device: Device) -> None:
    answer = device.request("GET", PATH, query={"all": "true"})
    assert answer.status == 403
    assert answer.json["message"] == "Only an administrator may list the runtimes of all users"


def test_an_owner_that_is_sent_back_is_no_warning(device: Device) -> None:
    made = device.create_running()
    answer = device.put(made["ID"], OWNER="root", NAME=made["NAME"])
    assert (answer.status, "Warning" in answer.headers) == (200, False)


def test_it_filters_by_name_flavour_and_state(device: Device) -> None:
    one = device.create_running(NAME="one", FAAS=small())
    both = device.create_running(NAME="both", FAAS=small(), DAAS=data())
    waits = device.create_stuck(NAME="waits")
    assert ids(device.list(name="one")) == [one["ID"]]
    assert ids(device.list(flavour=f"{FLAVOUR}-{DATA_FLAVOUR}")) == [both["ID"]]
    assert ids(device.list(flavour=DATA_FLAVOUR)) == [both["ID"]]
    assert ids(device.list(flavour=FLAVOUR)) == ids([waits, both, one])
    assert ids(device.list(state="PENDING")) == [waits["ID"]]
    assert ids(device.list(state="running", flavour=FLAVOUR)) == ids([both, one])
    assert device.list(name="one", state="ERROR") == []
    device.sandbox.store.put_vm(both["DAAS"]["VM_ID"], "POWEROFF")
    assert ids(device.list(state="ERROR")) == [both["ID"]]


@pytest.mark.parametrize(
    ("query", "place"),
    [
        ({"state": "SLEEPING"}, "state"),
        ({"limit": "0"}, "limit"),
        ({"limit": "x"}, "limit"),
        ({"limit": "-1"}, "limit"),
        ({"after": "x"}, "after"),
        ({"after": str(2**31)}, "after"),
        ({"after": "0" * 11 + "9" * 5000}, "after"),
        ({"before": "1", "offset": "-1"}, "offset"),
        ({"before": "1", "offset": str(2**31)}, "offset"),
        ({"offset": "10"}, "offset"),
        ({"order": "up"}, "order"),
        ({"all": "everyone"}, "all=everyone: must be true or false"),
    ],
)
def test_an_invalid_query_is_rejected(device: Device, query: dict[str, str], place: str) -> None:
    answer = device.request("GET", PATH, query=query)
    assert answer.status == 400
    assert place in answer.json["message"]


def test_a_list_is_newest_first_unless_asked_otherwise(device: Device) -> None:
    made = ids([device.create() for _ in range(3)])
    for limit in ({}, {"limit": 5}):
        assert ids(device.list(**limit)) == made[::-1]
        assert ids(device.list(order="desc", **limit)) == made[::-1]
        assert ids(device.list(order="asc", **limit)) == made
        # As in the links of 2.1.0, which knew no offsets.
        assert ids(device.list(after=made[0], **limit)) == made[1:]
        assert ids(device.list(order="desc", before=made[2], **limit)) == made[1::-1]


@pytest.mark.parametrize("order", ["asc", "desc"])
def test_pages_show_each_runtime_once_during_creates_and_deletes(
    device: Device, order: str
) -> None:
    made = ids([device.create() for _ in range(5)])
    in_order = made if order == "asc" else made[::-1]
    seen, following = device.page(limit=2, order=order)
    assert ids(seen) == in_order[:2]
    assert device.delete(in_order[0]).status == 204
    assert device.delete(in_order[3]).status == 204
    late = [device.create()["ID"]] if order == "asc" else []
    while following:
        assert "limit=2" in following
        more, following = device.page(following)
        assert len(more) <= 2
        seen += more
    assert ids(seen) == [*in_order[:3], in_order[4], *late]


def test_pages_keep_their_filters(device: Device) -> None:
    made = ids([device.create_running(NAME="kept", FAAS=small()) for _ in range(3)])
    device.create_running(NAME="other", FAAS=small())
    seen, following = device.page(name="kept", state="RUNNING", limit=2)
    assert ids(seen) == made[:0:-1]
    rest, following = device.page(following)
    assert (ids(rest), following) == (made[:1], "")


@pytest.mark.parametrize("offset", [0, 1, 50, 2**31 - 1])
def test_a_made_up_cursor_leads_to_a_page_of_the_callers_own(
    device: Device, stranger: Device, offset: int
) -> None:
    made = ids([device.create() for _ in range(2)])
    for order, edge in (("asc", {"after": made[0]}), ("desc", {"before": made[1]})):
        query = {"limit": 1, "order": order, "offset": offset, **edge}
        assert stranger.list(**query) == []
        (shown,) = ids(device.list(**query))
        assert shown in set(made) - set(edge.values())


def test_a_thousand_runtimes_take_as_many_calls_as_one(device: Device) -> None:
    vm_id = device.create_running()["FAAS"]["VM_ID"]
    with device.counted() as of_one:
        assert len(device.list()) == 1
    many = [device.document(f"n{n}", FAAS={"VM_ID": vm_id}) for n in range(999)]
    # Some without their VM, so that the services are read too.
    odd = device.document("odd", FAAS={"VM_ID": 10**6}, SERVICE_ID=10**6)
    try:
        with device.counted() as of_thousand:
            assert len(device.list()) == 1001
        with device.counted() as of_page:
            assert len(device.list(limit=10)) == 10
    finally:
        for document_id in [*many, odd]:
            device.one.call("document.delete", document_id)
    assert of_one == {"one.documentpool.info": 1, "one.vm.info": 1}
    assert of_thousand == {"one.documentpool.info": 2, "one.vmpool.infoset": 1}
    assert of_thousand.total() == LIST_CALLS
    assert of_page.total() <= LIST_CALLS


def test_an_unreadable_runtime_hides_no_other(device: Device) -> None:
    made = device.create()["ID"]
    broken = [raw_document(device.one, "broken", text) for text in ("{", "[]", '"x"')]
    try:
        assert ids(device.list()) == [made]
    finally:
        for document_id in broken:
            device.one.call("document.delete", document_id)


def test_a_runtime_being_created_is_pending_and_says_so(device: Device) -> None:
    making = device.document(ENGINE={"PHASE": "CREATING"})
    try:
        (seen,) = device.list()
        assert (seen["ID"], seen["FAAS"]["STATE"]) == (making, "PENDING")
        assert seen["FAAS"]["REASON"]
    finally:
        device.one.call("document.delete", making)


@pytest.mark.parametrize("phase", ["CREATING", "DELETING"])
def test_what_a_dead_engine_left_is_removed_and_not_shown(device: Device, phase: str) -> None:
    ours = {"PHASE": phase, "CREATED_AT": int(time.time()) - 10_000}
    left = device.document(ENGINE=ours)
    assert device.list() == []
    assert left not in device.one.ids(RUNTIME)


def test_a_list_is_bounded_however_much_was_left(device: Device) -> None:
    """What one list cannot resolve in time is resolved by a later one."""
    ours = {"PHASE": "DELETING", "CREATED_AT": int(time.time()) - 10_000}
    left = [device.document(f"left{n}", ENGINE=ours, SERVICE_ID=10**6) for n in range(3)]
    made = device.create()["ID"]
    device.sandbox.faults.set("oned", "error", method="one.document.delete")
    with device.counted() as calls:
        assert ids(device.list()) == [made]
    # The first one failed, so the others were not even tried.
    assert calls["one.document.delete"] == 1
    device.sandbox.faults.clear()
    wait_until(lambda: ids(device.list()) == [made] and not set(left) & device.one.ids(RUNTIME))
