"""Derive the STATE of a function from those of its VM and service, and explain it. Tables.

The names are OpenNebula's own; where a state occurs in the recordings, the table agrees with them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from provision_engine.cloud.enums import LcmState, ServiceState, VmState
from provision_engine.cloud.objects import Service, Vm


class State(StrEnum):
    """Of a function, as its caller sees it."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    UPDATING = "UPDATING"
    SUSPENDED = "SUSPENDED"
    ERROR = "ERROR"


class Reason(StrEnum):
    """Why a function does not run, for a program."""

    ORDERED = "ORDERED"
    DEPLOYING = "DEPLOYING"
    REPLACING = "REPLACING"
    WAITING = "WAITING"
    NO_MATCHING_HOST = "NO_MATCHING_HOST"
    NO_CAPACITY = "NO_CAPACITY"
    HELD = "HELD"
    CLONING = "CLONING"
    TRANSFER = "TRANSFER"
    BOOT = "BOOT"
    NOT_READY = "NOT_READY"
    NOT_ANSWERING = "NOT_ANSWERING"
    CHANGING = "CHANGING"
    SUSPENDED = "SUSPENDED"
    STOPPED = "STOPPED"
    POWERED_OFF = "POWERED_OFF"
    UNDEPLOYED = "UNDEPLOYED"
    BOOT_FAILED = "BOOT_FAILED"
    TRANSFER_FAILED = "TRANSFER_FAILED"
    UNREACHABLE = "UNREACHABLE"
    FAILED = "FAILED"
    QUOTA = "QUOTA"
    DEPLOY_FAILED = "DEPLOY_FAILED"
    SERVICE_GONE = "SERVICE_GONE"
    GONE = "GONE"
    ENDING = "ENDING"


@dataclass(frozen=True)
class Condition:
    """The STATE of a function, and why it is not RUNNING: for a person and for a program."""

    state: State
    text: str = ""
    reason: Reason | None = None

    @property
    def is_moving(self) -> bool:
        """Return whether the function is on its way to another state by itself."""
        return self.state in (State.PENDING, State.UPDATING)


_VM_STATES: Mapping[int, Condition] = {
    VmState.INIT: Condition(State.PENDING, "VM is being created", Reason.ORDERED),
    VmState.PENDING: Condition(State.PENDING, "VM waits for a host", Reason.WAITING),
    VmState.HOLD: Condition(State.PENDING, "VM is on hold", Reason.HELD),
    VmState.STOPPED: Condition(State.ERROR, "VM was stopped", Reason.STOPPED),
    VmState.SUSPENDED: Condition(State.ERROR, "VM was suspended", Reason.SUSPENDED),
    VmState.DONE: Condition(State.ERROR, "VM is gone", Reason.GONE),
    VmState.POWEROFF: Condition(State.ERROR, "VM was powered off", Reason.POWERED_OFF),
    VmState.UNDEPLOYED: Condition(State.ERROR, "VM was undeployed", Reason.UNDEPLOYED),
    VmState.CLONING: Condition(State.PENDING, "disks of the VM are being cloned", Reason.CLONING),
    VmState.CLONING_FAILURE: Condition(
        State.ERROR, "disks of the VM could not be cloned", Reason.TRANSFER_FAILED
    ),
}
GONE = _VM_STATES[VmState.DONE]
DEPLOYING = Condition(State.PENDING, "The service is being deployed", Reason.DEPLOYING)

