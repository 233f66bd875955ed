"""Giving VMs new sizes: all of them, or none."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from provision_engine import log
from provision_engine.cloud.client import CloudClient
from provision_engine.cloud.objects import Vm
from provision_engine.engine import quota
from provision_engine.engine.runtime import states
from provision_engine.engine.runtime.model import Function
from provision_engine.engine.runtime.snapshot import cores
from provision_engine.engine.runtime.specification import RequestedFunction
from provision_engine.engine.runtime.states import State
from provision_engine.errors import BackendTimeout, CapacityRefused, EngineError, UpdateFailed

UNDO_LEAST_SECONDS = 0.75
"""What giving capacity back may take when the request's own time is over."""


@dataclass(frozen=True)
class Resize:
    """The new sizes of one function's VM; None where a size stays."""

    role: str
    vm: Vm
    cpu: int | None
    memory_mb: int | None
    disk_size_mb: int | None

    @classmethod
    def between(cls, role: str, vm: Vm, requested: RequestedFunction) -> Resize:
        return cls(
            role,
            vm,
            cpu=_differs(requested.cpu, cores(vm)),
            memory_mb=_differs(requested.memory_mb, vm.memory_mb),
            disk_size_mb=_differs(requested.disk_size_mb, vm.disk_size_mb),
        )

    @classmethod
    def to(cls, role: str, vm: Vm, function: Function) -> Resize:
        """The resize that gives a VM the sizes of a function."""
        requested = RequestedFunction(
            function.flavour, function.cpu, function.memory_mb, function.disk_size_mb
        )
        return cls.between(role, vm, requested)

    @property
    def shrinks_disk(self) -> bool:
        return (self.disk_size_mb or 0) < (self.vm.disk_size_mb or 0) and bool(self.disk_size_mb)

    @property
    def changes_capacity(self) -> bool:
        return self.cpu is not None or self.memory_mb is not None

    @property
    def template(self) -> str:
        """For vm.resize: only what changes, the rest stays as it is."""
        lines = []
        if self.cpu is not None:
            lines += [f"VCPU={self.cpu}", f"CPU={self.cpu}"]
        if self.memory_mb is not None:
            lines += [f"MEMORY={self.memory_mb}"]
        return "\n".join(lines)

    @property
    def undone(self) -> Resize:
        """The resize that gives the VM its old capacity back."""
        return dataclasses.replace(
            self,
            cpu=None if self.cpu is None else cores(self.vm),
            memory_mb=None if self.memory_mb is None else self.vm.memory_mb,
        )

    def applied(self, function: Function) -> Function:
        """The function as it is to be stored."""
        return dataclasses.replace(
            function,
            cpu=self.cpu or cores(self.vm),
            memory_mb=self.memory_mb or self.vm.memory_mb,
            disk_size_mb=self.disk_size_mb or self.vm.disk_size_mb or function.disk_size_mb,
        )

    def is_visible_in(self, vm: Vm) -> bool:
        pairs = ((self.cpu, cores(vm)), (self.memory_mb, vm.memory_mb))
        return all(new is None or new == now for new, now in pairs)

    def exceeds_maximum(self) -> bool:
        """Whether the VM was created for less; many hypervisors then refuse a live resize."""
        limits = ((self.cpu, self.vm.cpu_max), (self.memory_mb, self.vm.memory_max_mb))
        return any(new and limit and new > limit for new, limit in limits)


def check(
    cloud: CloudClient,
    resizes: Sequence[Resize],
    requested: Mapping[str, RequestedFunction],
    functions: Mapping[str, Function],
) -> None:
    """Raises CapacityRefused where disks would shrink or a quota leaves no room."""
    for resize in resizes:
        now, new = resize.vm.disk_size_mb, resize.disk_size_mb
        if resize.shrinks_disk:
            raise CapacityRefused(f"{resize.role}.DISK_SIZE cannot shrink from {now} to {new} MB")
        size = requested.get(resize.role, RequestedFunction()).disk_size_mb
        has_no_disk = resize.vm.disk_id is None
        if has_no_disk and size not in (None, functions[resize.role].disk_size_mb):
            raise CapacityRefused(f"{resize.role}.DISK_SIZE: its VM has no disk")
    more = {
        "CPU": sum(_more(r.cpu, cores(r.vm)) for r in resizes),
        "MEMORY": sum(_more(r.memory_mb, r.vm.memory_mb) for r in resizes),
        "SYSTEM_DISK_SIZE": sum(_more(r.disk_size_mb, r.vm.disk_size_mb or 0) for r in resizes),
    }
    quota.check(cloud, more)


def apply(cloud: CloudClient, resizes: Sequence[Resize]) -> None:
    """Give the VMs their sizes, or their old capacity back where not all of it is available.

    Disks come last, since they cannot shrink back when something else fails.
    """
    done: list[Resize] = []
    try:
        for resize in resizes:
            if resize.changes_capacity:
                cloud.oned.resize_vm(resize.vm.id, resize.template)
                done.append(resize)
        _confirm(cloud, done)
        _resize_disks(cloud, resizes)
    except EngineError:
        _give_back(cloud, done)
        raise


def _confirm(cloud: CloudClient, done: Sequence[Resize]) -> None:
    """Wait until the VMs run with their new sizes. A driver may refuse them silently."""
    vms = _wait_until_running(cloud, [resize.vm.id for resize in done])
    for resize in done:
        if resize.is_visible_in(vms[resize.vm.id]):
            continue
        if resize.exceeds_maximum():
            raise CapacityRefused(
                f"{resize.role} was created for {resize.vm.cpu_max} cores and "
                f"{resize.vm.memory_max_mb} MB at most"
            )
        raise UpdateFailed(f"{resize.role} keeps its size: its VM could not be resized")


def _give_back(cloud: CloudClient, done: Iterable[Resize]) -> None:
    """A VM that is still being resized has to come to rest before it can be resized back."""
    cloud = cloud.until(cloud.deadline.at_least(UNDO_LEAST_SECONDS))
    for resize in done:
        try:
            _wait_until_running(cloud, [resize.vm.id])
            cloud.oned.resize_vm(resize.vm.id, resize.undone.template)
        except EngineError as error:
            log.engine.error("%s keeps its new size: %s", resize.role, error)


def _resize_disks(cloud: CloudClient, resizes: Iterable[Resize]) -> None:
    grown = []
    for resize in resizes:
        if resize.disk_size_mb is not None and resize.vm.disk_id is not None:
            cloud.oned.resize_disk(resize.vm.id, resize.vm.disk_id, resize.disk_size_mb)
            grown.append(resize.vm.id)
    _wait_until_running(cloud, grown)


def _wait_until_running(cloud: CloudClient, vm_ids: Sequence[int]) -> Mapping[int, Vm]:
    """The VMs once all of them run. Raises UpdateFailed, BackendTimeout."""
    if not vm_ids:
        return {}
    for _ in cloud.deadline.polls():
        vms = cloud.oned.vms(vm_ids)
        seen = [states.of_vm(vms[vm_id]) for vm_id in vm_ids if vm_id in vms]
        if any(condition.state is State.ERROR for condition in seen):
            raise UpdateFailed("; ".join(condition.text for condition in seen))
        if len(seen) == len(vm_ids) and all(c.state is State.RUNNING for c in seen):
            return vms
    raise BackendTimeout("The VMs are still being resized")


def _differs(requested: int | None, now: int | None) -> int | None:
    return None if now is None or requested == now else requested


def _more(new: int | None, now: int) -> int:
    return 0 if new is None else new - now
