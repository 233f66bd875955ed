"""Whatever becomes of a standby, it is handed out once or not at all, and a create never fails
because of it.
"""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from provision_engine.engine.standby import handover
from provision_engine.sandbox import Sandbox, Timings
from tests.support.calls import Call
from tests.support.client import RUNTIMES, Response
from tests.support.engine import EngineProcess, engine_process
from tests.support.installation import Target
from tests.support.opennebula import StoredRuntime
from tests.support.users import USER
from tests.support.waiting import WAIT_SECONDS, wait_until

from . import standbys
from .fault_matrix import SANDBOX_TIMEOUT_SECONDS
from .lanes import Lane, open_lane

PLAIN = {"FAAS": {"FLAVOUR": standbys.FLAVOURS["FAAS"]}}


@contextlib.contextmanager
def lane_with(directory: Path, timings: Timings | None = None) -> Iterator[Lane]:
    """A lane with one standby that runs."""
    with open_lane(
        "7.4.0",
        Target(timings=timings),
        directory,
        SANDBOX_TIMEOUT_SECONDS,
        standbys=standbys.settings,
    ) as lane:
        standbys.ready(lane)
        yield lane


@pytest.fixture
def lane(tmp_path: Path) -> Iterator[Lane]:
    with lane_with(tmp_path) as lane:
        yield lane


def create(lane: Lane, **members: Any) -> dict[str, Any]:
    """A runtime, created without a key."""
    response = lane.request("POST", RUNTIMES, PLAIN | members)
    assert response.status == 201, response.content
    return response.runtime


def the_standby(lane: Lane) -> StoredRuntime:
    (found,) = (r for r in lane.opennebula.runtimes() if r.phase == "STANDBY")
    return found


def vm_of(stored: StoredRuntime) -> int:
    (vm_id,) = stored.vm_ids
    return vm_id


def check(lane: Lane, *runtime_ids: int, standbys_left: int = 1) -> None:
    """There are these runtimes and so many standbys, whole, and nothing else."""
    standbys.until_idle(lane)
    assert standbys.until_sound(lane, set(runtime_ids), {standbys_left}) == []
    for runtime_id in runtime_ids:
        seen = lane.request("GET", f"{RUNTIMES}/{runtime_id}?wait=30").runtime
        assert seen["FAAS"]["STATE"] == "RUNNING"


# ---- what the backend does while one is taken --------------------------------------------------


def test_an_oned_that_fails_after_the_hand_over_makes_no_second_runtime(lane: Lane) -> None:
    """Without a key nobody could find out that the first one is there."""
    lane.proxy.set_fault("oned", "error", name="document.delete", times=1)
    taken = the_standby(lane)
    made = create(lane)
    assert made["FAAS"]["VM_ID"] == vm_of(taken)
    standbys.until_idle(lane)
    phases = {runtime.id: runtime.phase for runtime in lane.opennebula.runtimes()}
    assert phases.pop(taken.id) == "TAKEN"  # until its age tells that nobody is at it
    assert phases.pop(made["ID"]) == "READY"
    assert list(phases.values()) == ["STANDBY"]


def test_a_vm_that_ends_while_it_is_taken_is_not_handed_out(lane: Lane) -> None:
    taken = vm_of(the_standby(lane))

    def end() -> None:
        lane.opennebula.call("vm.action", "terminate-hard", taken)
        wait_until(lambda: lane.opennebula.vm_state(taken) == "DONE")

    def on_call(call: Call, moment: str) -> None:
        if (call.name, moment) == ("document.allocate", "after"):
            lane.proxy.on_call = None
            end()

    lane.proxy.on_call = on_call
    made = create(lane)
    assert made["FAAS"]["VM_ID"] != taken
    check(lane, made["ID"])


def test_a_standby_that_takes_too_long_to_resize_is_no_reason_to_fail(tmp_path: Path) -> None:
    with lane_with(tmp_path, Timings(resize_seconds=60.0)) as lane:
        taken = vm_of(the_standby(lane))
        key = {"Idempotency-Key": "one"}
        larger = {"FAAS": PLAIN["FAAS"] | {"CPU": 2}}
        response = lane.request("POST", RUNTIMES, larger, headers=key)
        assert response.status == 201, response.content
        assert response.runtime["FAAS"]["VM_ID"] != taken
        standbys.until_idle(lane)
        assert vm_of(the_standby(lane)) != taken


