"""What belongs to a user. Everything that a document names is looked at through here.

A document's owner can write anything into it, also the id of another user's VM or service. Only
OpenNebula's own UID tells whose a VM or a service is.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from typing import Any, TypeVar

from provision_engine import log
from provision_engine.cloud.client import CloudClient
from provision_engine.cloud.enums import DocumentType
from provision_engine.cloud.objects import Document, Service, Vm, VmTimes
from provision_engine.cloud.oned import Call, Oned, Outcome
from provision_engine.deadline import Deadline
from provision_engine.errors import BadGateway, Forbidden, NotFound

Found = TypeVar("Found", Vm, VmTimes, Service)


def owned_by(owner_id: int, vms: Iterable[Vm]) -> dict[int, Vm]:
    """Return those of the VMs that belong to a user, by id."""
    return {vm.id: vm for vm in vms if vm.user_id == owner_id}


class Holdings:
    """The VMs and services of one user. Those of all others do not exist here."""

    def __init__(self, cloud: CloudClient, owner_id: int, caller_id: Callable[[], int]) -> None:
        self.cloud, self.owner_id, self._caller_id = cloud, owner_id, caller_id

    def are_the_callers(self) -> bool:
        """Return whether the caller is the owner."""
        return self._caller_id() == self.owner_id

    def with_deadline(self, deadline: Deadline) -> Holdings:
        """Return the same holdings, read with another deadline."""
        return Holdings(self.cloud.with_deadline(deadline), self.owner_id, self._caller_id)

    def vms(self, vm_ids: Sequence[int]) -> dict[int, Vm]:
        """Return those of the VMs that are not DONE, by id."""
        return self.owned(self.cloud.oned.vms(vm_ids).values())

    def all_vms(self) -> list[Vm]:
        """Return all VMs that are not DONE; none where they are too many to be read."""
        try:
            return list(self.owned(self.cloud.oned.vms_of_user(self.owner_id)).values())
        except BadGateway as error:
            log.engine.warning("Lost VMs of user %s are not found: %s", self.owner_id, error)
            return []

    def vm(self, vm_id: int) -> Vm:
        """Return a VM with its scheduled actions. Raises NotFound."""
        vm = self.cloud.oned.vm(vm_id)
        return self._checked(vm, f"VM {vm_id}")

    def service(self, service_id: int) -> Service:
        """Return a service. Raises NotFound; Forbidden where only its owner may read it."""
        return self._service(
            self.cloud.oned.together(Oned.document.call(service_id))[0], service_id
        )

    def service_and_vms(
        self, service_id: int, vm_ids: Collection[int]
    ) -> tuple[Service | None, dict[int, Vm]]:
        """Return a service, if it exists, and those of the VMs that are not DONE, in one request.

        Raises Forbidden where only its owner may read the service.
        """
        reads = [Oned.vms_call(list(vm_ids))] if vm_ids else []
        outcome, *vms = self.cloud.oned.together(Oned.document.call(service_id), *reads)
        found = self.owned(vms[0].get().values()) if vms else {}
        try:
            return self._service(outcome, service_id), found
        except NotFound:
            return None, found

    def history(
        self, service_id: int | None, vm_ids: Sequence[int]
    ) -> tuple[Service | None, dict[int, VmTimes]]:
        """Return a service, and when VMs came how far, as far as they exist, in one request."""
        reads: list[Call[Any]] = [Oned.vm_times.call(vm_id) for vm_id in vm_ids]
        if service_id is not None:
            reads.append(Oned.document.call(service_id))
        outcomes, times, service = self.cloud.oned.together(*reads) if reads else [], {}, None
        for vm_id, outcome in zip(vm_ids, outcomes, strict=False):
            with suppress(NotFound, Forbidden):
                times[vm_id] = self._checked(outcome.get(), f"VM {vm_id}")
        if service_id is not None:
            with suppress(NotFound):
                service = self._service(outcomes[-1], service_id)
        return service, times

    def services(self, first_id: int, last_id: int = -1) -> list[Service]:
        """Return the services in a range of ids, both ends included."""
        documents = self.cloud.oned.documents(
            DocumentType.SERVICE, self.owner_id, first_id=first_id, last_id=last_id
        )
        services = map(Service.from_document, documents)
        return [service for service in services if service.user_id == self.owner_id]

    def owned(self, vms: Iterable[Vm]) -> dict[int, Vm]:
        """Return those of the VMs that belong to the owner, by id."""
        return owned_by(self.owner_id, vms)

    def _service(self, outcome: Outcome[Document], service_id: int) -> Service:
        try:
            document = outcome.get()
        except Forbidden as error:
            if not self.are_the_callers():
                raise
            raise NotFound(f"User {self.owner_id} has no service {service_id}") from error
        return self._checked(Service.from_document(document), f"service {service_id}")

    def _checked(self, found: Found, name: str) -> Found:
        if found.user_id != self.owner_id:
            raise NotFound(f"User {self.owner_id} has no {name}")
        return found
