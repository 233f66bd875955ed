"""Whatever becomes of a standby, it is handed out once or not at all, and a create never fails
because of it.
"""

from __future__ import annotations

import contextlib
import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from provision_engine.engine import standby
from provision_engine.sandbox import Timings
from tests.support.client import RUNTIMES, Response
from tests.support.engine import EngineProcess, settings_for
from tests.support.installation import Target
from tests.support.opennebula import StoredRuntime
from tests.support.proxy import Call, Proxy
from tests.support.users import USER
from tests.support.waiting import wait_until

from . import standbys
from .fault_matrix import FaultLane, open_lane

TIMEOUT_SECONDS = 4.0
PLAIN = {"FAAS": {"FLAVOUR": standbys.FLAVOURS["FAAS"]}}


@contextlib.contextmanager
def lane_with(directory: Path, timings: Timings | None = None) -> Iterator[FaultLane]:
    """A lane with one standby that runs."""
    with open_lane("7.4.0", Target(timings=timings), TIMEOUT_SECONDS, directory) as lane:
        standbys.ready(lane)
        yield lane


@pytest.fixture
def lane(tmp_path: Path) -> Iterator[FaultLane]:
    with lane_with(tmp_path) as lane:
        yield lane


def create(lane: FaultLane, **members: Any) -> dict[str, Any]:
    """A runtime, created without a key."""
    response = lane.request("POST", RUNTIMES, PLAIN | members)
    assert response.status == 201, response.content
    return response.runtime


def the_standby(lane: FaultLane) -> StoredRuntime:
    (found,) = (r for r in lane.opennebula.runtimes() if r.phase == "STANDBY")
    return found


def vm_of(stored: StoredRuntime) -> int:
    (vm_id,) = stored.vm_ids
    return vm_id


def check(lane: FaultLane, *runtime_ids: int, standbys_left: int = 1) -> None:
    """There are these runtimes and so many standbys, whole, and nothing else."""
    standbys.until_idle(lane)
    assert standbys.until_sound(lane, set(runtime_ids), {standbys_left}) == []
    for runtime_id in runtime_ids:
        seen = lane.request("GET", f"{RUNTIMES}/{runtime_id}?wait=30").runtime
        assert seen["FAAS"]["STATE"] == "RUNNING"


def after(calls: str, number: int, action: Callable[[], object]) -> Callable[[Call, str], None]:
    """A hook that acts once, after the how manieth call of that name."""
    seen = 0

    def on_call(call: Call, moment: str) -> None:
        nonlocal seen
        if moment == "after" and call.name == calls:
            seen += 1
            if seen == number:
                action()

    return on_call


# ---- what the backend does while one is taken --------------------------------------------------


def test_an_oned_that_fails_after_the_hand_over_makes_no_second_runtime(lane: FaultLane) -> None:
    """Without a key nobody could find out that the first one is there."""
    lane.proxy.on_call = after(
        "document.update", 2, lambda: lane.proxy.set_fault("oned", "error", times=2)
    )
    taken = vm_of(the_standby(lane))
    made = create(lane)
    lane.proxy.on_call = None
    assert made["FAAS"]["VM_ID"] == taken
    check(lane, made["ID"])


def test_a_vm_that_ends_while_it_is_taken_is_not_handed_out(lane: FaultLane) -> None:
    taken = vm_of(the_standby(lane))

    def end() -> None:
        lane.opennebula.call("vm.action", "terminate-hard", taken)
        wait_until(lambda: lane.opennebula.vm_state(taken) == "DONE")

    lane.proxy.on_call = after("document.allocate", 1, end)
    made = create(lane)
    lane.proxy.on_call = None
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
    lane: FaultLane,
) -> None:
    """The document of the create is written when the create has given it up."""
    lane.proxy.set_fault("oned", "slow", name="document.allocate", times=1, seconds=TIMEOUT_SECONDS)
    service_id = the_standby(lane).service_id
    lane.key = "one"
    lane.request("POST", RUNTIMES, PLAIN, headers={"Idempotency-Key": "one"})

    def claims() -> list[str]:
        return [r.phase for r in lane.opennebula.runtimes() if r.service_id == service_id]

    wait_until(lambda: "CREATING" in claims())
    assert "STANDBY" not in claims()


# ---- what became of one meanwhile --------------------------------------------------------------


@pytest.mark.parametrize("action", ["terminate-hard", "poweroff-hard", "suspend"])
def test_a_standby_that_somebody_ended_is_replaced(lane: FaultLane, action: str) -> None:
    """By the next create, even by one that could not have taken it."""
    broken = the_standby(lane)
    lane.opennebula.call("vm.action", action, vm_of(broken))
    state = {"terminate-hard": "DONE", "poweroff-hard": "POWEROFF", "suspend": "SUSPENDED"}[action]
    wait_until(lambda: lane.opennebula.vm_state(vm_of(broken)) == state)
    made = create(lane, SCHEDULING={"REQUIREMENTS": "FREE_CPU > 0"})
    check(lane, made["ID"])
    assert the_standby(lane).id != broken.id


