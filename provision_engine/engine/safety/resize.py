"""Give VMs new sizes: all of them, or none."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from provision_engine import log
from provision_engine.cloud.client import CloudClient
from provision_engine.cloud.objects import Vm
from provision_engine.engine import quota
from provision_engine.engine.runtime import sizes, states
from provision_engine.engine.runtime.model import Function
from provision_engine.engine.runtime.sizes import SIZES, Sizes
from provision_engine.engine.runtime.snapshot import Snapshot
from provision_engine.engine.runtime.states import State
from provision_engine.engine.time_limits import SHRINK_LEAST_SECONDS
from provision_engine.errors import BackendTimeout, CapacityRefused, EngineError, UpdateFailed

DISK = "DISK_SIZE"
CAPACITY = ("MEMORY", "CPU")
"""Memory first: it can be given back, and not every guest gives up a CPU."""


@dataclass(frozen=True)
class Resize:
    """New sizes for the VM of one function."""

    role: str
    vm: Vm
    before: Sizes
    """All that the VM has."""
    changes: Sizes
    """Those that are to differ."""

    @property
    def growth(self) -> dict[str, int]:
        """Return how much more of each size it takes."""
        return {name: size - self.before[name] for name, size in self.changes.items()}

    @property
    def shrinks_disk(self) -> bool:
        return self.growth.get(DISK, 0) < 0

    def resized(self, function: Function) -> Function:
        """Return the function as it is to be stored."""
        all_sizes = {**function.sizes, **self.before, **self.changes}
        return dataclasses.replace(function, sizes=all_sizes)

    @property
    def maxima(self) -> dict[str, int | None]:
        """Return how far the VM can be resized while it runs."""
        return {n: size.maximum_in_vm(self.vm) for n, size in SIZES.items() if size.maximum}

    def exceeds_maximum(self) -> bool:
        """Return whether the VM was created for less: many hypervisors then refuse a resize."""
        limits = self.maxima
        return any(size > (limits.get(name) or size) for name, size in self.changes.items())


def between(snapshot: Snapshot, requested: Mapping[str, Function]) -> list[Resize]:
    """Return the resizes of a runtime's VMs to the requested sizes, of those that they have."""
    resizes = []
    for role, vm in snapshot.vms.items():
        before, after = sizes.from_vm(vm), requested.get(role, Function()).sizes
        changes = {name: size for name, size in after.items() if size != before.get(name, size)}
        resizes.append(Resize(role, vm, before, changes))
    return resizes


def check(
    cloud: CloudClient,
    resizes: Sequence[Resize],
    requested: Mapping[str, Function],
    functions: Mapping[str, Function],
) -> None:
    """Raise CapacityRefused where disks would shrink or a quota leaves no room."""
    more: Counter[str] = Counter()
    for resize in resizes:
        if resize.shrinks_disk:
            now, new = resize.before[DISK], resize.changes[DISK]
            raise CapacityRefused(f"{resize.role}.DISK_SIZE cannot shrink from {now} to {new} MB")
        stored = functions[resize.role].sizes[DISK]
        size = requested.get(resize.role, Function()).sizes.get(DISK, stored)
        if resize.vm.disk_id is None and size != stored:
            raise CapacityRefused(f"{resize.role}.DISK_SIZE: its VM has no disk")
        more.update(sizes.quota_of(resize.growth))
    quota.check(cloud, more)


def apply(cloud: CloudClient, resizes: Sequence[Resize]) -> None:
    """Give the VMs their sizes, or their old capacity back where not all of it is available.

    One size after the other: a hypervisor that refuses the second of a call keeps the first, and
    OpenNebula does not know. Disks come last, since they cannot shrink back.
    """
    done: list[tuple[Resize, str]] = []
    try:
        for name in CAPACITY:
            concerned = [resize for resize in resizes if name in resize.changes]
            for resize in sorted(
                concerned, key=lambda r: r.growth[name]
            ):  # what shrinks makes room
                size = resize.changes[name]
                done.append((resize, name))  # before the call: its response may be lost
                _resize(cloud, resize.vm, dict.fromkeys(SIZES[name].attributes, size))
            _confirm(cloud, concerned, name)
        _resize_disks(cloud, resizes)
    except EngineError:
        _give_back(cloud, done)
        raise


def _resize(cloud: CloudClient, vm: Vm, attributes: Mapping[str, float]) -> None:
    whole = {a: int(size) if size == int(size) else size for a, size in attributes.items()}
    lines = [f"{attribute}={size}" for attribute, size in whole.items()]
    cloud.oned.resize_vm(vm.id, "\n".join(lines))


def _confirm(cloud: CloudClient, resizes: Sequence[Resize], name: str) -> None:
    """Wait until the VMs run with a new size. A driver may refuse it silently."""
    vms = _wait_until_running(cloud, [resize.vm.id for resize in resizes])
    for resize in resizes:
        vm = vms[resize.vm.id]
        if sizes.from_vm(vm).get(name) == resize.changes[name]:
            continue
        if resize.exceeds_maximum():
            limits = " and ".join(f"{n} {SIZES[m].unit}" for m, n in resize.maxima.items() if n)
            raise CapacityRefused(f"{resize.role} was created for {limits} at most")
        reason = states.explain(vm.error).text or "its VM could not be resized"
        raise UpdateFailed(f"{resize.role} keeps its size: {reason}")


def _give_back(cloud: CloudClient, done: Sequence[tuple[Resize, str]]) -> None:
    """Wait until a resize ends, then restore the old capacity."""
    cloud = cloud.with_deadline(cloud.deadline.at_least(SHRINK_LEAST_SECONDS))
    for resize, name in reversed(done):
        try:
            vm = _wait_until_running(cloud, [resize.vm.id])[resize.vm.id]
            if sizes.from_vm(vm).get(name) != resize.before[name]:
                former = {a: of(resize.vm) for a, of in SIZES[name].attributes.items()}
                _resize(cloud, vm, {a: size or resize.before[name] for a, size in former.items()})
        except EngineError as error:
            log.engine.error("%s keeps its new size: %s", resize.role, error)


def _resize_disks(cloud: CloudClient, resizes: Iterable[Resize]) -> None:
    grown = []
    for resize in resizes:
        if DISK in resize.changes and resize.vm.disk_id is not None:
            cloud.oned.resize_disk(resize.vm.id, resize.vm.disk_id, resize.changes[DISK])
            grown.append(resize)
    _confirm(cloud, grown, DISK)


def _wait_until_running(cloud: CloudClient, vm_ids: Sequence[int]) -> Mapping[int, Vm]:
    """Return the VMs once all of them run. Raises UpdateFailed, BackendTimeout."""
    if not vm_ids:
        return {}
    for _ in cloud.deadline.polls():
        vms = cloud.oned.vms(vm_ids)
        conditions = [states.from_vm(vms[vm_id]) for vm_id in vm_ids if vm_id in vms]
        if any(condition.state is State.ERROR for condition in conditions):
            raise UpdateFailed("; ".join(condition.text for condition in conditions))
        if len(conditions) == len(vm_ids) and {c.state for c in conditions} == {State.RUNNING}:
            return vms
    raise BackendTimeout("The VMs are still being resized")
