"""Leases: OpenNebula itself ends a runtime on time, by a scheduled action of each of its VMs.

Source: the scenarios lease-by-scheduled-action and lease-renewal of the recordings. A relative
time counts from the start of the VM, so a renewal needs an absolute one.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

from provision_engine.cloud import template
from provision_engine.cloud.client import CloudClient
from provision_engine.cloud.objects import Attributes, ScheduledAction, Vm
from provision_engine.config import Lease
from provision_engine.engine.document import Runtime
from provision_engine.engine.states import DONE
from provision_engine.errors import CapacityRefused

ENDING = "terminate-hard"
CLOCKS_DIFFER_SECONDS = 5
"""How far the clocks of OpenNebula and of an engine may be apart."""


def action(at: str) -> Attributes:
    """The attribute that ends a VM at a Unix time, or at ``+seconds`` after its start."""
    return {"ACTION": ENDING, "TIME": at}


def of(vm: Vm) -> ScheduledAction | None:
    """The action that ends a VM's lease."""
    return next((a for a in vm.sched_actions if a.action.startswith("terminate")), None)


def ends_at(vms: Iterable[Vm]) -> int | None:
    """When the first of the VMs is ended (Unix time); None without a lease."""
    return min((found.at for vm in vms if (found := of(vm))), default=None)


def renew(cloud: CloudClient, vm: Vm, seconds: int) -> None:
    """Let a VM live for so long from now."""
    at = template.render({"SCHED_ACTION": action(str(int(time.time()) + seconds))})
    known = of(vm)
    if known is None:
        cloud.oned.add_scheduled_action(vm.id, at)
    else:
        cloud.oned.update_scheduled_action(vm.id, known.id, at)


def granted(wanted_seconds: int | None, policy: Lease) -> int | None:
    """The lease of a new runtime. Raises CapacityRefused where more is wanted than allowed."""
    seconds = policy.default_seconds if wanted_seconds is None else wanted_seconds
    if seconds is not None and policy.max_seconds is not None and seconds > policy.max_seconds:
        raise CapacityRefused(
            f"LEASE.TTL: {seconds} seconds are more than the {policy.max_seconds} allowed here"
        )
    return seconds


def is_over(runtime: Runtime, vms: Mapping[int, Vm]) -> bool:
    """Whether OpenNebula has ended the runtime because its lease was over."""
    if runtime.lease_ends_at is None or time.time() < runtime.lease_ends_at - CLOCKS_DIFFER_SECONDS:
        return False
    return all(vm.state == DONE for vm in vms.values())


def rfc3339(at: int) -> str:
    """A Unix time as RFC 3339 has it, in UTC."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
