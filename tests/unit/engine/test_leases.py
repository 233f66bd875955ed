"""Leases: when they end, what removes the rest, and exactly one action for each VM."""

from __future__ import annotations

import dataclasses
import time
from typing import Any

import pytest

from provision_engine.cloud.objects import ScheduledAction, Vm
from provision_engine.config import Lease
from provision_engine.engine.actions import recover
from provision_engine.engine.context import Context
from provision_engine.engine.runtime.model import Phase, Runtime
from provision_engine.engine.runtime.snapshot import Observation, Snapshot
from provision_engine.engine.runtime.specification import Specification
from provision_engine.engine.runtime.states import Condition, Reason, State
from provision_engine.engine.safety import leases
from provision_engine.errors import CapacityRefused, NotFound
from tests.unit.engine.opennebula import NOW, OpenNebula
from tests.unit.support import OWNER, function
from tests.unit.support import vm as made_vm

LONG = leases.OVERDUE_SECONDS + 10
HOUR = 3600
RUNNING, DONE = 3, 6
Actions = tuple[ScheduledAction, ...]


def action(at: int, what: str = leases.END, action_id: int = 0) -> ScheduledAction:
    return ScheduledAction(action_id, what, at)


def vm(
    state: int = RUNNING, started_at: int = 0, actions: Actions | None = None, vm_id: int = 7
) -> Vm:
    seen = made_vm(state, 3 if state == RUNNING else 0, vm_id=vm_id, started_at=started_at)
    return dataclasses.replace(seen, scheduled_actions=actions)


def runtime(**parts: Any) -> Runtime:
    return Runtime(1, "x", {"FAAS": function("nature", 1, 1, 1, vm_id=7)}, **parts)


# ---- when a lease ends --------------------------------------------------------------------------


RENEWED = {"lease_seconds": 60, "lease_ends_at": 5000, "is_lease_renewed": True}


@pytest.mark.parametrize(
    ("parts", "vms", "ends_at"),
    [
        # The earliest action of the VMs counts.
        ({"lease_seconds": 60}, [vm(actions=(action(700),))], 700),
        ({"lease_seconds": 60}, [vm(actions=(action(900), action(700)))], 700),
        (
            {"lease_seconds": 60},
            [vm(actions=(action(900),)), vm(actions=(action(800),), vm_id=8)],
            800,
        ),
        (RENEWED, [vm(actions=(action(700),))], 700),
        ({"lease_seconds": 60}, [vm(actions=(action(700, "terminate"),))], 700),
        # Other actions end nothing.
        ({"lease_seconds": 60}, [vm(started_at=1000, actions=(action(700, "poweroff"),))], 1060),
        # From the start of the first VM, if a pool does not show the actions.
        ({"lease_seconds": 60, "lease_ends_at": 1058}, [vm(started_at=1000)], 1060),
        ({"lease_seconds": 60}, [vm(started_at=1000), vm(started_at=990, vm_id=8)], 1050),
        # From the renewal, which wrote an absolute time.
        (RENEWED, [vm(started_at=1000)], 5000),
        # As it was stored, if no VM is left.
        ({"lease_seconds": 60, "lease_ends_at": 1058}, [], 1058),
        ({"lease_seconds": 60}, [], None),
        # Without a lease.
        ({}, [vm(started_at=1000)], None),
    ],
)
def test_the_end_of_a_lease(parts: dict[str, Any], vms: list[Vm], ends_at: int | None) -> None:
    assert leases.ends_at(runtime(**parts), vms) == ends_at


@pytest.mark.parametrize(
    ("ends_in_seconds", "vms", "is_over"),
    [
        (None, [(DONE, None)], False),
        (60, [(DONE, None)], False),
        (leases.CLOCKS_DIFFER_SECONDS - 2, [(DONE, None)], True),
        (0, [(DONE, None)], True),
        (0, [], True),
        (60, [], False),
        (0, [(RUNNING, None)], False),
        (-leases.OVERDUE_SECONDS + 10, [(RUNNING, None)], False),
        (-LONG, [(RUNNING, None)], True),
        (-LONG, [(RUNNING, -LONG)], True),
        (-LONG, [(RUNNING, HOUR)], False),
        (-LONG, [(DONE, None), (RUNNING, HOUR)], False),
    ],
)
def test_a_lease_is_over_when_its_vms_are_or_should_long_have_been(
    ends_in_seconds: int | None, vms: list[tuple[int, int | None]], is_over: bool
) -> None:
    now = int(time.time())
    leased = runtime()
    if ends_in_seconds is not None:
        leased = runtime(lease_seconds=HOUR, lease_ends_at=now + ends_in_seconds)
    seen = {
        vm_id: vm(
            state,
            started_at=now + (ends_in_seconds or 0) - HOUR,
            actions=None if ends is None else (action(now + ends),),
            vm_id=vm_id,
        )
        for vm_id, (state, ends) in enumerate(vms, 7)
    }
    assert leases.is_over(leased, seen, now) is is_over


