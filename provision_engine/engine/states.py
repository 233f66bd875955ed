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
GONE = "VM is gone"

_VM: Mapping[int, tuple[State, str]] = {
    0: (State.PENDING, "VM is being made"),
    WAITING: (State.PENDING, "VM waits for a host"),
    2: (State.PENDING, "VM is held back"),
    4: (State.ERROR, "VM was stopped"),
    5: (State.ERROR, "VM was suspended"),
    DONE: (State.ERROR, GONE),
    8: (State.ERROR, "VM was powered off"),
    9: (State.ERROR, "VM was undeployed"),
    10: (State.PENDING, "disks of the VM are being cloned"),
    11: (State.ERROR, "disks of the VM could not be cloned"),
}

# Life-cycle states while ACTIVE. The reason is the sentence below where there is one, with the
# name behind it, by which an administrator finds it in OpenNebula's documentation.
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
_SENTENCES = {
    "FAILURE": "VM failed",
    "UNKNOWN": "the host of the VM does not answer, or the VM crashed",
    "BOOT_FAILURE": "VM failed to boot",
    "PROLOG_FAILURE": "disks of the VM could not be brought to its host",
    "EPILOG_FAILURE": "VM could not be cleaned up",
    "LCM_INIT": "VM is being made",
    "PROLOG": "disks of the VM are on the way to its host",
    "BOOT": "VM boots",
    "BOOT_POWEROFF": "VM boots again",
    "BOOT_SUSPENDED": "VM is resumed",
}

_FAILED_SERVICE = {
    6: "FAILED_UNDEPLOYING",
    7: "FAILED_DEPLOYING",
    9: "FAILED_SCALING",
    13: "FAILED_DEPLOYING_NETS",
    14: "FAILED_UNDEPLOYING_NETS",
}
_ENDING_SERVICE = {3: "UNDEPLOYING", 5: "DONE", 12: "UNDEPLOYING_NETS"}

# What OpenNebula puts around a message: a date, the role and the call that was refused.
_FRAME = re.compile(
    r"^(\w{3} \w{3} [ \d]\d \d\d:\d\d:\d\d \d{4}: )?"
    r"(Role \S+ : \w+ failed for \w+ \d*; )?(\[one\.[\w.]+\] )?"
)
# The scheduler writes its own requirements first, and last the VM's own ones in brackets.
_WORDS = (
    (
        re.compile(r"No host meets capacity and SCHED_REQUIREMENTS: .*& \( (?P<own>.*) \)\s*$"),
        "no host satisfies {own}",
    ),
    (
        re.compile(r"No host meets capacity and SCHED_REQUIREMENTS"),
        "no host has enough free CPU and memory",
    ),
    (
        re.compile(
            r"(?P<whose>user|group) \[\d+\] limit of (?P<limit>\S+) reached for (?P<metric>\w+)"
        ),
        "{whose} quota of {what} reached",
    ),
    (
        re.compile(r"Error getting virtual machine template \[(?P<id>-?\d+)\]"),
        "VM template {id} does not exist",
    ),
    (
        re.compile(r"Not authorized to perform USE TEMPLATE \[(?P<id>\d+)\]"),
        "the user may not use VM template {id}",
    ),
)
_METRICS = {
    "VMS": ("VM", "VMs"),
    "CPU": ("core", "cores"),
    "MEMORY": ("MB of memory", "MB of memory"),
    "SYSTEM_DISK_SIZE": ("MB of disk", "MB of disk"),
}


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
            text = plain(vm.sched_message)
        return Condition(state, text)
    if vm.lcm_state in _FAILED:
        what = _sentence(_FAILED[vm.lcm_state])
        return Condition(State.ERROR, f"{what}: {plain(vm.error)}" if vm.error else what)
    if vm.lcm_state in _STARTING:
        return Condition(State.PENDING, _sentence(_STARTING[vm.lcm_state]))
    if vm.lcm_state == LCM_RUNNING:
        if vm.must_report_ready and not vm.is_ready:
            return Condition(State.PENDING, "VM runs, but has not reported to be ready yet")
        return Condition(State.RUNNING)
    # Everything else moves from one place or size to another, or towards its end.
    return Condition(State.UPDATING)


def _sentence(name: str) -> str:
    known = _SENTENCES.get(name)
    return f"{known} ({name})" if known else f"VM is in state {name}"


def of_missing_vm(service: Mapping[str, Any] | None, had_vm: bool = False) -> Condition:
    """The condition of a function without a VM, or whose VM is gone, from its service's body."""
    if service is None:
        return Condition(State.ERROR, "The service is gone, and its VMs with it")
    state = service.get("state")
    if state in _FAILED_SERVICE:
        why = plain(last_error(service)) or f"The service is in state {_FAILED_SERVICE[state]}"
        return Condition(State.ERROR, why)
    if state in _ENDING_SERVICE:
        return Condition(State.ERROR, f"The service is in state {_ENDING_SERVICE[state]}")
    if had_vm:
        return Condition(State.ERROR, GONE)
    return Condition(State.PENDING, "The service is being deployed")


def plain(message: str) -> str:
    """What OpenNebula says, in words for a person; a text that nobody knows, without its frame.

    Source: the scenarios pending-unsatisfiable-requirements, quota-exceeded, vm-boot-failure and
    failed-deploy-… of the recordings.
    """
    message = _FRAME.sub("", message, count=1)
    for pattern, words in _WORDS:
        if found := pattern.search(message):
            return words.format(**found.groupdict(), what=_metric(found))
    return message


def _metric(found: re.Match[str]) -> str:
    """A quota's limit as a person counts it: ``1 VM``, ``2 cores``, ``512 MB of memory``."""
    limit, metric = found.groupdict().get("limit", ""), found.groupdict().get("metric", "")
    one, many = _METRICS.get(metric.removeprefix("RUNNING_"), (metric, metric))
    running = "running " if metric.startswith("RUNNING_") else ""
    return f"{limit} {running}{one if limit == '1' else many}"


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


def last_entry_at(service: Mapping[str, Any] | None) -> int | None:
    """When a service last wrote into its log (Unix time)."""
    log = service_log(service or {})
    at = log[-1].get("timestamp") if log else None
    return at if isinstance(at, int) else None


def vm_ids(service: Mapping[str, Any]) -> dict[str, int | None]:
    """Of each role of a service its first VM, or None as long as there is none."""
    return {str(role.get("name")): _first_vm(role) for role in service.get("roles", [])}


def _first_vm(role: Mapping[str, Any]) -> int | None:
    ids = [node.get("deploy_id") for node in role.get("nodes") or []]
    return next((int(vm_id) for vm_id in ids if vm_id is not None), None)
