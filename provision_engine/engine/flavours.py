"""Flavour tuple → flow template and its roles, cached for each user."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from provision_engine.cloud.client import CloudClient
from provision_engine.cloud.enums import DocumentType
from provision_engine.cloud.objects import Document
from provision_engine.engine.assignment import assign_roles
from provision_engine.engine.cache import Cache
from provision_engine.engine.dialect import FlowRole
from provision_engine.engine.specification import Specification
from provision_engine.errors import BadGateway, DeployFailed, Forbidden, NoFlowTemplate, NotFound

T = TypeVar("T")


@dataclass(frozen=True)
class FlowTemplate:
    """A service template of oneflow."""

    id: int
    roles: tuple[FlowRole, ...]
    digest: str = ""
    """Of its body."""

    @classmethod
    def from_document(cls, document: Document) -> FlowTemplate:
        """Raises NotFound where the document is not a flow template."""
        if document.type != DocumentType.FLOW_TEMPLATE:
            raise NotFound(f"Document {document.id} is not a flow template")
        roles = tuple(map(_role, document.body.get("roles", [])))
        digest = hashlib.sha256(document.body_text.encode()).hexdigest()
        return cls(document.id, roles, digest)

    def assign(self, specification: Specification) -> dict[str, FlowRole]:
        """Which role plays FAAS, and which DAAS. Raises NoFlowTemplate where one is missing."""
        flavours = {role: function.flavour for role, function in specification.functions.items()}
        names = [role.name for role in self.roles]
        indexes = assign_roles(flavours, names)
        for role in flavours:
            if role not in indexes:
                raise NoFlowTemplate(
                    f"Flow template {self.id} has no role for {role}; its roles are {names}"
                )
        return {role: self.roles[indexes[role]] for role in flavours}


def _role(body: Mapping[str, Any]) -> FlowRole:
    """A role in either dialect. Raises BadGateway where it names no VM template."""
    template_id = body.get("template_id", body.get("vm_template"))
    if not isinstance(template_id, int | str) or not str(template_id).isdigit():
        raise BadGateway(f"Role {body.get('name')} of a flow template names no VM template")
    return FlowRole(str(body.get("name")), int(template_id))


class Flavours:
    """Finds flow templates on behalf of one caller."""

    def __init__(self, cloud: CloudClient, cache: Cache, mapping: Mapping[str, int]) -> None:
        self._cloud, self._cache, self._mapping = cloud, cache, mapping

    def flow_template(self, specification: Specification) -> FlowTemplate:
        """The template for a tuple: the mapped one, else the one of that name.

        Raises NoFlowTemplate; Forbidden where the caller may use the mapped one, or any, not.
        """
        return self.of_tuple(specification.flavour_tuple, specification.sent)

    def of_tuple(self, flavours: str, sent: Mapping[str, Any]) -> FlowTemplate:
        """The same for a tuple; ``sent`` is what an error shows."""
        if flavours in self._mapping:
            return self._mapped(self._mapping[flavours], sent)
        usable = self._remember("flow templates", self._usable)
        if not usable:
            raise Forbidden("This user may use no flow template at all")
        if flavours not in usable:
            raise NoFlowTemplate(dict(sent))
        return FlowTemplate.from_document(usable[flavours])

    def vm_template(self, role: FlowRole) -> dict[str, Any]:
        """The attributes of a role's VM template.

        Raises Forbidden; DeployFailed where it does not exist, since some releases of oneflow
        would neither deploy such a service nor give up.
        """
        template_id = role.vm_template_id
        try:
            return self._remember(
                f"VM template {template_id}",
                lambda: self._cloud.oned.vm_template(template_id).attributes,
            )
        except NotFound as error:
            raise DeployFailed(
                f"Role {role.name}: VM template {template_id} does not exist"
            ) from error

    def forget(self) -> None:
        self._cache.forget(self._cloud.credentials)

    def _mapped(self, template_id: int, sent: Mapping[str, Any]) -> FlowTemplate:
        try:
            return self._remember(
                f"flow template {template_id}",
                lambda: FlowTemplate.from_document(self._cloud.oned.document(template_id)),
            )
        except NotFound as error:
            raise NoFlowTemplate(dict(sent)) from error

    def _usable(self) -> dict[str, Document]:
        """Usable templates by name; of several with one name the oldest."""
        documents = self._cloud.oned.documents(DocumentType.FLOW_TEMPLATE)
        return {d.name: d for d in sorted(documents, key=lambda d: d.id, reverse=True)}

    def _remember(self, key: str, load: Callable[[], T]) -> T:
        return self._cache.get(self._cloud.credentials, key, load)