@pytest.mark.parametrize("phase", [Phase.CREATING, Phase.REPLACING, Phase.DELETING])
def test_an_unfinished_runtime_has_no_expired_lease(phase: Phase) -> None:
    now = int(time.time())
    past = now - LONG
    assert not leases.is_over(runtime(phase=phase, lease_seconds=1, lease_ends_at=past), {}, now)
    assert leases.is_over(runtime(lease_seconds=1, lease_ends_at=past), {}, now)


@pytest.mark.parametrize(
    ("actions", "is_ending"),
    [
        (None, False),
        ((), False),
        ((action(1000),), True),
        ((action(999), action(5000)), True),
        ((action(1001),), False),
        ((action(900, "suspend"),), False),
    ],
)
def test_an_order_to_end_is_known_where_the_vm_tells_of_one_in_time(
    actions: Actions | None, is_ending: bool
) -> None:
    assert leases.is_ending_by(vm(actions=actions), 1000) is is_ending


# ---- what is granted ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("requested", "default", "longest", "granted"),
    [
        (None, None, None, None),
        (60, None, None, 60),
        (None, 30, None, 30),
        (None, None, 90, 90),
        (None, 30, 90, 30),
        (90, 30, 90, 90),
    ],
)
def test_the_lease_is_as_requested_or_the_default(
    requested: int | None, default: int | None, longest: int | None, granted: int | None
) -> None:
    policy = Lease(default_seconds=default, max_seconds=longest)
    assert leases.granted(requested, policy) == granted


def test_no_lease_is_longer_than_allowed() -> None:
    policy = Lease(default_seconds=None, max_seconds=90)
    with pytest.raises(CapacityRefused, match="91 seconds"):
        leases.granted(91, policy)
    with pytest.raises(CapacityRefused, match="90 seconds"):
        leases.check_lifting(policy)
    leases.check_lifting(Lease(default_seconds=30, max_seconds=None))


class Planned(Exception):
    """What was asked for is known: nothing is started."""


@pytest.mark.parametrize(
    ("parts", "left_seconds"),
    [
        ({}, None),
        ({"lease_seconds": 60, "lease_ends_at": NOW + 40}, 40),
        ({"lease_seconds": 60, "lease_ends_at": NOW - 40}, 1),
        ({"lease_seconds": 60}, 1),  # its end was never written down
    ],
)
def test_a_replacement_lives_as_long_as_its_runtime_has_left(
    parts: dict[str, Any], left_seconds: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def planned(context: Context, specification: Specification) -> None:
        assert specification.lease_seconds == left_seconds
        raise Planned

    monkeypatch.setattr(recover, "plan", planned)
    failed = Observation(Condition(State.ERROR, "", Reason.BOOT_FAILED))
    with pytest.raises(Planned):
        recover.apply(
            OpenNebula().request(), Snapshot(runtime(owner_id=OWNER, **parts), {"FAAS": failed})
        )


# ---- renewing and lifting -----------------------------------------------------------------------


THREE = (action(900, action_id=4), action(700, action_id=5), action(800, action_id=6))
STOP = action(500, "poweroff", action_id=9)


def ordered(*actions: ScheduledAction) -> OpenNebula:
    """One VM that carries these orders."""
    opennebula = OpenNebula()
    opennebula.vms_by_id[7] = vm(actions=actions)
    return opennebula


def of(opennebula: OpenNebula, what: str) -> list[ScheduledAction]:
    return [a for a in opennebula.vm(7).scheduled_actions or () if a.action.startswith(what)]


@pytest.mark.parametrize(
    "known",
    [(), (action(700, action_id=4),), THREE, (action(700, "terminate", action_id=4),)],
    ids=["none", "one", "three", "a softer one"],
)
def test_a_renewal_leaves_exactly_one_order_to_end_and_all_others(known: Actions) -> None:
    opennebula = ordered(*known, STOP)
    leases.schedule_end(opennebula, 7, 5000)  # type: ignore[arg-type]
    assert of(opennebula, "poweroff") == [STOP]
    assert [(a.action, a.at) for a in of(opennebula, "terminate")] == [(leases.END, 5000)]


@pytest.mark.parametrize("known", [(), THREE], ids=["none", "three"])
def test_lifting_a_lease_leaves_no_order_to_end(known: Actions) -> None:
    opennebula = ordered(*known, STOP)
    leases.schedule_end(opennebula, 7, None)  # type: ignore[arg-type]
    assert opennebula.vm(7).scheduled_actions == (STOP,)


def test_a_scheduled_termination_removed_by_another_process_is_not_an_error() -> None:
    opennebula = ordered(*THREE)
    delete = opennebula.delete_scheduled_action

    def deleted_by_another_process(vm_id: int, action_id: int) -> None:
        delete(vm_id, action_id)
        raise NotFound("no such action")

    opennebula.delete_scheduled_action = deleted_by_another_process  # type: ignore[method-assign]
    leases.schedule_end(opennebula, 7, 5000)  # type: ignore[arg-type]
    assert [a.at for a in of(opennebula, "terminate")] == [5000]