def test_a_standby_is_not_given_back_while_a_document_may_still_claim_its_service(
    lane: Lane,
) -> None:
    """The document of the create is written when the create has given it up."""
    lane.proxy.set_fault(
        "oned", "slow", name="document.allocate", times=1, seconds=SANDBOX_TIMEOUT_SECONDS
    )
    service_id = the_standby(lane).service_id
    lane.key = "one"
    lane.request("POST", RUNTIMES, PLAIN, headers={"Idempotency-Key": "one"})

    def claims() -> list[str]:
        return [r.phase for r in lane.opennebula.runtimes() if r.service_id == service_id]

    wait_until(lambda: "CREATING" in claims())
    assert "STANDBY" not in claims()


# ---- what became of one meanwhile --------------------------------------------------------------


def test_a_standby_that_somebody_ended_is_replaced(lane: Lane) -> None:
    """By the next create, even by one that could not have taken it."""
    broken = the_standby(lane)
    lane.opennebula.call("vm.action", "terminate-hard", vm_of(broken))
    wait_until(lambda: lane.opennebula.vm_state(vm_of(broken)) == "DONE")
    made = create(lane, SCHEDULING={"REQUIREMENTS": "FREE_CPU > 0"})
    check(lane, made["ID"])
    assert the_standby(lane).id != broken.id


def test_a_standby_whose_lease_is_over_is_replaced(lane: Lane) -> None:
    """OpenNebula itself ended it, and its service."""
    broken = the_standby(lane)
    action_id = lane.opennebula.vm(vm_of(broken))["TEMPLATE"]["SCHED_ACTION"]["ID"]
    now = 'SCHED_ACTION=[ACTION="terminate-hard",TIME="1"]'
    lane.opennebula.call("vm.schedupdate", vm_of(broken), int(action_id), now)
    wait_until(lambda: lane.opennebula.vm_state(vm_of(broken)) == "DONE")
    made = create(lane)
    assert made["FAAS"]["VM_ID"] != vm_of(broken)
    check(lane, made["ID"])


def test_a_standby_whose_lease_ends_soon_is_not_handed_out(
    lane: Lane, monkeypatch: pytest.MonkeyPatch
) -> None:
    """OpenNebula might end it before its lease is lifted."""
    monkeypatch.setattr(handover, "LEAST_LEASE_SECONDS", 4000)
    ending = vm_of(the_standby(lane))
    assert create(lane)["FAAS"]["VM_ID"] != ending


def change_password(lane: Lane, sandbox: Sandbox) -> None:
    """The standby would log in with the old one."""
    sandbox.store.user(USER.name).password = "changed"
    lane.installation.user = USER._replace(password="changed")


def edit_vm_template(_: Lane, sandbox: Sandbox) -> None:
    sandbox.store.set_vm_template(0, 'CPU="1"\nMEMORY="99"\nDISK=[IMAGE="img"]\n')


@pytest.mark.parametrize("change", [change_password, edit_vm_template])
def test_a_standby_that_would_be_created_otherwise_now_is_not_handed_out(
    lane: Lane, change: Callable[[Lane, Sandbox], None]
) -> None:
    old, sandbox = vm_of(the_standby(lane)), lane.installation.sandbox
    assert sandbox is not None
    change(lane, sandbox)
    assert create(lane)["FAAS"]["VM_ID"] != old
    wait_until(lambda: lane.opennebula.vm_state(old) == "DONE")


def write(lane: Lane, runtime_id: int, **engine: Any) -> None:
    """Change what the document of a standby says, as an engine does."""
    body = lane.opennebula.body_of(runtime_id)
    body["ENGINE"] |= engine
    lane.opennebula.write(runtime_id, body)


@pytest.mark.parametrize("is_taken", [False, True])
def test_a_standby_that_was_taken_since_it_was_read_is_not_removed_as_expired(
    lane: Lane, is_taken: bool
) -> None:
    """By a list that read it before; its service has another owner by now."""
    read = the_standby(lane)
    write(lane, read.id, LEASE_ENDS_AT=1, LEASE_RENEWED=True)
    action_id = lane.opennebula.vm(vm_of(read))["TEMPLATE"]["SCHED_ACTION"]["ID"]
    lane.opennebula.call("vm.scheddelete", vm_of(read), int(action_id))

    def on_call(call: Call, moment: str) -> None:
        if (call.name, moment) == ("document.lock", "before"):
            lane.proxy.on_call = None
            write(lane, read.id, PHASE="TAKEN")

    lane.proxy.on_call = on_call if is_taken else None
    lane.request("GET", f"{RUNTIMES}?standby=true")
    left = [(r.id, r.phase) for r in lane.opennebula.runtimes()]
    assert left == ([(read.id, "TAKEN")] if is_taken else [])
    assert (lane.opennebula.vm_state(vm_of(read)) == "RUNNING") == is_taken


