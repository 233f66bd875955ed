"""Find VMs of engines whose service is gone, and that no document knows.

oneflow leaves them when it, or oned, is killed while it deploys; it may remove their service then.
"""

from __future__ import annotations

import re

from provision_engine.cloud.enums import DocumentType
from provision_engine.cloud.objects import Service
from provision_engine.engine.context import Context
from provision_engine.engine.repository import readable
from provision_engine.engine.runtime import states
from provision_engine.engine.runtime.model import Runtime
from provision_engine.errors import EngineError, NotFound

VM_ID = re.compile(r'"VM_ID":\s*"?(\d{1,9})')


class Documents:
    """The documents of one user: the services and VMs that they name are not lost."""

    def __init__(self, context: Context, owner_id: int) -> None:
        found = context.cloud.oned.documents(DocumentType.RUNTIME, owner_id)
        documents = [document for document in found if document.user_id == owner_id]
        self.runtimes = readable(documents)
        read = {runtime.id for runtime in self.runtimes}
        self.unreadable = [document for document in documents if document.id not in read]
        """Those that a later engine, or none, has written: what they mention is known as well."""

    def know_service(self, service: Service) -> bool:
        """Return whether one of them names a service, by its id or, unfinished, by its name."""
        return any(
            runtime.service_id == service.id
            or (runtime.service_id is None and runtime.service_name == service.name)
            for runtime in self.runtimes
        ) or any(service.name in document.body_text for document in self.unreadable)

    def vm_ids(self) -> set[int]:
        """Return the ids of the VMs that they name."""
        mentioned = {int(n) for d in self.unreadable for n in VM_ID.findall(d.body_text)}
        return mentioned.union(*(runtime.vm_ids for runtime in self.runtimes))


def is_gone(context: Context, service_id: int) -> bool:
    """Return whether a service does not exist; one that only hides from this caller does."""
    try:
        Service.from_document(context.cloud.oned.document(service_id))
    except EngineError as error:
        return isinstance(error, NotFound)
    return False


def vms_of(context: Context, runtime: Runtime) -> list[int]:
    """Return the ids of lost VMs that may be those of a runtime whose service nobody wrote down.

    Ids only grow: its service is newer than its document. Each lost VM has to end in any case.
    """
    vms = [
        vm
        for vm in context.holdings(runtime).all_vms()
        if vm.is_of_engine and vm.service_id is not None and vm.service_id > runtime.id
        if not states.is_ending(vm) and is_gone(context, vm.service_id)
    ]
    # The documents last: who wrote one meanwhile had its service before.
    known = Documents(context, runtime.owner_id).vm_ids() if vms else set()
    return [vm.id for vm in vms if vm.id not in known]
