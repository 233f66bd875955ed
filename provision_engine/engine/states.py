"""From the states of VMs and services to the STATE of a function. Tables, no calls.

Numbers and names are OpenNebula's own (``VirtualMachine::VmState``, ``LcmState``; oneflow's
service states), checked against the recordings where they occur there.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from provision_engine.cloud.objects import Vm


class State(StrEnum):
    """Of a function, as its caller sees it."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    UPDATING = "UPDATING"
    ERROR = "ERROR"


WAITING, ACTIVE, DONE = 1, 3, 6
"""VM states; in ACTIVE the life-cycle state tells more."""
LCM_RUNNING = 3

_VM: Mapping[int, tuple[State, str]] = {
    0: (State.PENDING, "being created"),
    WAITING: (State.PENDING, "waiting for a host"),
    2: (State.PENDING, "held back"),
    4: (State.ERROR, "VM is stopped"),
    5: (State.ERROR, "VM is suspended"),
    DONE: (State.ERROR, "VM is gone"),
    8: (State.ERROR, "VM is powered off"),
    9: (State.ERROR, "VM is undeployed"),
    10: (State.PENDING, "its disks are being cloned"),
    11: (State.ERROR, "VM's disks could not be cloned"),
}

# Life-cycle states while ACTIVE: (STATE, what goes on).
_FAILED = {
    14: "FAILURE",
    16: "UNKNOWN",
    36: "BOOT_FAILURE",
    37: "BOOT_MIGRATE_FAILURE",
    38: "PROLOG_MIGRATE_FAILURE",
    39: "PROLOG_FAILURE",
    40: "EPILOG_FAILURE",
    41: "EPILOG_STOP_FAILURE",
    42: "EPILOG_UNDEPLOY_FAILURE",
    44: "PROLOG_MIGRATE_POWEROFF_FAILURE",
    46: "PROLOG_MIGRATE_SUSPEND_FAILURE",
    47: "BOOT_UNDEPLOY_FAILURE",
    48: "BOOT_STOPPED_FAILURE",
    49: "PROLOG_RESUME_FAILURE",
    50: "PROLOG_UNDEPLOY_FAILURE",
    61: "PROLOG_MIGRATE_UNKNOWN_FAILURE",
}
_STARTING = {
    0: "LCM_INIT",
    1: "PROLOG",
    2: "BOOT",
    9: "PROLOG_RESUME",
    15: "CLEANUP_RESUBMIT",
    19: "BOOT_UNKNOWN",
    20: "BOOT_POWEROFF",
    21: "BOOT_SUSPENDED",
    22: "BOOT_STOPPED",
    31: "PROLOG_UNDEPLOY",
    32: "BOOT_UNDEPLOY",
}

_FAILED_SERVICE = {
    6: "FAILED_UNDEPLOYING",
    7: "FAILED_DEPLOYING",
    9: "FAILED_SCALING",
    13: "FAILED_DEPLOYING_NETS",
    14: "FAILED_UNDEPLOYING_NETS",
}
_ENDING_SERVICE = {3: "UNDEPLOYING", 5: "DONE", 12: "UNDEPLOYING_NETS"}


@dataclass(frozen=True)
class Condition:
    """The STATE of a function, and why it is not RUNNING, for a person."""

    state: State
    reason: str = ""


def of_vm(vm: Vm) -> Condition:
    """The condition of a function, from its VM."""
    if vm.state != ACTIVE:
        state, text = _VM.get(vm.state, (State.ERROR, f"VM is in the unknown state {vm.state}"))
        if vm.state == WAITING and vm.sched_message:
            text = scheduler_reason(vm.sched_message)
        return Condition(state, text)
    if vm.lcm_state in _FAILED:
        what = f"VM is in state {_FAILED[vm.lcm_state]}"
        return Condition(State.ERROR, f"{what}: {vm.error}" if vm.error else what)
    if vm.lcm_state in _STARTING:
        return Condition(State.PENDING, f"VM is in state {_STARTING[vm.lcm_state]}")
    if vm.lcm_state == LCM_RUNNING:
        if vm.must_report_ready and not vm.is_ready:
            return Condition(State.PENDING, "VM runs, but has not reported to be ready yet")
        return Condition(State.RUNNING)
    # Everything else moves from one place or size to another, or towards its end.
    return Condition(State.UPDATING)


def scheduler_reason(message: str) -> str:
    """What the scheduler says, in short: ``no host satisfies FREE_CPU > 1000``.

    It writes the date first, and last the VM's own requirements in brackets, behind its own.
    """
    own = re.search(r"SCHED_REQUIREMENTS: .*& \( (.*) \)\s*$", message)
    if own:
        return f"no host satisfies {own[1]}"
    return re.sub(r"^\w{3} \w{3} [ \d]\d \d\d:\d\d:\d\d \d{4}: ", "", message)


def of_missing_vm(service: Mapping[str, Any] | None) -> Condition:
    """The condition of a function that has no VM, from the body of its service."""
    if service is None:
        return Condition(State.ERROR, "The service is gone, and its VMs with it")
    state = service.get("state")
    if state in _FAILED_SERVICE:
        return Condition(
            State.ERROR, last_error(service) or f"The service is in state {_FAILED_SERVICE[state]}"
        )
    if state in _ENDING_SERVICE:
        return Condition(State.ERROR, f"The service is in state {_ENDING_SERVICE[state]}")
    return Condition(State.PENDING, "The service is being deployed")


def has_failed(service: Mapping[str, Any]) -> bool:
    return service.get("state") in _FAILED_SERVICE


def is_ending(service: Mapping[str, Any]) -> bool:
    return service.get("state") in _ENDING_SERVICE


def service_log(service: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """The service's log, oldest first."""
    log = service.get("log")
    return [entry for entry in log if isinstance(entry, dict)] if isinstance(log, list) else []


def last_error(service: Mapping[str, Any]) -> str:
    """The newest error in a service's log, or nothing."""
    errors = [e for e in service_log(service) if e.get("severity") == "E"]
    return str(errors[-1].get("message", "")) if errors else ""


def vm_ids(service: Mapping[str, Any]) -> dict[str, int | None]:
    """Of each role of a service its first VM, or None as long as there is none."""
    return {str(role.get("name")): _first_vm(role) for role in service.get("roles", [])}


def _first_vm(role: Mapping[str, Any]) -> int | None:
    ids = [node.get("deploy_id") for node in role.get("nodes") or []]
    return next((int(vm_id) for vm_id in ids if vm_id is not None), None)
