"""What happened when, while a runtime was created, as far as OpenNebula remembers it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from provision_engine.engine.actions import read
from provision_engine.engine.context import Context


class StepName(StrEnum):
    """What happened."""

    ASKED = "ASKED"
    """The engine received the request."""
    SERVICE = "SERVICE"
    """oneflow started the service."""
    VM = "VM"
    """The VM was created."""
    SCHEDULED = "SCHEDULED"
    """It got a host."""
    COPIED = "COPIED"
    """Its disks are on the host: from here on it boots."""


@dataclass(frozen=True)
class Step:
    """One thing that happened, of the whole runtime or of one function."""

    name: StepName
    at: int
    """Unix time."""
    role: str = ""


def get_timeline(context: Context, runtime_id: int) -> list[Step]:
    """Return the steps that a runtime took, the earliest first. Raises NotFound, Forbidden.

    All times are OpenNebula's, to the second. When a VM has booted and is ready is not recorded
    anywhere.
    """
    runtime = read.find_runtime(context, runtime_id)
    service, times = context.holdings(runtime).history(runtime.service_id, runtime.vm_ids)
    found = [Step(StepName.ASKED, runtime.created_at)]
    if service is not None:
        found.append(Step(StepName.SERVICE, service.started_at))
    for role, function in runtime.functions.items():
        if function.vm_id is not None and function.vm_id in times:
            vm = times[function.vm_id]
            found.append(Step(StepName.VM, vm.made, role))
            found.append(Step(StepName.SCHEDULED, vm.scheduled, role))
            found.append(Step(StepName.COPIED, vm.copied, role))
    # Stable: steps of the same second stay in the sequence in which they were found.
    return sorted((step for step in found if step.at), key=lambda step: step.at)