# Lifecycle states while ACTIVE. Those of failures begin with the step that failed.
_FAILED_STEPS = {"BOOT": Reason.BOOT_FAILED, "PROLOG": Reason.TRANSFER_FAILED}
_FAILED: Mapping[int, Reason] = {LcmState.UNKNOWN: Reason.UNREACHABLE} | {
    state: _FAILED_STEPS.get(state.name.split("_")[0], Reason.FAILED)
    for state in LcmState
    if state.name.endswith("FAILURE")
}
_STARTING: Mapping[int, Reason] = {
    LcmState.LCM_INIT: Reason.ORDERED,
    LcmState.PROLOG: Reason.TRANSFER,
    LcmState.BOOT: Reason.BOOT,
    LcmState.PROLOG_RESUME: Reason.TRANSFER,
    LcmState.CLEANUP_RESUBMIT: Reason.WAITING,
    LcmState.BOOT_UNKNOWN: Reason.BOOT,
    LcmState.BOOT_POWEROFF: Reason.BOOT,
    LcmState.BOOT_SUSPENDED: Reason.BOOT,
    LcmState.BOOT_STOPPED: Reason.BOOT,
    LcmState.PROLOG_UNDEPLOY: Reason.TRANSFER,
    LcmState.BOOT_UNDEPLOY: Reason.BOOT,
}
_SENTENCES: Mapping[int, str] = {
    LcmState.FAILURE: "VM failed",
    LcmState.UNKNOWN: "the host of the VM does not respond, or the VM crashed",
    LcmState.BOOT_FAILURE: "VM failed to boot",
    LcmState.PROLOG_FAILURE: "disks of the VM could not be copied to its host",
    LcmState.EPILOG_FAILURE: "VM could not be cleaned up",
    LcmState.LCM_INIT: "VM is being created",
    LcmState.PROLOG: "disks of the VM are being copied to its host",
    LcmState.BOOT: "VM is booting",
    LcmState.BOOT_POWEROFF: "VM is booting again",
    LcmState.BOOT_SUSPENDED: "VM is being resumed",
}
"""Of the others there is only the name, by which an administrator finds all of them in
OpenNebula's documentation."""
ENDING_VM = frozenset({LcmState.SHUTDOWN, LcmState.EPILOG, LcmState.CLEANUP_DELETE})
"""Lifecycle states of a VM that is on its way to DONE."""
ENDABLE = frozenset({LcmState.RUNNING, *_FAILED})
"""Lifecycle states in which OpenNebula terminates a VM; in the others it refuses."""
ENDABLE_UNLESS_ACTIVE = frozenset(VmState) - {VmState.INIT, VmState.DONE, VmState.FAILED}

_FAILED_SERVICE = frozenset(state for state in ServiceState if state.name.startswith("FAILED"))
_ENDING_SERVICE = frozenset(
    {ServiceState.UNDEPLOYING, ServiceState.DONE, ServiceState.UNDEPLOYING_NETS}
)


# ---- VMs --------------------------------------------------------------------------------------


def from_vm(vm: Vm) -> Condition:
    """Return the condition of a function, from its VM."""
    if vm.state == VmState.ACTIVE:
        return _from_active_vm(vm)
    if vm.state == VmState.PENDING and vm.sched_message:
        explained = explain(vm.sched_message)
        return Condition(State.PENDING, explained.text, explained.reason or Reason.WAITING)
    unknown = Condition(State.ERROR, f"VM is in the unknown state {vm.state}", Reason.FAILED)
    return _VM_STATES.get(vm.state, unknown)


def _from_active_vm(vm: Vm) -> Condition:
    if vm.lcm_state in _FAILED:
        text = _sentence(vm.lcm_state)
        text = f"{text}: {explain(vm.error).text}" if vm.error else text
        return Condition(State.ERROR, text, _FAILED[vm.lcm_state])
    if vm.lcm_state in _STARTING:
        return Condition(State.PENDING, _sentence(vm.lcm_state), _STARTING[vm.lcm_state])
    if vm.lcm_state == LcmState.RUNNING:
        if vm.must_report_ready and not vm.is_ready:
            text = "VM runs, but has not reported that it is ready"
            return Condition(State.PENDING, text, Reason.NOT_READY)
        return Condition(State.RUNNING)
    # Everything else moves from one host or size to another, or towards its end.
    reason = Reason.ENDING if vm.lcm_state in ENDING_VM else Reason.CHANGING
    return Condition(State.UPDATING, reason=reason)


def _sentence(lcm_state: int) -> str:
    name, text = LcmState(lcm_state).name, _SENTENCES.get(lcm_state)
    return f"{text} ({name})" if text else f"VM is in state {name}"


def is_alive(vm: Vm) -> bool:
    return bool(vm.state != VmState.DONE)


def is_ending(vm: Vm) -> bool:
    """Return whether a VM is on its way to DONE."""
    return vm.state == VmState.ACTIVE and vm.lcm_state in ENDING_VM


def can_be_ended(vm: Vm) -> bool:
    """Return whether OpenNebula would terminate the VM in its present state."""
    if vm.state == VmState.ACTIVE:
        return vm.lcm_state in ENDABLE
    return vm.state in ENDABLE_UNLESS_ACTIVE


# ---- services ---------------------------------------------------------------------------------


def from_service(service: Service | None, had_vm: bool = False) -> Condition:
    """Return the condition of a function without a VM, or whose VM is gone, from its service."""
    if service is None:
        text = "The service is gone, and its VMs with it"
        return Condition(State.ERROR, text, Reason.SERVICE_GONE)
    if service_has_failed(service):
        explained = explain(last_error(service))
        reason = Reason.QUOTA if explained.reason is Reason.QUOTA else Reason.DEPLOY_FAILED
        text = explained.text or f"The service is in state {service_state(service)}"
        return Condition(State.ERROR, text, reason)
    if service_is_ending(service) and not had_vm:
        text = f"The service is in state {service_state(service)}"
        return Condition(State.ERROR, text, Reason.ENDING)
    if had_vm:
        return GONE
    return DEPLOYING


