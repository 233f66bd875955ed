"""A runtime with the conditions seen of its VMs. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from provision_engine.cloud.objects import Service, Vm
from provision_engine.engine.runtime import states
from provision_engine.engine.runtime.model import Phase, Runtime
from provision_engine.engine.runtime.specification import REQUIREMENTS
from provision_engine.engine.runtime.states import Condition, Reason, State
from provision_engine.engine.safety import leases

NO_MATCHING_HOST = "no host satisfies the requirements"
"""What some releases tell without naming the requirements."""


Matches = Callable[["Snapshot"], bool]
"""What a request requires of a runtime before it changes it."""


@dataclass(frozen=True)
class Observation:
    """What was seen of one function."""

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
    ends_at: int | None = None
    """When OpenNebula ends the runtime (Unix time); None without a lease."""

    @classmethod
    def unseen(cls, runtime: Runtime) -> Snapshot:
        """A runtime that is being created or replaced: nobody has looked at its VMs yet."""
        if runtime.phase is Phase.REPLACING:
            condition = Condition(State.PENDING, "VM is being replaced", Reason.REPLACING)
        else:
            condition = Condition(State.PENDING, "VM was just ordered", Reason.ORDERED)
        since = runtime.intended_at if runtime.phase is Phase.REPLACING else runtime.created_at
        seen = {role: Observation(condition, None, since) for role in runtime.functions}
        return cls(runtime, seen, leases.ends_at(runtime, ()))

    @classmethod
    def handed_over(cls, runtime: Runtime, vms: Mapping[int, Vm]) -> Snapshot:
        """A runtime that was a standby: its VMs are known, and to its user it was just born."""
        born = cls.unseen(runtime)
        seen = {
            role: dataclasses.replace(observation, vm=_vm(runtime, role, vms))
            for role, observation in born.observed.items()
        }
        own = [seen_one.vm for seen_one in seen.values() if seen_one.vm is not None]
        return cls(runtime, seen, leases.ends_at(runtime, own))

    @classmethod
    def taken(cls, runtime: Runtime, vms: Mapping[int, Vm], service: Service | None) -> Snapshot:
        """From fresh VMs, by id. The service explains functions that have none."""
        if runtime.phase in (Phase.CREATING, Phase.REPLACING):
            return cls.unseen(runtime)
        seen = {role: _observe(runtime, role, vms, service) for role in runtime.functions}
        own = [vm for vm_id in runtime.vm_ids if (vm := vms.get(vm_id))]
        return cls(runtime, seen, leases.ends_at(runtime, own))

    @property
    def id(self) -> int:
        return self.runtime.id

    @property
    def conditions(self) -> Mapping[str, Condition]:
        return {role: seen.condition for role, seen in self.observed.items()}

    @property
    def states(self) -> set[State]:
        return {condition.state for condition in self.conditions.values()}

    @property
    def vms(self) -> Mapping[str, Vm]:
        """By role, those that exist."""
        return {role: seen.vm for role, seen in self.observed.items() if seen.vm is not None}

    @property
    def is_settled(self) -> bool:
        """Whether no function is on its way to another state."""
        return not any(condition.is_moving for condition in self.conditions.values())


def _observe(
    runtime: Runtime, role: str, vms: Mapping[int, Vm], service: Service | None
) -> Observation:
    vm = _vm(runtime, role, vms)
    if vm is None:
        had_vm = runtime.functions[role].vm_id is not None
        condition = states.of_missing_vm(service, had_vm=had_vm)
        return Observation(condition, None, states.last_entry_at(service))
    return Observation(_as_requested(runtime, states.of_vm(vm)), vm, vm.since)


def _vm(runtime: Runtime, role: str, vms: Mapping[int, Vm]) -> Vm | None:
    vm_id = runtime.functions[role].vm_id
    return None if vm_id is None else vms.get(vm_id)


def _as_requested(runtime: Runtime, condition: Condition) -> Condition:
    """The condition of a VM in the light of what its user asked for."""
    requirements = runtime.scheduling.get(REQUIREMENTS, "").upper()
    if runtime.is_suspended and condition.reason is Reason.SUSPENDED:
        return dataclasses.replace(condition, state=State.SUSPENDED, text="VM is suspended")
    if requirements and condition.text == NO_MATCHING_HOST:
        return dataclasses.replace(condition, text=f"no host satisfies {requirements}")
    return condition
