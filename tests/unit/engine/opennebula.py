"""The stub of oned and oneflow: documents, VMs and their orders, in dictionaries."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from provision_engine.cloud.client import Credentials
from provision_engine.cloud.enums import DocumentType, ServiceState, VmState
from provision_engine.cloud.objects import Document, ScheduledAction, User, Vm, VmTemplate
from provision_engine.cloud.oned import ALL, MINE, USABLE_BY_ME, Call, Outcome
from provision_engine.deadline import Deadline
from provision_engine.engine.context import Context
from provision_engine.engine.memory import Memory
from provision_engine.engine.runtime.document import body_of, name_of
from provision_engine.engine.runtime.model import Runtime
from provision_engine.errors import ActionRefused, EngineError, Forbidden, NotFound
from tests.unit.support import OWNER, configuration, document, vm

NOW = 1_795_484_885
Events = list[tuple[Any, ...]]


class OpenNebula:
    """What users have, and what is done to it. Everybody may use everything of everybody."""

    def __init__(
        self, *documents: Document, vms: Mapping[int, tuple[int, int]] | None = None
    ) -> None:
        self.pool = {found.id: found for found in documents}
        self.vms_by_id = {i: vm(*states, vm_id=i) for i, states in (vms or {}).items()}
        self.caller = User(OWNER, is_administrator=False)
        self.oned = self.oneflow = self
        self.credentials, self.deadline = Credentials("devuser", "devpass"), Deadline(20)
        self.hidden: set[int] = set()
        """Documents that the caller may not read."""
        self.reads: list[str] = []
        self.read_documents = 0
        """How many documents all calls for a pool have returned."""
        self.events: Events = []
        """What was done to VMs and services."""
        self.purges_needed, self.purges_refused = 1, 0

    # ---- for tests -----------------------------------------------------------------------------

    def request(self, text: str = "") -> Context:
        """A request of the caller; ``text`` is the configuration."""
        cloud: Any = self
        made = Context(cloud, configuration(text), Memory(10))
        made.remembered.user(lambda: self.caller)
        return made

    def add_runtime(self, runtime: Runtime) -> None:
        body = json.loads(json.dumps(body_of(runtime)))
        made = document(body, id_=runtime.id, name=name_of(runtime))
        self.pool[runtime.id] = replace(made, locked_at=runtime.locked_at, user_id=runtime.owner_id)

    def add_service(
        self,
        state: int,
        vm_ids: Iterable[int],
        service_id: int = 850,
        name: str = "a service",
        owner_of_vms: int = OWNER,
    ) -> None:
        info = {"VM": {"UID": str(owner_of_vms)}}
        nodes = [{"deploy_id": vm_id, "vm_info": info} for vm_id in vm_ids]
        body = {"state": state, "roles": [{"name": "FAAS", "nodes": nodes}]}
        self.pool[service_id] = document(body, id_=service_id, type_=100, name=name)

    def ids(self, document_type: DocumentType) -> list[int]:
        return [found.id for found in self.pool.values() if found.type == document_type]

    # ---- the client ----------------------------------------------------------------------------

    def with_deadline(self, deadline: Deadline) -> OpenNebula:
        return self

    def together(self, *several: Call[Any]) -> list[Outcome[Any]]:
        return [self._outcome(call) for call in several]

    read_together = together

    def _outcome(self, call: Call[Any]) -> Outcome[Any]:
        named = {
            "_only_vm": lambda: self.vms([*call.arguments], with_actions=True),
            "_several_vms": lambda: self.vms(list(call.arguments[0]), with_actions=False),
        }
        method = call.method.name
        make = named.get(method) or (lambda: getattr(self, method)(*call.arguments))
        try:
            return Outcome(make())
        except EngineError as error:
            return Outcome(error=error)

    def now(self) -> float:
        return NOW + 0.5

    def user(self) -> User:
        return self.caller

    def user_ids(self) -> list[int]:
        return sorted({found.user_id for found in self.pool.values()})

    def owners_of_vms(self) -> set[int]:
        return {found.user_id for found in self.vms_by_id.values()}

    # ---- documents -----------------------------------------------------------------------------

    def document(self, document_id: int) -> Document:
        self.reads.append(f"document {document_id}")
        if document_id not in self.pool:
            raise NotFound("no such document")
        if document_id in self.hidden:
            raise Forbidden("no")
        return self.pool[document_id]

    def documents(
        self,
        document_type: int,
        whose: int = USABLE_BY_ME,
        *,
        first_id: int = ALL,
        last_id: int = ALL,
    ) -> list[Document]:
        self.reads.append(f"documents of {whose}")
        owner_id = self.caller.id if whose == MINE else whose
        found = [
            d
            for d in self.pool.values()
            if d.type == document_type
            and first_id <= d.id
            and (last_id == ALL or d.id <= last_id)
            and owner_id in (USABLE_BY_ME, d.user_id)
        ]
        self.read_documents += len(found)
        return found

    def newest_documents(
        self, document_type: int, count: int, whose: int = USABLE_BY_ME, *, offset: int = 0
    ) -> list[Document]:
        found = self.documents(document_type, whose)
        return sorted(found, key=lambda d: d.id, reverse=True)[offset : offset + count]

    def allocate_document(self, template: str, document_type: int) -> int:
        number = max(self.pool, default=0) + 1
        name, body = template.split("<NAME>")[1].split("<")[0], _body(template)
        made = document(body, id_=number, type_=document_type, name=name)
        self.pool[number] = replace(made, user_id=self.caller.id)
        return number

    def update_document(self, document_id: int, template: str) -> None:
        self.pool[document_id] = replace(self.document(document_id), body_text=_body(template))

    def delete_document(self, document_id: int) -> None:
        self.document(document_id)
        del self.pool[document_id]

    def chown_document(self, document_id: int, user_id: int) -> None:
        if not self.caller.is_administrator:
            raise Forbidden("only an administrator may")
        self.pool[document_id] = replace(self.document(document_id), user_id=user_id)

    def lock_document(self, document_id: int) -> int | None:
        held = self.document(document_id).locked_at
        if held is None:
            self.pool[document_id] = replace(self.document(document_id), locked_at=NOW)
        return held

    def unlock_document(self, document_id: int) -> None:
        self.pool[document_id] = replace(self.document(document_id), locked_at=None)

    # ---- VMs -----------------------------------------------------------------------------------

    def vm_template(self, template_id: int) -> VmTemplate:
        self.reads.append(f"VM template {template_id}")
        if template_id == 999:
            raise NotFound("no such template")
        return VmTemplate(template_id, "t", {"CPU": str(template_id)})

    def vms(self, vm_ids: Sequence[int], *, with_actions: bool = True) -> dict[int, Vm]:
        """A pool shows only that VMs have scheduled actions, not which."""
        seen = {i: self.vms_by_id[i] for i in vm_ids if i in self.vms_by_id}
        if len(vm_ids) == 1:
            return seen
        return {
            i: replace(v, scheduled_actions=None) if v.scheduled_actions else v
            for i, v in seen.items()
        }

    def vms_of_user(self, whose: int) -> list[Vm]:
        return [found for found in self.vms_by_id.values() if found.user_id == whose]

    def vm(self, vm_id: int) -> Vm:
        return self.vms_by_id[vm_id]

    def act_on_vm(self, vm_id: int, action: str) -> None:
        self.events.append((action, vm_id))

    def add_scheduled_action(self, vm_id: int, order: str) -> int:
        if self.vms_by_id[vm_id].state == VmState.DONE:
            raise ActionRefused("Unable to create Scheduled Action in DONE state")
        known = self._actions(vm_id)
        made = _action(max(known, default=-1) + 1, order)
        self.events.append(("order", vm_id, made.at - NOW))
        self._order(vm_id, known | {made.id: made})
        return made.id

    def update_scheduled_action(self, vm_id: int, action_id: int, order: str) -> None:
        assert action_id in self._actions(vm_id)
        self._order(vm_id, self._actions(vm_id) | {action_id: _action(action_id, order)})

    def delete_scheduled_action(self, vm_id: int, action_id: int) -> None:
        known = self._actions(vm_id)
        del known[action_id]
        self._order(vm_id, known)

    def _actions(self, vm_id: int) -> dict[int, ScheduledAction]:
        return {action.id: action for action in self.vms_by_id[vm_id].scheduled_actions or ()}

    def _order(self, vm_id: int, actions: Mapping[int, ScheduledAction]) -> None:
        actions_of_vm = tuple(actions.values())
        self.vms_by_id[vm_id] = replace(self.vms_by_id[vm_id], scheduled_actions=actions_of_vm)

    # ---- oneflow -------------------------------------------------------------------------------

    def delete_service(self, service_id: int) -> None:
        self.events.append(("delete", service_id))
        body = self.pool[service_id].body | {"state": ServiceState.UNDEPLOYING}
        self.pool[service_id] = replace(self.pool[service_id], body_text=json.dumps(body))

    def purge_service(self, service_id: int) -> None:
        """Recover with delete, which may report success although it failed."""
        self.events.append(("purge", service_id))
        self.purges_needed -= 1
        if self.purges_refused > 0:
            self.purges_refused -= 1
            raise ActionRefused("Service cannot be recovered")
        if self.purges_needed <= 0:
            del self.pool[service_id]

    def recover_service(self, service_id: int) -> None:
        self.events.append(("recover", service_id))


def _body(template: str) -> str:
    return template.split("[CDATA[")[1].split("]]")[0]


def _action(action_id: int, order: str) -> ScheduledAction:
    found = re.fullmatch(r'SCHED_ACTION=\[ACTION="([\w-]+)",TIME="(\d+)"\]', order)
    assert found, order
    return ScheduledAction(action_id, found[1], int(found[2]))