def test_a_standby_whose_lease_is_over_is_replaced(lane: FaultLane) -> None:
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
    lane: FaultLane, monkeypatch: pytest.MonkeyPatch
) -> None:
    """OpenNebula might end it before its lease is lifted."""
    monkeypatch.setattr(standby, "LEAST_LEASE_SECONDS", 4000)
    ending = vm_of(the_standby(lane))
    assert create(lane)["FAAS"]["VM_ID"] != ending


def test_a_standby_of_another_password_is_not_handed_out(lane: FaultLane) -> None:
    """It would log in with the old one."""
    old, sandbox = the_standby(lane), lane.installation.sandbox
    assert sandbox is not None
    user = sandbox.store.user(USER.name)
    user.password = "changed"
    lane.installation.user = USER._replace(password="changed")
    made = create(lane)
    assert made["FAAS"]["VM_ID"] != vm_of(old)
    wait_until(lambda: lane.opennebula.vm_state(vm_of(old)) == "DONE")


def test_a_standby_of_an_edited_vm_template_is_not_handed_out(lane: FaultLane) -> None:
    old, sandbox = the_standby(lane), lane.installation.sandbox
    assert sandbox is not None
    sandbox.store.set_vm_template(0, 'CPU="1"\nMEMORY="99"\nDISK=[IMAGE="img"]\n')
    made = create(lane)
    assert made["FAAS"]["VM_ID"] != vm_of(old)
    wait_until(lambda: lane.opennebula.vm_state(vm_of(old)) == "DONE")


# ---- a quota that is full ----------------------------------------------------------------------


def limit_vms(lane: FaultLane, count: int) -> None:
    assert lane.installation.sandbox is not None
    lane.installation.sandbox.store.set_quota(USER.name, VMS=count)


def test_a_full_quota_takes_the_standby_and_orders_no_other(lane: FaultLane) -> None:
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


def test_a_standby_gives_way_to_a_create_that_cannot_take_it(lane: FaultLane) -> None:
    """Else a user whose quota it uses up could create nothing until its lease is over."""
    limit_vms(lane, 1)
    kept = vm_of(the_standby(lane))
    made = create(lane, SCHEDULING={"REQUIREMENTS": "FREE_CPU > 0"})
    assert made["FAAS"]["VM_ID"] != kept
    check(lane, made["ID"], standbys_left=0)


def test_a_standby_stays_where_its_end_would_not_help(lane: FaultLane) -> None:
    limit_vms(lane, 0)
    response = lane.request("POST", RUNTIMES, {"FAAS": {"FLAVOUR": "nature"}})
    assert response.status == 422
    check(lane)


# ---- two engines -------------------------------------------------------------------------------


@contextlib.contextmanager
def two_engines(directory: Path) -> Iterator[tuple[FaultLane, list[EngineProcess]]]:
    """Two engine processes for the lane's OpenNebula, and one standby."""
    with lane_with(directory) as lane, Proxy(lane.installation) as proxy:
        given = standbys.settings(lane.opennebula)
        engines = [
            EngineProcess(directory / f"engine{n}", settings_for(proxy, **given)) for n in range(2)
        ]
        for engine in engines:
            engine.start()
        lane.proxy = proxy
        try:
            yield lane, engines
        finally:
            for engine in engines:
                engine.kill()


def both(engines: list[EngineProcess], keys: list[str]) -> list[Response]:
    """The responses of two engines to creates at the same time."""

    def send(engine: EngineProcess, key: str) -> Response:
        return engine.request("POST", RUNTIMES, PLAIN, headers={"Idempotency-Key": key})

    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(send, engines, keys))


MEETING_POINTS = ["document.lock", "document.allocate", "documentpool.info"]


@pytest.mark.parametrize("name", MEETING_POINTS)
@pytest.mark.parametrize("is_same_key", [False, True], ids=["two keys", "one key"])
def test_two_engines_take_the_same_standby_once(
    tmp_path: Path, name: str, is_same_key: bool
) -> None:
    """Both are held at their first call of that name, until both are there."""
    with two_engines(tmp_path) as (lane, engines):
        barrier = threading.Barrier(2)

        def on_call(call: Call, moment: str) -> None:
            if call.name == name and moment == "before" and not barrier.broken:
                with contextlib.suppress(threading.BrokenBarrierError):
                    if barrier.wait(2.0) == 0:
                        barrier.abort()

        taken = vm_of(the_standby(lane))
        lane.proxy.on_call = on_call
        first = uuid.uuid4().hex
        responses = both(engines, [first, first if is_same_key else uuid.uuid4().hex])
        lane.proxy.on_call = None
        assert {response.status for response in responses} <= {200, 201}
        runtimes = {response.runtime["ID"] for response in responses}
        vm_ids = {response.runtime["FAAS"]["VM_ID"] for response in responses}
        assert len(runtimes) == len(vm_ids) == (1 if is_same_key else 2)
        standbys.until_idle(lane)
        assert standbys.until_sound(lane, runtimes, {1}) == []
        assert is_same_key or taken in vm_ids
