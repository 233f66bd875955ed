"""An update of a runtime: what differs, whether all of it can be had, and then doing it."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from provision_engine import log
from provision_engine.cloud import template
from provision_engine.cloud.client import CloudClient
from provision_engine.cloud.objects import Vm
from provision_engine.config import Lease
from provision_engine.engine import kept, lease, quota, roles, states, view
from provision_engine.engine.document import Runtime, StoredFunction
from provision_engine.engine.specification import Function, Specification, check_length
from provision_engine.engine.states import Condition, State
from provision_engine.errors import (
    BackendTimeout,
    CapacityRefused,
    EngineError,
    Forbidden,
    Locked,
    NotFound,
    Unprocessable,
    UpdateFailed,
)

TIDY_SECONDS = 0.8


@dataclass(frozen=True)
class Resize:
    """The new sizes of one function's VM; None where a size stays."""

    role: str
    vm: Vm
    cpu: int | None
    memory_mb: int | None
    disk_size_mb: int | None

    @classmethod
    def of(cls, role: str, vm: Vm, wanted: Function) -> Resize:
        return cls(
            role,
            vm,
            cpu=_differs(wanted.cpu, view.cores(vm)),
            memory_mb=_differs(wanted.memory_mb, vm.memory_mb),
            disk_size_mb=_differs(wanted.disk_size_mb, vm.disk_size_mb),
        )

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
            cpu=None if self.cpu is None else view.cores(self.vm),
            memory_mb=None if self.memory_mb is None else self.vm.memory_mb,
        )

    def applied(self, function: StoredFunction) -> StoredFunction:
        """The function as it is to be kept."""
        return dataclasses.replace(
            function,
            cpu=self.cpu or view.cores(self.vm),
            memory_mb=self.memory_mb or self.vm.memory_mb,
            disk_size_mb=self.disk_size_mb or self.vm.disk_size_mb or function.disk_size_mb,
        )

    def is_visible_in(self, vm: Vm) -> bool:
        wanted = ((self.cpu, view.cores(vm)), (self.memory_mb, vm.memory_mb))
        return all(new is None or new == now for new, now in wanted)

    def exceeds_maximum(self) -> bool:
        """Whether the VM was made for less; many hypervisors then refuse a live resize."""
        limits = ((self.cpu, self.vm.cpu_max), (self.memory_mb, self.vm.memory_max_mb))
        return any(new and limit and new > limit for new, limit in limits)


