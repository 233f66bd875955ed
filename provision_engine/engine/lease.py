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
from provision_engine.engine.document import Phase, Runtime
from provision_engine.engine.states import DONE
from provision_engine.errors import CapacityRefused

ENDING = "terminate-hard"
CLOCKS_DIFFER_SECONDS = 5
"""How far the clocks of OpenNebula and of an engine may be apart."""
OVERDUE_SECONDS = 120
"""How late OpenNebula may be with the end of a lease; recorded were 4 s at most."""


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
    """The lease of a new runtime: as asked, else the usual one. None: for ever.

    Where leases have a maximum no runtime lives for ever. Raises CapacityRefused where more is
    asked for.
    """
    longest = policy.max_seconds
    if wanted_seconds is None:
        known = [s for s in (policy.default_seconds, longest) if s is not None]
        return min(known, default=None)
    if longest is not None and wanted_seconds > longest:
        raise CapacityRefused(
            f"LEASE.TTL: {wanted_seconds} seconds are more than the {longest} allowed here"
        )
    return wanted_seconds


def is_over(runtime: Runtime, vms: Mapping[int, Vm]) -> bool:
    """Whether OpenNebula has ended the runtime because its lease was over, or failed to.

    ``vms`` are those of the runtime that OpenNebula still knows. It cannot end a VM in the
    middle of a change, and no recording shows whether it tries again: long after the end of
    the lease, with no action to come, it is for whoever looks to end what is left.
    """
    ends_at = runtime.lease_ends_at
    if ends_at is None or runtime.phase is not Phase.READY or not runtime.vm_ids:
        return False
    now = time.time()
    if now < ends_at - CLOCKS_DIFFER_SECONDS:
        return False
    if all(vm.state == DONE for vm in vms.values()):
        return True
    planned = [found.at for vm in vms.values() if (found := of(vm))]
    return now > max([ends_at, *planned]) + OVERDUE_SECONDS


def rfc3339(at: int) -> str:
    """A Unix time as RFC 3339 has it, in UTC."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
