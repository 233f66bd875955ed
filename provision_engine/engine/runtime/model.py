"""Serverless runtimes as the engine knows them. Pure: no calls, no JSON."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from provision_engine.cloud.objects import Attributes
from provision_engine.config import Capacity
from provision_engine.engine.runtime import sizes
from provision_engine.engine.runtime.sizes import Sizes

ROLES = ("FAAS", "DAAS")

DeviceInfo = Mapping[str, str | int | float]


class Phase(StrEnum):
    """How far the lifecycle of a runtime has come."""

    CREATING = "CREATING"
    """Intent to start a service; no client knows of the runtime yet."""
    READY = "READY"
    REPLACING = "REPLACING"
    """Intent to end the runtime's service and to start another one in its place."""
    STANDBY = "STANDBY"
    """Ready before it is requested: it belongs to a user, and no client knows of it yet."""
    TAKEN = "TAKEN"
    """Intent to hand over a standby's service to the document of a create."""
    DELETING = "DELETING"
    """Intent to end everything. For its user the runtime is gone."""

    @property
    def is_unfinished(self) -> bool:
        """Return whether an engine is at work, or died at it."""
        return self not in (Phase.READY, Phase.STANDBY)


@dataclass(frozen=True)
class Function:
    """One function: what is requested of it, or what it was made with, and its VM."""

    flavour: str = ""
    sizes: Sizes = field(default_factory=dict)
    """Those that are requested; all of them, once it is planned."""
    vm_id: int | None = None
    cpu_share: float | None = None
    """Of the host's CPU, where the operator's template decides it; else it is the size."""

    def sized(self, template: Attributes, capacity: Capacity) -> Function:
        """Return the function with all sizes; ``template`` is what the operator says of its VM."""
        complete = sizes.complete(self.sizes, template, capacity)
        share = sizes.cpu_share(self.sizes, template)
        return dataclasses.replace(self, sizes=complete, cpu_share=share)

    def quota(self) -> dict[str, float]:
        """Return what the function counts towards a user's quota, by metric."""
        share = {} if self.cpu_share is None else {"CPU": self.cpu_share}
        return {"VMS": 1, **sizes.quota_of(self.sizes), **share}


@dataclass(frozen=True)
class Runtime:
    """A serverless runtime, without the states of its VMs."""

    id: int
    name: str
    functions: Mapping[str, Function]
    """By role, FAAS first."""
    owner_id: int = -1
    """OpenNebula's id of the user who owns the document: only that user's VMs are the runtime's."""
    owner_name: str = ""
    service_id: int | None = None
    service_name: str = ""
    """Unique; it finds the service of a runtime whose service id was never written."""
    phase: Phase = Phase.READY
    scheduling: Mapping[str, str] = field(default_factory=dict)
    device_info: DeviceInfo = field(default_factory=dict)
    created_at: int = 0
    """Unix time."""
    intended_at: int = 0
    """When an unfinished phase was written (Unix time)."""
    lease_seconds: int | None = None
    """How long the runtime was requested for, from its creation or last renewal; None: for ever."""
    lease_ends_at: int | None = None
    """When that is over (Unix time)."""
    is_lease_renewed: bool = False
    """Whether ``lease_ends_at`` was written into the scheduled terminations of the VMs."""
    is_suspended: bool = False
    """Whether its user requested a suspension."""
    key: str = ""
    """The idempotency key that it was created with, and the digest of the body sent along."""
    digest: str = ""
    blueprint: str = ""
    """Of a standby: a digest of everything that it was made of."""
    worker: str = ""
    """The process that wrote an unfinished phase or works under the lock (``worker_identity``)."""
    claimed_at: int | None = None
    """The time of the lock under which that process works (Unix time)."""
    locked_at: int | None = None

    @property
    def vm_ids(self) -> list[int]:
        return [f.vm_id for f in self.functions.values() if f.vm_id is not None]

    @property
    def flavour_tuple(self) -> str:
        return "-".join(function.flavour for function in self.functions.values())

    def with_vms(self, vm_ids: Mapping[str, int | None]) -> Runtime:
        """Return the same runtime, its functions with these VMs, by role."""
        functions = {
            role: dataclasses.replace(function, vm_id=vm_ids.get(role, function.vm_id))
            for role, function in self.functions.items()
        }
        return dataclasses.replace(self, functions=functions)

    def released(self) -> Runtime:
        """Return the same runtime when no process works on it."""
        return dataclasses.replace(self, worker="", claimed_at=None)

    def without_service(self) -> Runtime:
        """Return the same runtime once its service and VMs have been ended."""
        return dataclasses.replace(
            self.with_vms(dict.fromkeys(self.functions)), service_id=None, is_suspended=False
        )