def test_a_standby_that_is_being_taken_is_not_replaced_yet(lane: Lane) -> None:
    """Another create with the same key may win, and then it is given back."""
    taken = the_standby(lane)
    write(lane, taken.id, PHASE="TAKEN", CLAIMED_AT=int(time.time()))
    made = create(lane)
    standbys.until_idle(lane)
    phases = {runtime.id: runtime.phase for runtime in lane.opennebula.runtimes()}
    assert phases == {taken.id: "TAKEN", made["ID"]: "READY"}


# ---- a quota that is full ----------------------------------------------------------------------


def limit_vms(lane: Lane, count: int) -> None:
    assert lane.installation.sandbox is not None
    lane.installation.sandbox.store.set_quota(USER.name, VMS=count)


def test_a_full_quota_takes_the_standby_and_orders_no_other(lane: Lane) -> None:
    limit_vms(lane, 1)
    taken = vm_of(the_standby(lane))
    made = create(lane)
    assert made["FAAS"]["VM_ID"] == taken
    check(lane, made["ID"], standbys_left=0)


def test_a_broken_standby_does_not_use_up_the_quota(tmp_path: Path) -> None:
    with lane_with(tmp_path, Timings(epilog_seconds=0.5)) as lane:
        limit_vms(lane, 1)
        broken = vm_of(the_standby(lane))
        lane.opennebula.call("vm.action", "poweroff-hard", broken)
        wait_until(lambda: lane.opennebula.vm_state(broken) == "POWEROFF")
        made = create(lane)
        check(lane, made["ID"], standbys_left=0)


@pytest.mark.parametrize(
    "members",
    [{"SCHEDULING": {"REQUIREMENTS": "FREE_CPU > 0"}}, {"FAAS": {"FLAVOUR": "nature"}}],
    ids=["cannot take it", "another flavour"],
)
def test_a_standby_gives_way_to_a_create_that_does_not_take_it(
    lane: Lane, members: dict[str, Any]
) -> None:
    """Else a user whose quota it uses up could create nothing until its lease is over."""
    limit_vms(lane, 1)
    kept = vm_of(the_standby(lane))
    made = create(lane, **members)
    assert made["FAAS"]["VM_ID"] != kept
    check(lane, made["ID"], standbys_left=0)


def test_a_standby_stays_where_its_end_would_not_help(lane: Lane) -> None:
    limit_vms(lane, 0)
    response = lane.request("POST", RUNTIMES, {"FAAS": {"FLAVOUR": "nature"}})
    assert response.status == 422
    check(lane)


# ---- two engines -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def engines(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[Lane, list[EngineProcess]]]:
    """Two engine processes behind the proxy of a lane."""
    directory = tmp_path_factory.mktemp("engines")
    with lane_with(directory) as lane:
        kept = {"timeout": 30, **standbys.settings(lane.opennebula)}
        with (
            engine_process(directory / "one", lane.proxy, **kept) as one,
            engine_process(directory / "other", lane.proxy, **kept) as other,
        ):
            yield lane, [one, other]


def meeting_at(name: str) -> Callable[[Call, str], None]:
    """A hook that holds two engines at their first call of that name, until both are there."""
    barrier, arrived = threading.Barrier(2), itertools.count()

    def on_call(call: Call, moment: str) -> None:
        if call.name == name and moment == "before" and next(arrived) < 2:
            barrier.wait(WAIT_SECONDS)

    return on_call


@pytest.mark.parametrize("name", ["documentpool.info", "document.lock"])
@pytest.mark.parametrize("keys", [("a", "b"), ("a", "a")], ids=["two keys", "one key"])
def test_two_engines_hand_out_a_standby_once(
    engines: tuple[Lane, list[EngineProcess]], name: str, keys: tuple[str, str]
) -> None:
    lane, pair = engines
    standbys.ready(lane)
    taken, run = vm_of(the_standby(lane)), uuid.uuid4().hex

    def send(engine: EngineProcess, key: str) -> Response:
        headers = {"Idempotency-Key": key + run}
        return engine.request("POST", RUNTIMES, PLAIN, headers=headers)

    lane.proxy.on_call = meeting_at(name)
    with ThreadPoolExecutor(2) as pool:
        responses = list(pool.map(send, pair, keys))
    lane.proxy.on_call = None
    made = {r.runtime["ID"]: r.runtime["FAAS"]["VM_ID"] for r in responses}
    statuses = sorted(response.status for response in responses)
    assert statuses == ([200, 201] if len(set(keys)) == 1 else [201, 201])
    assert len(made) == len(set(made.values())) == len(set(keys))
    assert len(set(keys)) == 1 or taken in made.values()
    check(lane, *made)
    lane.opennebula.clear()
