"""Leases: OpenNebula itself ends a runtime on time, by a scheduled action of each of its VMs.

Source: the scenarios lease-by-scheduled-action, lease-renewal and scheduled-actions-in-pool of
the recordings. A relative time counts from the start of the VM, so a renewal needs an absolute
one. A second action beside the first would leave the first in force.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress

from provision_engine.cloud import template
from provision_engine.cloud.client import CloudClient
from provision_engine.cloud.objects import Attributes, ScheduledAction, Vm
from provision_engine.config import Lease
from provision_engine.engine.runtime import states
from provision_engine.engine.runtime.model import Runtime
from provision_engine.errors import CapacityRefused, NotFound

END = "terminate-hard"
CLOCKS_DIFFER_SECONDS = 5
"""How far the clocks of OpenNebula and of an engine may be apart."""
OVERDUE_SECONDS = 120
"""How late OpenNebula may be with the end of a lease, before a request ends what is left."""


# ---- pure ---------------------------------------------------------------------------------------


def action(at: str) -> Attributes:
    """Return the attribute that ends a VM at a Unix time, or at ``+seconds`` after its start."""
    return {"ACTION": END, "TIME": at}


def others(actions: Iterable[Attributes]) -> list[Attributes]:
    """Return the scheduled actions of a template that stay beside a lease: it replaces an end."""
    return [action for action in actions if not str(action.get("ACTION")).startswith("terminate")]


def granted(requested_seconds: int | None, policy: Lease) -> int | None:
    """Return the lease of a new runtime: as requested, else the default. None: for ever.

    Where leases have a maximum no runtime lives for ever. Raises CapacityRefused where more is
    requested.
    """
    longest = policy.max_seconds
    if requested_seconds is None:
        known = [s for s in (policy.default_seconds, longest) if s is not None]
        return min(known, default=None)
    if longest is not None and requested_seconds > longest:
        raise CapacityRefused(
            f"LEASE.TTL: {requested_seconds} seconds are more than the {longest} allowed here"
        )
    return requested_seconds


def check_lifting(policy: Lease) -> None:
    """Raise CapacityRefused where no runtime may live for ever."""
    if policy.max_seconds is not None:
        raise CapacityRefused(
            f"LEASE: a lease of {policy.max_seconds} seconds at most is required here"
        )


def ends_at(runtime: Runtime, vms: Iterable[Vm]) -> int | None:
    """Return when OpenNebula ends the first of a runtime's VMs (Unix time); None without a lease.

    Its scheduled actions tell where they were read; else it is computed from the start of the VM
    or from the renewal.
    """
    vms = list(vms)
    planned = [found.at for vm in vms for found in _endings(vm)]
    if planned:
        return min(planned)
    if runtime.lease_seconds is None:
        return None
    if vms and not runtime.is_lease_renewed:
        return min(vm.started_at for vm in vms) + runtime.lease_seconds
    return runtime.lease_ends_at


def is_over(runtime: Runtime, vms: Mapping[int, Vm], now: float) -> bool:
    """Return whether OpenNebula has ended the runtime at the end of its lease, or failed to.

    ``vms`` are those of the runtime that OpenNebula still knows; ``now`` is OpenNebula's time.
    """
    if runtime.lease_seconds is None or runtime.phase.is_unfinished:
        return False
    end = ends_at(runtime, vms.values())
    if end is None or now < end - CLOCKS_DIFFER_SECONDS:
        return False
    return not any(map(states.is_alive, vms.values())) or now > end + OVERDUE_SECONDS


def is_ending_by(vm: Vm, at: int) -> bool:
    """Return whether a VM is known to carry an order to end at a Unix time or before."""
    return any(action.at <= at for action in _endings(vm))


def _endings(vm: Vm) -> list[ScheduledAction]:
    """Return the actions that end a VM, the earliest first."""
    actions = [a for a in vm.scheduled_actions or () if a.action.startswith("terminate")]
    return sorted(actions, key=lambda action: action.at)


# ---- calls --------------------------------------------------------------------------------------


def schedule_end(cloud: CloudClient, vm_id: int, ends_at: int | None) -> None:
    """Let a VM live until a Unix time, by exactly one action, whatever it has. None: for ever."""
    known = _endings(cloud.oned.vm(vm_id))
    if ends_at is not None:
        order = template.render({"SCHED_ACTION": action(str(ends_at))})
        if known:
            cloud.oned.update_scheduled_action(vm_id, known.pop(0).id, order)
        else:
            cloud.oned.add_scheduled_action(vm_id, order)
    for superfluous in known:
        with suppress(NotFound):  # another process was faster
            cloud.oned.delete_scheduled_action(vm_id, superfluous.id)