def service_state(service: Service) -> str:
    """Return oneflow's name of a service's state."""
    return next((s.name for s in ServiceState if s == service.state), f"state {service.state}")


def service_has_failed(service: Service) -> bool:
    return service.state in _FAILED_SERVICE


def service_is_ending(service: Service) -> bool:
    return service.state in _ENDING_SERVICE


def service_ends_by_itself(service: Service) -> bool:
    """Return whether oneflow is removing a service; with a failed role it never gets done."""
    has_failed = any(role.state in _FAILED_SERVICE for role in service.roles)
    return service_is_ending(service) and not has_failed


def last_error(service: Service) -> str:
    """Return the newest error in a service's log, or nothing."""
    errors = [str(e.get("message", "")) for e in service.log if e.get("severity") == "E"]
    return errors[-1] if errors else ""


def last_entry_at(service: Service | None) -> int | None:
    """Return when a service last wrote into its log (Unix time)."""
    return service.log[-1].get("timestamp") if service is not None and service.log else None


def vm_ids(service: Service) -> dict[str, int | None]:
    """Return the first VM id of each role, or None."""
    return {role.name: next(iter(role.vm_ids), None) for role in service.roles}


# ---- messages of OpenNebula, in words for a person and as a reason for a program ----------------


@dataclass(frozen=True)
class Explanation:
    """What OpenNebula says, in words for a person, and what it means to a program, if anything."""

    text: str
    reason: Reason | None = None


UNNAMED_REQUIREMENTS = "no host satisfies the requirements"
"""Some releases do not name the requirements; a snapshot puts those of its runtime in."""

# What OpenNebula puts around a message: a date, the role and the call that was refused.
_FRAME = re.compile(
    r"^(\w{3} \w{3} [ \d]\d \d\d:\d\d:\d\d \d{4}: )?"
    r"(Role \S+ : \w+ failed for \w+ \d*; )?(\[one\.[\w.]+\] )?"
)
# The scheduler writes its own requirements first, and last the VM's own ones in brackets.
# Scenarios pending-unsatisfiable-requirements, scheduling-expressions, quota-exceeded,
# vm-boot-failure and failed-deploy-… of the recordings.
MESSAGES: tuple[tuple[str, str, Reason | None], ...] = (
    (
        r"No host meets capacity and SCHED_REQUIREMENTS: .*& \( (?P<own>.*) \)\s*$",
        "no host satisfies {own}",
        Reason.NO_MATCHING_HOST,
    ),
    (
        r"Error in SCHED_REQUIREMENTS: .*",
        "the requirements cannot be parsed",
        Reason.NO_MATCHING_HOST,
    ),
    (r"No host meets SCHED_REQUIREMENTS", UNNAMED_REQUIREMENTS, Reason.NO_MATCHING_HOST),
    (
        r"No host with enough capacity|\[HOST\] Not enough \w+ on hosts"
        r"|No host meets capacity and SCHED_REQUIREMENTS",
        "no host has enough free CPU and memory",
        Reason.NO_CAPACITY,
    ),
    (
        r"(?P<whose>user|group) \[\d+\] limit of (?P<limit>\S+) reached for (?P<metric>\w+)",
        "{whose} quota of {what} reached",
        Reason.QUOTA,
    ),
    (
        r"Error getting virtual machine template \[(?P<id>-?\d+)\]",
        "VM template {id} does not exist",
        None,
    ),
    (
        r"Not authorized to perform USE TEMPLATE \[(?P<id>\d+)\]",
        "the user may not use VM template {id}",
        None,
    ),
)
_METRICS = {
    "VMS": ("VM", "VMs"),
    "CPU": ("core", "cores"),
    "MEMORY": ("MB of memory", "MB of memory"),
    "SYSTEM_DISK_SIZE": ("MB of disk", "MB of disk"),
}


def explain(message: str) -> Explanation:
    """Return a message of OpenNebula in words; one that is not in the table, without its frame."""
    message = _FRAME.sub("", message, count=1)
    for pattern, words, reason in MESSAGES:
        if found := re.search(pattern, message):
            return Explanation(words.format(**found.groupdict(), what=_metric(found)), reason)
    return Explanation(message)


def _metric(found: re.Match[str]) -> str:
    """Return a quota's limit as a person counts it: ``1 VM``, ``2 cores``, ``512 MB of memory``."""
    limit, metric = found.groupdict().get("limit", ""), found.groupdict().get("metric", "")
    one, many = _METRICS.get(metric.removeprefix("RUNNING_"), (metric, metric))
    running = "running " if metric.startswith("RUNNING_") else ""
    return f"{limit} {running}{one if limit == '1' else many}"
