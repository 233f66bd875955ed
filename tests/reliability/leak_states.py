"""The states of a runtime's VMs in the leak matrix, and how they are brought about."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from tests.reliability.lanes import Lane
from tests.support.waiting import wait_until

STATES = (
    "PENDING", "PROLOG", "BOOT", "RUNNING", "HOTPLUG_RESIZE", "DISK_RESIZE", "SUSPENDED",
    "SUSPENDED-BY-ENGINE", "POWEROFF", "SHUTDOWN", "BOOT_FAILURE", "UNKNOWN",
)  # fmt: skip
UNKNOWN_ID = -1
ENDED = {"RUNNING", "BOOT_FAILURE", "DONE"}
"""Where a new VM does not go on by itself."""
REACH_SECONDS = 90.0


class Case(NamedTuple):
    release: str
    state: str
    specification: str
    ending: str

    def is_seen_in(self, vm_states: set[str]) -> bool:
        """Whether a VM is in the state."""
        return vm_state(self.state) in vm_states


def vm_state(state: str) -> str:
    """OpenNebula's state of a VM that was brought into a state of the matrix."""
    return state.partition("-")[0]


@dataclass
class Outcome:
    case: Case
    is_reached: bool = False
    """Whether the VMs were in the state when the end came."""
    is_possible: bool = True
    is_reconciled: bool = False
    """A document stayed until it was reconciled."""
    wrong: list[str] = field(default_factory=list)


class Unreached(Exception):
    """The state cannot be brought about here."""


def vm_ids(lane: Lane) -> list[int]:
    """Those of the case, as soon as there are all of them."""

    def complete() -> list[int]:
        found = sorted(lane.opennebula.vm_ids())
        return found if len(found) == len(lane.members) else []

    found: list[int] = wait_until(complete, REACH_SECONDS, 0.1)
    return found


def reach(lane: Lane, state: str) -> bool:
    """Bring the VMs into a state, at least one of them. Unreached where that cannot be."""
    numbers = vm_ids(lane)
    if state in ACTIONS:
        await_state(lane, numbers, "RUNNING")
        for vm_id in numbers:
            ACTIONS[state](lane, vm_id)
    return await_state(lane, numbers, state)


def await_state(lane: Lane, numbers: Sequence[int], state: str) -> bool:
    """Whether the VMs came into a state; a transient one may be too short to be seen."""
    end = time.monotonic() + REACH_SECONDS
    while time.monotonic() < end:
        seen = lane.opennebula.vm_states(numbers)
        if vm_state(state) in seen and (state != "RUNNING" or seen == {"RUNNING"}):
            return True
        if seen <= ENDED and state != "RUNNING" and state not in ACTIONS:
            break
        time.sleep(0.05)
    raise Unreached(f"the VMs are {seen}, not {state}")


def _resize(lane: Lane, vm_id: int) -> None:
    lane.opennebula.call("vm.resize", vm_id, "CPU=2\nVCPU=2", True)


def _resize_disk(lane: Lane, vm_id: int) -> None:
    lane.opennebula.call("vm.diskresize", vm_id, 0, "2000")


def _lose_sight(lane: Lane, vm_id: int) -> None:
    if lane.installation.sandbox is None:
        raise Unreached("only the sandbox can lose sight of a VM")
    lane.installation.sandbox.store.put_vm(vm_id, "UNKNOWN", stays=True)


def _suspend_runtime(lane: Lane, vm_id: int) -> None:
    """As its owner does: one request suspends all VMs of the runtime."""
    if lane.runtime_id == UNKNOWN_ID:
        raise Unreached("a runtime that is still being created has no owner who could suspend it")
    if vm_id != min(lane.opennebula.vm_ids()):
        return
    response = lane.request("POST", f"{lane.path}/suspend")
    assert response.status == 200, response.content


def _acting(action: str) -> Callable[[Lane, int], None]:
    return lambda lane, vm_id: lane.opennebula.call("vm.action", action, vm_id)


ACTIONS: dict[str, Callable[[Lane, int], None]] = {
    "HOTPLUG_RESIZE": _resize,
    "DISK_RESIZE": _resize_disk,
    "SUSPENDED": _acting("suspend"),
    "SUSPENDED-BY-ENGINE": _suspend_runtime,
    "POWEROFF": _acting("poweroff-hard"),
    "SHUTDOWN": _acting("terminate"),
    "UNKNOWN": _lose_sight,
}
"""What brings a VM that runs into a state."""
