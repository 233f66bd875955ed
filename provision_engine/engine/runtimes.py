"""What can be done with serverless runtimes, on behalf of one caller: each reads as its steps."""

from __future__ import annotations

import dataclasses
import json
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from provision_engine import log
from provision_engine.cloud import template
from provision_engine.cloud.client import CloudClient
from provision_engine.cloud.objects import Attributes, Vm
from provision_engine.config import Configuration
from provision_engine.engine import roles, services, view
from provision_engine.engine.document import RUNTIME_TYPE, Phase, Runtime, StoredFunction
from provision_engine.engine.flavours import Cache, Flavours, FlowTemplate
from provision_engine.engine.locks import locked
from provision_engine.engine.specification import Specification
from provision_engine.engine.update import Update
from provision_engine.errors import (
    BackendTimeout,
    BackendUnreachable,
    BadGateway,
    EngineError,
    NoFlowTemplate,
    NotFound,
)

TIDY_SECONDS = 0.8
"""What tidying up after a failure may take beyond the request's own time."""
REMOVAL_SECONDS = 5.0
"""How long a removal is watched; OpenNebula goes on with it by itself."""
INSTANTIATE_UNSURE = (BackendTimeout, BackendUnreachable, BadGateway)
"""After these nobody knows whether oneflow has started the service."""

Json = dict[str, Any]


@dataclass(frozen=True)
class Plan:
    """All that a runtime will be made of, found out before anything is made."""

    flow: FlowTemplate
    functions: Mapping[str, StoredFunction]
    role_names: Mapping[str, str]
    """FAAS and DAAS → the flow template's name of that role."""
    attributes: Mapping[str, Attributes]
    """By the flow template's role name."""


