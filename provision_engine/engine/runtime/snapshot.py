"""A runtime with the conditions of its VMs at one moment. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from provision_engine.cloud.objects import Service, Vm
from provision_engine.engine.runtime import states
from provision_engine.engine.runtime.model import Function, Phase, Runtime
from provision_engine.engine.runtime.specification import REQUIREMENTS
from provision_engine.engine.runtime.states import UNNAMED_REQUIREMENTS, Condition, Reason, State
from provision_engine.engine.safety import leases

Precondition = Callable[["Snapshot"], bool]
"""What a request requires of a runtime before it changes it."""


@dataclass(frozen=True)
class Observation:
    """One function, its VM and its condition."""

    condition: Condition
    vm: Vm | None = None
    since: int | None = None
    """Since when (Unix time), where that is known."""


@dataclass(frozen=True)
class Snapshot:
    """A runtime at one moment."""

    runtime: Runtime
    observed: Mapping[str, Observation]
    """By role, FAAS first."""

    @classmethod
    def pending(cls, runtime: Runtime, vms: Mapping[int, Vm] = MappingProxyType({})) -> Snapshot:
        """Return one whose functions are PENDING, since their VMs have not been read yet.

        The runtime is being created or replaced; of a standby that became it the VMs are known.
        """
        if runtime.phase is Phase.REPLACING:
            condition = Condition(State.PENDING, "VM is being replaced", Reason.REPLACING)
            since = runtime.intended_at
        else:
            condition = Condition(State.PENDING, "VM was just ordered", Reason.ORDERED)
            since = runtime.created_at
        observed = {
            role: Observation(condition, _vm(function, vms), since)
            for role, function in runtime.functions.items()
        }
        return cls(runtime, observed)

    @classmethod
    def from_vms(cls, runtime: Runtime, vms: Mapping[int, Vm], service: Service | None) -> Snapshot:
        """Return one from fresh VMs, by id. The service explains functions that have none."""
        if runtime.phase in (Phase.CREATING, Phase.REPLACING):
            return cls.pending(runtime)
        return cls(
            runtime, {role: _observe(runtime, role, vms, service) for role in runtime.functions}
        )

    @property
    def id(self) -> int:
        return self.runtime.id

    @property
    def conditions(self) -> Mapping[str, Condition]:
        return {role: observation.condition for role, observation in self.observed.items()}

    @property
    def states(self) -> set[State]:
        return {condition.state for condition in self.conditions.values()}

    @property
    def vms(self) -> Mapping[str, Vm]:
        """Return the VMs that exist, by role."""
        found = {role: observation.vm for role, observation in self.observed.items()}
        return {role: vm for role, vm in found.items() if vm is not None}

    @property
    def running_vms(self) -> list[Vm]:
        """Return the VMs of the functions that are RUNNING."""
        conditions = self.conditions
        return [vm for role, vm in self.vms.items() if conditions[role].state is State.RUNNING]

    def with_condition(self, condition: Condition, vm_ids: Collection[int]) -> Snapshot:
        """Return the same moment, with this condition of the functions with these VMs."""
        observed = {
            role: dataclasses.replace(known, condition=condition)
            if known.vm is not None and known.vm.id in vm_ids
            else known
            for role, known in self.observed.items()
        }
        return dataclasses.replace(self, observed=observed)

    @property
    def ends_at(self) -> int | None:
        """Return when OpenNebula ends the runtime (Unix time); None without a lease."""
        return leases.ends_at(self.runtime, self.vms.values())

    def is_settled(self) -> bool:
        """Return whether no function is on its way to another state."""
        return not any(condition.is_moving for condition in self.conditions.values())


def _vm(function: Function, vms: Mapping[int, Vm]) -> Vm | None:
    return None if function.vm_id is None else vms.get(function.vm_id)


def _observe(
    runtime: Runtime, role: str, vms: Mapping[int, Vm], service: Service | None
) -> Observation:
    function = runtime.functions[role]
    vm = _vm(function, vms)
    if vm is None:
        condition = states.from_service(service, had_vm=function.vm_id is not None)
        return Observation(condition, None, states.last_entry_at(service))
    return Observation(_as_requested(runtime, states.from_vm(vm)), vm, vm.since)


def _as_requested(runtime: Runtime, condition: Condition) -> Condition:
    """Return the condition of a VM, with what its user requested taken into account."""
    requirements = runtime.scheduling.get(REQUIREMENTS, "").upper()
    if runtime.is_suspended and condition.reason is Reason.SUSPENDED:
        return dataclasses.replace(condition, state=State.SUSPENDED, text="VM is suspended")
    if requirements and condition.text == UNNAMED_REQUIREMENTS:
        return dataclasses.replace(condition, text=f"no host satisfies {requirements}")
    return condition
