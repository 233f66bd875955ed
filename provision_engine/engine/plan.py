"""Plan a runtime: find out what it will be made of, before anything is started."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from provision_engine import log
from provision_engine.cloud.client import CloudClient
from provision_engine.cloud.objects import Attributes
from provision_engine.engine.context import Context
from provision_engine.engine.runtime import attributes
from provision_engine.engine.runtime.dialect import Dialect
from provision_engine.engine.runtime.flow_template import FlowTemplate
from provision_engine.engine.runtime.model import Function, Phase, Runtime
from provision_engine.engine.runtime.specification import Specification
from provision_engine.engine.safety import services
from provision_engine.errors import (
    BadGateway,
    CapacityRefused,
    DeployFailed,
    Forbidden,
    NoFlowTemplate,
    NotFound,
    UnknownFlavours,
)


@dataclass(frozen=True)
class Plan:
    """A flow template, and what is merged into it."""

    flow: FlowTemplate
    functions: Mapping[str, Function]
    role_names: Mapping[str, str]
    """FAAS and DAAS → the flow template's name of that role."""
    attributes: Mapping[str, Attributes]
    """What the engine adds to a role's VMs, by the flow template's role name."""
    vm_templates: Mapping[str, Attributes]
    """By the flow template's role name."""
    operators: Mapping[str, Attributes]
    """What the operator says of a role's VMs, by the flow template's role name."""
    version: str
    """Of OpenNebula. Read anew each time: it may have been upgraded under the engine."""
    unsized: Sequence[str]
    """FAAS or DAAS, where the flow template itself lists the disks."""

    def check_disks(self) -> None:
        """Raise CapacityRefused where a disk cannot get its requested size."""
        for role in self.unsized:
            raise CapacityRefused(f"{role}.DISK_SIZE: the flow template lists the disks of its VM")

    def intent(self, context: Context, specification: Specification, key: str) -> Runtime:
        """Return what is stored of a new runtime before anything is started."""
        now, seconds = int(context.now()), specification.lease_seconds
        service_name = services.new_name(specification.flavour_tuple)
        return Runtime(
            id=-1,
            name=specification.name or service_name,
            functions=self.functions,
            owner_id=context.user().id,
            service_name=service_name,
            phase=Phase.CREATING,
            scheduling=specification.scheduling,
            device_info=specification.device_info,
            created_at=now,
            intended_at=now,
            lease_seconds=seconds,
            lease_ends_at=None if seconds is None else now + seconds,
            key=key,
            digest=specification.digest if key else "",
        )

    def vm_attributes(self, role_name: str) -> Attributes:
        """Return the attributes of a role's VMs: the operator's under the engine's."""
        return {**self.operators[role_name], **self.attributes[role_name]}

    def start(self, cloud: CloudClient, name: str) -> int:
        """Start the service and return its id. Raises NoFlowTemplate if its template is gone."""
        dialect = Dialect.from_version(self.version)
        if dialect.changes_lines:  # in CONTEXT, and nothing prevents it
            for role, values in self.attributes.items():
                for text_name in attributes.texts_of_several_lines(values):
                    log.engine.warning(
                        "Role %s: OpenNebula puts a comma at the end of each line of CONTEXT/%s; "
                        "keep it in one line, for example as Base64",
                        role,
                        text_name,
                    )
        merge = self.flow.merge_template(dialect, name, self.attributes, self.vm_templates)
        log.engine.debug(
            "Instantiating service_template %s with options %s",
            self.flow.id,
            json.dumps({"name": name}),
        )
        try:
            return cloud.oneflow.instantiate_service(self.flow.id, merge)
        except NotFound as error:  # it was removed while it was cached here
            flavours = {role: function.flavour for role, function in self.functions.items()}
            raise UnknownFlavours.from_roles(flavours) from error


def operators_requirements(context: Context, runtime: Runtime) -> dict[str, str] | None:
    """Return what the operator requires of the hosts of a runtime, by FAAS and DAAS.

    Returns None where its flow template or a VM template is not to be had any more.
    """
    specification = Specification(
        functions={role: Function(f.flavour) for role, f in runtime.functions.items()}
    )
    try:
        planned = plan(context, specification)
    except (NoFlowTemplate, Forbidden, DeployFailed, CapacityRefused, BadGateway):
        return None
    names = planned.role_names.items()
    return {role: attributes.requirements_of(planned.operators[name]) for role, name in names}


def plan(context: Context, specification: Specification, version: str = "") -> Plan:
    """Find flow template, roles and sizes; changes nothing.

    ``version`` is OpenNebula's if it has just been read. Raises NoFlowTemplate, Forbidden,
    BadRequest, and DeployFailed if a VM template is missing.
    """
    version = version or context.cloud.oned.version()
    dialect = Dialect.from_version(version)
    flavours, configuration = context.flavours, context.configuration
    flow = flavours.flow_template(specification)
    flow.check_inputs(dialect)
    flow.check_texts(dialect, specification)
    assigned = flow.assign(specification)
    sr_auth = context.cloud.credentials.token if configuration.sr_auth else None
    functions, added, vm_templates, operators = {}, {}, {}, {}
    unsized: list[str] = []
    for role, requested in specification.functions.items():
        name = assigned[role].name
        vm_templates[name] = flavours.vm_template(assigned[role])
        operators[name] = dialect.operators(assigned[role].body, vm_templates[name])
        functions[role] = requested.sized(operators[name], configuration.capacity)
        added[name] = attributes.role_attributes(
            requested,
            operators[name],
            specification,
            flow.id,
            configuration.capacity,
            sr_auth,
        )
        if dialect.joins_disks(assigned[role].body) and added[name].pop("DISK", None):
            unsized += [role] if "DISK_SIZE" in requested.sizes else []
    names = {role: flow_role.name for role, flow_role in assigned.items()}
    return Plan(flow, functions, names, added, vm_templates, operators, version, unsized)