class Runtimes:
    """The caller's serverless runtimes."""

    def __init__(self, cloud: CloudClient, configuration: Configuration, cache: Cache) -> None:
        self._cloud = cloud
        self._configuration = configuration
        self._flavours = Flavours(cloud, cache, configuration.mapping)

    def create_runtime(self, specification: Specification) -> Json:
        """Make a runtime. When this raises, nothing of it is left, or it is marked as waste.

        Its functions are PENDING: they were just born, and nobody has looked at them yet.
        """
        version = self._cloud.beside(lambda cloud: cloud.oned.version())
        plan = self._plan(specification)
        runtime = self._write_intent(specification, plan)
        sent = False
        try:
            merge = self._merge_template(runtime, plan, version.result())
            sent = True
            service_id = self._instantiate(plan, merge)
            vm_ids = services.wait_for_vms(self._cloud, service_id, plan.role_names.values())
            return view.newborn(self._complete(runtime, plan, service_id, vm_ids))
        except BaseException as error:
            self._undo(runtime, sure=not sent or not isinstance(error, INSTANTIATE_UNSURE))
            raise

    def find_runtime(self, runtime_id: int) -> Runtime:
        """A runtime as it is kept. Raises NotFound, Forbidden, Unauthorized."""
        runtime = Runtime.of(self._cloud.oned.document(runtime_id))
        if runtime.phase is Phase.DELETING:
            raise NotFound(f"Serverless runtime {runtime_id} is being deleted")
        return runtime

    def get_runtime(self, runtime_id: int) -> Json:
        """A runtime with the fresh states of its VMs."""
        return self._look(self.find_runtime(runtime_id))

    def update_runtime(self, runtime: Runtime, wanted: Specification) -> Json:
        """Change what is given and differs; all of it is checked before any of it is done."""
        with locked(self._cloud, runtime.id, self._configuration.lock.stale_seconds):
            runtime = self.find_runtime(runtime.id)
            update = Update(self._cloud, runtime, wanted)
            update.check()
            runtime = update.apply()
        return self._look(runtime)

    def delete_runtime(self, runtime: Runtime) -> None:
        """End a runtime: its service with the VMs, then its document."""
        with locked(self._cloud, runtime.id, self._configuration.lock.stale_seconds):
            runtime = self.find_runtime(runtime.id)
            if self._remove_services(runtime):
                self._cloud.oned.delete_document(runtime.id)
            else:
                self._mark(self._cloud, runtime, Phase.DELETING)

    def check_login(self) -> None:
        """Raises Unauthorized where OpenNebula does not know the caller."""
        self._cloud.oned.version()

    # ---- creating -----------------------------------------------------------------------

    def _plan(self, specification: Specification) -> Plan:
        flow = self._flavours.flow_template(specification)
        assigned = flow.assign(specification)
        capacity, credentials = self._configuration.capacity, self._cloud.credentials
        sr_auth = roles.sr_auth(credentials) if self._configuration.context.sr_auth else None
        functions, attributes = {}, {}
        for role, function in specification.functions.items():
            vm_template = self._flavours.vm_template(assigned[role].vm_template_id)
            functions[role] = roles.size(function, vm_template, capacity)
            attributes[assigned[role].name] = roles.role_attributes(
                functions[role], vm_template, specification, flow.id, capacity, sr_auth
            )
        return Plan(flow, functions, {r: f.name for r, f in assigned.items()}, attributes)

    def _write_intent(self, specification: Specification, plan: Plan) -> Runtime:
        """The document comes first: what is started afterwards can always be found from it."""
        service_name = f"{specification.flavour_tuple}_{uuid.uuid4()}"
        runtime = Runtime(
            id=-1,
            name=specification.name or service_name,
            functions=plan.functions,
            service_name=service_name,
            phase=Phase.CREATING,
            scheduling=specification.scheduling,
            device_info=specification.device_info,
            created_at=int(time.time()),
        )
        document = template.document(runtime.document_name, runtime.body)
        document_id = self._cloud.oned.allocate_document(document, RUNTIME_TYPE)
        return dataclasses.replace(runtime, id=document_id)

    def _merge_template(self, runtime: Runtime, plan: Plan, version: str) -> Json:
        dialect = roles.Dialect.of(version)
        return roles.merge_template(runtime.service_name, plan.flow.roles, plan.attributes, dialect)

    def _instantiate(self, plan: Plan, merge: Json) -> int:
        log.engine.debug(
            "Instantiating service_template %s with options %s",
            plan.flow.id,
            json.dumps({"name": merge["name"]}),
        )
        try:
            return self._cloud.oneflow.instantiate_service(plan.flow.id, merge)
        except NotFound as error:
            raise NoFlowTemplate(str(error.message)) from error

    def _complete(
        self, runtime: Runtime, plan: Plan, service_id: int, vm_ids: Mapping[str, int]
    ) -> Runtime:
        by_role = {role: vm_ids[name] for role, name in plan.role_names.items()}
        runtime = dataclasses.replace(
            runtime.with_vms(by_role), service_id=service_id, phase=Phase.READY
        )
        self._write(runtime)
        return runtime

    def _undo(self, runtime: Runtime, sure: bool) -> None:
        """Leave nothing behind. What cannot be removed now is marked for whoever comes later.

        When nobody is ``sure`` whether oneflow has started the service, it may still appear.
        """
        self._flavours.forget()
        cloud = self._cloud.until(self._cloud.deadline.at_least(TIDY_SECONDS))
        try:
            found = services.find(cloud, runtime.service_name)
            gone = [services.remove(cloud, service.id, cloud.deadline) for service in found]
            if all(gone) and (found or sure):
                cloud.oned.delete_document(runtime.id)
            else:
                self._mark(cloud, runtime, Phase.DELETING)
        except EngineError as error:
            log.engine.error("Runtime %s could not be undone yet: %s", runtime.id, error)

    # ---- reading and keeping ------------------------------------------------------------

    def _look(self, runtime: Runtime) -> Json:
        vms = self._cloud.oned.vms(runtime.vm_ids)
        return view.render(runtime, vms, self._service_behind(runtime, vms))

    def _service_behind(self, runtime: Runtime, vms: Mapping[int, Vm]) -> Mapping[str, Any] | None:
        """The body of the service, asked for only where a function lacks its VM."""
        complete = len(vms) == len(runtime.functions)
        if complete or runtime.service_id is None:
            return None
        try:
            return self._cloud.oned.document(runtime.service_id).body
        except NotFound:
            return None

    def _remove_services(self, runtime: Runtime) -> bool:
        """Whether all that runs for the runtime was gone before REMOVAL_SECONDS were over."""
        deadline = self._cloud.deadline.at_most(REMOVAL_SECONDS)
        gone = [services.remove(self._cloud, id_, deadline) for id_ in self._service_ids(runtime)]
        return all(gone)

    def _service_ids(self, runtime: Runtime) -> list[int]:
        if runtime.service_id is not None:
            return [runtime.service_id]
        return [s.id for s in services.find(self._cloud, runtime.service_name)]

    def _mark(self, cloud: CloudClient, runtime: Runtime, phase: Phase) -> None:
        body = dataclasses.replace(runtime, phase=phase).body
        cloud.oned.update_document(runtime.id, template.document_body(body))

    def _write(self, runtime: Runtime) -> None:
        self._cloud.oned.update_document(runtime.id, template.document_body(runtime.body))
