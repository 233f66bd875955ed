"""When a lease is over: OpenNebula has ended the VMs, or has failed to for long."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import pytest

from provision_engine.cloud.objects import ScheduledAction
from provision_engine.engine import lease
from provision_engine.engine.document import Phase, Runtime, StoredFunction

RUNNING, DONE = 3, 6
LONG = lease.OVERDUE_SECONDS + 10
HOUR = 3600


def vm(state: int, *ends_in_seconds: int) -> Any:
    now = int(time.time())
    actions = tuple(ScheduledAction(0, lease.ENDING, now + s) for s in ends_in_seconds)
    return SimpleNamespace(state=state, sched_actions=actions)


def runtime(ends_in_seconds: int | None, phase: Phase = Phase.READY) -> Runtime:
    ends_at = None if ends_in_seconds is None else int(time.time()) + ends_in_seconds
    function = StoredFunction("nature", 1, 1, 1, vm_id=7)
    return Runtime(1, "x", {"FAAS": function}, phase=phase, lease_ends_at=ends_at)


@pytest.mark.parametrize(
    ("ends_in_seconds", "vms", "over"),
    [
        (None, {7: vm(DONE)}, False),
        (60, {7: vm(DONE)}, False),
        (0, {7: vm(DONE)}, True),
        (0, {}, True),
        (0, {7: vm(RUNNING)}, False),
        (-lease.OVERDUE_SECONDS + 10, {7: vm(RUNNING)}, False),
        (-LONG, {7: vm(RUNNING)}, True),
        (-LONG, {7: vm(RUNNING, -LONG)}, True),
        (-LONG, {7: vm(RUNNING, HOUR)}, False),
        (-LONG, {7: vm(DONE), 8: vm(RUNNING, HOUR)}, False),
    ],
)
def test_a_lease_is_over_when_its_vms_are_or_should_long_have_been(
    ends_in_seconds: int | None, vms: dict[int, Any], over: bool
) -> None:
    assert lease.is_over(runtime(ends_in_seconds), vms) is over


def test_what_is_still_being_made_has_no_lease_that_is_over() -> None:
    assert not lease.is_over(runtime(-LONG, Phase.CREATING), {})