class Update:
    """The steps of one update of one runtime, whose lock the caller holds."""

    def __init__(
        self, cloud: CloudClient, runtime: Runtime, wanted: Specification, policy: Lease
    ) -> None:
        self._cloud, self._runtime, self._wanted, self._policy = cloud, runtime, wanted, policy
        self._vms = {
            role: vm
            for vms in [cloud.oned.vms(runtime.vm_ids)]
            for role, function in runtime.functions.items()
            if function.vm_id is not None and (vm := vms.get(function.vm_id))
        }
        self._resizes = [
            Resize.of(role, vm, wanted.functions.get(role, Function()))
            for role, vm in self._vms.items()
        ]

    def check(self) -> None:
        """Raises Unprocessable, CapacityRefused, Locked, UpdateFailed or, where its lease is
        over, NotFound; changes nothing, but has a failed service recovered.
        """
        self._check_lease()
        self._check_length()
        self._check_flavours()
        self._check_states()
        self._check_disks()
        self._check_quota()
        if self._wanted.lease_seconds is not None:
            lease.granted(self._wanted.lease_seconds, self._policy)

    def apply(self) -> Runtime:
        """Do it; the runtime as it is kept afterwards.

        Disks come last, since they cannot shrink back when something else fails.
        """
        runtime = self._changed()
        self._resize()
        self._tell_vms(runtime)
        self._renew_lease()
        self._keep(runtime)
        return runtime

    # ---- checking -----------------------------------------------------------------------

    def _check_lease(self) -> None:
        if lease.is_over(self._runtime, {vm.id: vm for vm in self._vms.values()}):
            raise NotFound(f"The lease of serverless runtime {self._runtime.id} is over")

    def _check_length(self) -> None:
        """What is sent is short enough, but what it leads to may not be."""
        after = self._changed()
        check_length(after.name, after.scheduling, after.device_info)

    def _check_flavours(self) -> None:
        for role, function in self._wanted.functions.items():
            known = self._runtime.functions.get(role)
            if function.flavour and (known is None or function.flavour != known.flavour):
                now = known.flavour if known else "none"
                raise Unprocessable(
                    f"{role}.FLAVOUR cannot change from {now} to {function.flavour}"
                )

    def _check_states(self) -> None:
        for role in self._runtime.functions:
            vm = self._vms.get(role)
            condition = states.of_vm(vm) if vm else self._of_missing_vm(role)
            if condition.state is State.ERROR:
                raise UpdateFailed(self._recover(role, condition.reason))
            if condition.state is not State.RUNNING:
                raise Locked(f"{role} is {condition.state}")

    def _of_missing_vm(self, role: str) -> Condition:
        had_vm = self._runtime.functions[role].vm_id is not None
        try:
            service = self._cloud.oned.document(self._runtime.service_id or -1).body
        except NotFound:
            return states.of_missing_vm(None, had_vm)
        return states.of_missing_vm(service, had_vm)

    def _recover(self, role: str, why: str) -> dict[str, str]:
        """Have oneflow try again what failed; why it had to, and what came of it."""
        try:
            if self._runtime.service_id is None:
                return {role: why, "RECOVERY": "It has no service to recover"}
            self._cloud.oneflow.recover_service(self._runtime.service_id)
        except EngineError as error:
            return {role: why, "RECOVERY": str(error.message)}
        return {role: why, "RECOVERY": "Started; ask again in a while"}

    def _check_disks(self) -> None:
        for resize in self._resizes:
            now, new = resize.vm.disk_size_mb, resize.disk_size_mb
            if new is not None and now is not None and new < now:
                raise CapacityRefused(
                    f"{resize.role}.DISK_SIZE cannot shrink from {now} to {new} MB"
                )

        for role, wanted in self._wanted.functions.items():
            known, vm = self._runtime.functions.get(role), self._vms.get(role)
            asked = wanted.disk_size_mb
            if vm and known and vm.disk_id is None and asked not in (None, known.disk_size_mb):
                raise CapacityRefused(f"{role}.DISK_SIZE: its VM has no disk")

    def _check_quota(self) -> None:
        more = {
            "CPU": sum(_more(r.cpu, view.cores(r.vm)) for r in self._resizes),
            "MEMORY": sum(_more(r.memory_mb, r.vm.memory_mb) for r in self._resizes),
            "SYSTEM_DISK_SIZE": sum(
                _more(r.disk_size_mb, r.vm.disk_size_mb or 0) for r in self._resizes
            ),
        }
        quota.check(self._cloud, more)

    # ---- doing --------------------------------------------------------------------------

    def _resize(self) -> None:
        """Give the VMs their sizes, or their old capacity back where not all can be had."""
        done: list[Resize] = []
        try:
            for resize in self._resizes:
                if resize.changes_capacity:
                    self._cloud.oned.resize_vm(resize.vm.id, resize.template)
                    done.append(resize)
            self._confirm(done)
            self._resize_disks()
        except EngineError:
            self._give_back(done)
            raise

    def _confirm(self, done: list[Resize]) -> None:
        """Wait until the VMs run with their new sizes. A driver may refuse them silently."""
        vms = _wait_until_running(self._cloud, [resize.vm.id for resize in done])
        for resize in done:
            if resize.is_visible_in(vms[resize.vm.id]):
                continue
            if resize.exceeds_maximum():
                raise CapacityRefused(
                    f"{resize.role} was made for {resize.vm.cpu_max} cores and "
                    f"{resize.vm.memory_max_mb} MB at most"
                )
            raise UpdateFailed(f"{resize.role} keeps its size: its VM could not be resized")

    def _give_back(self, done: Iterable[Resize]) -> None:
        """A VM that is still being resized has to come to rest before it can be resized back."""
        cloud = self._cloud.until(self._cloud.deadline.at_least(TIDY_SECONDS))
        for resize in done:
            try:
                _wait_until_running(cloud, [resize.vm.id])
                cloud.oned.resize_vm(resize.vm.id, resize.undone.template)
            except EngineError as error:
                log.engine.error("%s keeps its new size: %s", resize.role, error)

    def _resize_disks(self) -> None:
        grown = []
        for resize in self._resizes:
            if resize.disk_size_mb is not None and resize.vm.disk_id is not None:
                self._cloud.oned.resize_disk(resize.vm.id, resize.vm.disk_id, resize.disk_size_mb)
                grown.append(resize.vm.id)
        _wait_until_running(self._cloud, grown)

    def _tell_vms(self, runtime: Runtime) -> None:
        """Bring SCHEDULING and DEVICE_INFO into the VMs' user templates."""
        before, after = self._runtime, runtime
        moved = before.scheduling != after.scheduling
        if not moved and before.device_info == after.device_info:
            return
        attributes = roles.user_attributes(after.scheduling, after.device_info)
        for vm in self._vms.values():
            self._cloud.oned.update_vm(vm.id, template.render(attributes))
            if moved:
                self._reschedule(vm)

    def _reschedule(self, vm: Vm) -> None:
        try:
            self._cloud.oned.reschedule_vm(vm.id)
        except EngineError as error:
            # Ordinary owners may not, and their runtime is updated all the same.
            level = log.engine.info if isinstance(error, Forbidden) else log.engine.warning
            level("VM %s is not flagged for rescheduling: %s", vm.id, error)

    def _renew_lease(self) -> None:
        if self._wanted.lease_seconds is not None:
            for vm in self._vms.values():
                lease.renew(self._cloud, vm, self._wanted.lease_seconds)

    def _changed(self) -> Runtime:
        """The runtime as it is to be kept."""
        ttl = self._wanted.lease_seconds
        sizes = {resize.role: resize for resize in self._resizes}
        functions = {}
        for role, function in self._runtime.functions.items():
            resize = sizes.get(role)
            functions[role] = resize.applied(function) if resize else function
        return dataclasses.replace(
            self._runtime,
            name=self._wanted.name or self._runtime.name,
            functions=functions,
            scheduling={**self._runtime.scheduling, **self._wanted.scheduling},
            device_info={**self._runtime.device_info, **self._wanted.device_info},
            lease_seconds=ttl or self._runtime.lease_seconds,
            lease_ends_at=int(time.time()) + ttl if ttl else self._runtime.lease_ends_at,
        )

    def _keep(self, runtime: Runtime) -> None:
        if runtime.body != self._runtime.body:
            kept.write(self._cloud, runtime)
        if runtime.document_name != self._runtime.document_name:
            self._cloud.oned.rename_document(runtime.id, runtime.document_name)


def _wait_until_running(cloud: CloudClient, vm_ids: Sequence[int]) -> Mapping[int, Vm]:
    """The VMs once all of them run. Raises UpdateFailed, BackendTimeout."""
    if not vm_ids:
        return {}
    for _ in cloud.deadline.polls():
        vms = cloud.oned.vms(vm_ids)
        seen = [states.of_vm(vms[vm_id]) for vm_id in vm_ids if vm_id in vms]
        if any(condition.state is State.ERROR for condition in seen):
            raise UpdateFailed("; ".join(condition.reason for condition in seen))
        if len(seen) == len(vm_ids) and all(c.state is State.RUNNING for c in seen):
            return vms
    raise BackendTimeout("The VMs are still being resized")


def _differs(wanted: int | None, now: int | None) -> int | None:
    return None if now is None or wanted == now else wanted


def _more(new: int | None, now: int) -> int:
    return 0 if new is None else new - now
