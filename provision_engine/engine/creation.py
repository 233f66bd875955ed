"""The making of one runtime: planned whole, written down first, and undone where it fails."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from provision_engine import log
from provision_engine.cloud import template
from provision_engine.cloud.client import CloudClient
from provision_engine.cloud.objects import Attributes
from provision_engine.cloud.oned import MINE
from provision_engine.config import Configuration
from provision_engine.engine import kept, quota, recovery, roles, services
from provision_engine.engine.document import RUNTIME_TYPE, Phase, Runtime, StoredFunction
from provision_engine.engine.flavours import Flavours, FlowTemplate
from provision_engine.engine.specification import Specification
from provision_engine.errors import (
    BackendDown,
    BackendTimeout,
    BackendUnreachable,
    BadGateway,
    DeployFailed,
    EngineError,
    NoFlowTemplate,
    NotFound,
)

TIDY_SECONDS = 0.8
"""What tidying up after a failure may take beyond the request's own time."""
UNSURE = (BackendTimeout, BackendUnreachable, BadGateway)
"""After these nobody knows whether oneflow has started the service."""


@dataclass(frozen=True)
class Plan:
    """All that a runtime will be made of, found out before anything is made."""

    flow: FlowTemplate
    functions: Mapping[str, StoredFunction]
    role_names: Mapping[str, str]
    """FAAS and DAAS → the flow template's name of that role."""
    attributes: Mapping[str, Attributes]
    """By the flow template's role name."""
    sent: Mapping[str, Any]
    """The functions as they were sent, for error messages."""
    version: Future[str]
    """Of OpenNebula. Asked for anew each time: it may have been upgraded under the engine."""


class Creation:
    """The steps of one create."""

    def __init__(
        self, cloud: CloudClient, configuration: Configuration, flavours: Flavours
    ) -> None:
        self._cloud, self._configuration, self._flavours = cloud, configuration, flavours
        self._may_have_started = False

    def plan(self, specification: Specification) -> Plan:
        """Find flow template, roles and sizes; changes nothing. Raises what a create would."""
        version = self._cloud.beside(lambda cloud: cloud.oned.version())
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
        names = {role: flow_role.name for role, flow_role in assigned.items()}
        return Plan(flow, functions, names, attributes, dict(specification.sent), version)

    def rehearse(self, specification: Specification) -> dict[str, Any]:
        """What would be made; raises what making it would. Secrets are left out."""
        plan = self.plan(specification)
        quota.check_new(self._cloud, list(plan.functions.values()))
        for role, name in plan.role_names.items():
            template_id = next(r.vm_template_id for r in plan.flow.roles if r.name == name)
            if not self._flavours.vm_template(template_id):
                raise DeployFailed(f"{role}: there is no VM template {template_id}")
        plan.version.result()
        return {
            "FLOW_TEMPLATE": plan.flow.id,
            "ROLES": {
                role: {"NAME": name, "ATTRIBUTES": _without_secrets(plan.attributes[name])}
                for role, name in plan.role_names.items()
            },
        }

    def write_intent(self, specification: Specification, plan: Plan, key: str) -> Runtime:
        """The document comes first: what is started afterwards can always be found from it."""
        now, ttl = int(time.time()), specification.lease_seconds
        service_name = services.new_name(specification.flavour_tuple)
        runtime = Runtime(
            id=-1,
            name=specification.name or service_name,
            functions=plan.functions,
            service_name=service_name,
            phase=Phase.CREATING,
            scheduling=specification.scheduling,
            device_info=specification.device_info,
            created_at=now,
            lease_seconds=ttl,
            lease_ends_at=None if ttl is None else now + ttl,
            key=key,
            digest=specification.digest if key else "",
        )
        document = template.document(runtime.document_name, runtime.body)
        try:
            document_id = self._cloud.oned.allocate_document(document, RUNTIME_TYPE)
        except UNSURE as error:
            if _is_unsure(error):
                self._withdraw_intent(service_name)
            raise
        return dataclasses.replace(runtime, id=document_id)

    def _withdraw_intent(self, service_name: str) -> None:
        """Delete a document of which nobody knows whether it was written, if it can be done."""
        cloud = self._tidying()
        try:
            for runtime in recovery.readable(cloud.oned.documents(RUNTIME_TYPE, MINE)):
                if runtime.service_name == service_name:
                    cloud.oned.delete_document(runtime.id)
        except EngineError as error:
            log.engine.error("The intent %s may have been written: %s", service_name, error)

    def start(self, runtime: Runtime, plan: Plan) -> Runtime:
        """Instantiate the service, wait for its VMs and complete the document."""
        dialect = roles.Dialect.of(plan.version.result())
        _warn_of_lines(plan, dialect)
        merge = roles.merge_template(
            runtime.service_name,
            plan.flow.roles,
            plan.attributes,
            dialect,
            is_leased=runtime.lease_seconds is not None,
        )
        service_id = self._instantiate(plan, merge)
        vm_ids = services.wait_for_vms(self._cloud, service_id, plan.role_names.values())
        by_role = {role: vm_ids[name] for role, name in plan.role_names.items()}
        return kept.complete(self._cloud, runtime, service_id, by_role)

    def undo(self, runtime: Runtime, error: BaseException) -> None:
        """Leave nothing behind. What cannot be removed now is marked for whoever comes later."""
        self._flavours.forget()
        cloud = self._tidying()
        may_still_start = self._may_have_started and _is_unsure(error)
        try:
            found = services.find(cloud, runtime.service_name)
            gone = [services.remove(cloud, service.id, cloud.deadline) for service in found]
            if all(gone) and (found or not may_still_start):
                cloud.oned.delete_document(runtime.id)
            else:
                kept.mark(cloud, runtime, Phase.DELETING)
        except EngineError as failure:
            log.engine.error("Runtime %s could not be undone yet: %s", runtime.id, failure)

    def _tidying(self) -> CloudClient:
        return self._cloud.until(self._cloud.deadline.at_least(TIDY_SECONDS))

    def _instantiate(self, plan: Plan, merge: dict[str, Any]) -> int:
        log.engine.debug(
            "Instantiating service_template %s with options %s",
            plan.flow.id,
            json.dumps({"name": merge["name"]}),
        )
        self._may_have_started = True
        try:
            return self._cloud.oneflow.instantiate_service(plan.flow.id, merge)
        except NotFound as error:  # it was removed while it was remembered here
            raise NoFlowTemplate(plan.sent) from error


def _is_unsure(error: BaseException) -> bool:
    return isinstance(error, UNSURE) and not isinstance(error, BackendDown)


def _warn_of_lines(plan: Plan, dialect: roles.Dialect) -> None:
    """Tell of texts in a VM template's CONTEXT that oneflow 7 changes, and nobody can prevent."""
    if dialect is roles.Dialect.SEVEN:
        for role, attributes in plan.attributes.items():
            for name in roles.texts_of_several_lines(attributes):
                log.engine.warning(
                    "Role %s: OpenNebula puts a comma at the end of each line of CONTEXT/%s; "
                    "keep it in one line, for example as Base64",
                    role,
                    name,
                )


def _without_secrets(attributes: Attributes) -> Attributes:
    context = {k: v for k, v in attributes.get("CONTEXT", {}).items() if k != "SR_AUTH"}
    return attributes | ({"CONTEXT": context} if context else {})
