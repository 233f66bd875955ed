"""Explains OpenNebula's messages: in words for a person, and as a reason for a program."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum


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
