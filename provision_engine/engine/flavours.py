"""Flavour tuple → flow template and its roles, cached for each user."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from provision_engine import log
from provision_engine.cloud.client import CloudClient
from provision_engine.cloud.enums import DocumentType
from provision_engine.cloud.objects import Document
from provision_engine.cloud.oned import MINE
from provision_engine.engine.memory import UserMemory
from provision_engine.engine.publishers import Publishers
from provision_engine.engine.runtime.dialect import FlowRole, assign_roles
from provision_engine.engine.runtime.specification import Specification
from provision_engine.errors import (
    BadGateway,
    DeployFailed,
    Forbidden,
    NoFlowTemplate,
    NotFound,
    UnknownFlavours,
)

PUBLISHED = "flow templates"


@dataclass(frozen=True)
class FlowTemplate:
    """A service template of oneflow."""

    id: int
    roles: tuple[FlowRole, ...]
    digest: str = ""
    """Of its body."""
    owner_name: str = ""

    @classmethod
    def from_document(cls, document: Document) -> FlowTemplate:
        """Return the template in a document.

        Raises NotFound where the document is of another type, BadGateway where it is wrong.
        """
        if document.type != DocumentType.FLOW_TEMPLATE:
            raise NotFound(f"Document {document.id} is not a flow template")
        roles = document.body.get("roles")
        if not isinstance(roles, list):
            raise BadGateway(f"Flow template {document.id} has no list of roles")
        digest = hashlib.sha256(document.body_text.encode()).hexdigest()
        return cls(document.id, tuple(map(FlowRole.from_body, roles)), digest, document.user_name)

    @property
    def role_names(self) -> list[str]:
        """Return the names of the roles, in their order."""
        return [role.name for role in self.roles]

    def assign(self, specification: Specification) -> dict[str, FlowRole]:
        """Return the roles that play FAAS and DAAS. Raises NoFlowTemplate where one is missing."""
        flavours = specification.flavours
        indexes = assign_roles(flavours, self.role_names)
        for role in flavours:
            if role not in indexes:
                known = self.role_names[:8]
                raise NoFlowTemplate(
                    f"Flow template {self.id} has no role for {role}; its roles are {known}"
                )
        return {role: self.roles[indexes[role]] for role in flavours}


class Flavours:
    """Finds flow templates on behalf of one caller."""

    def __init__(
        self,
        cloud: CloudClient,
        remembered: UserMemory,
        mapping: Mapping[str, int],
        publishers: Publishers,
    ) -> None:
        self._cloud, self._remembered, self._mapping = cloud, remembered, mapping
        self._publishers = publishers

    def flow_template(self, specification: Specification) -> FlowTemplate:
        """Return the template for a tuple: the mapped one, else the one of that name.

        Raises NoFlowTemplate; Forbidden where the caller may use the mapped one, or any, not.
        """
        return self.for_tuple(specification.flavour_tuple, specification.flavours)

    def for_tuple(self, flavours: str, by_role: Mapping[str, str]) -> FlowTemplate:
        """Return the same for a tuple; an error shows the flavours ``by_role``."""
        if flavours in self._mapping:
            return self._mapped(self._mapping[flavours], by_role)
        named = self._named(flavours)
        if named is None:
            raise UnknownFlavours.from_roles(by_role)
        return FlowTemplate.from_document(named)

    def by_name(self) -> dict[str, Document]:
        """Return the templates that count, by name: those of publishers before the caller's own.

        Of several with one name the oldest counts.
        """
        self._publishers.usable()
        return _oldest(self._own()) | _oldest(self._publishers.templates())

    def vm_template(self, role: FlowRole) -> dict[str, Any]:
        """Return the attributes of a role's VM template.

        Raises Forbidden; DeployFailed where it does not exist, since some releases of oneflow
        would neither deploy such a service nor give up.
        """
        name = f"VM template {role.vm_template_id}"
        try:
            return self._remembered.cached(
                name, lambda: self._cloud.oned.vm_template(role.vm_template_id).attributes
            )
        except NotFound as error:
            raise DeployFailed(f"Role {role.name}: {name} does not exist") from error

    def forget(self) -> None:
        """Drop the templates that are cached."""
        self._remembered.forget_cached()

    def _mapped(self, template_id: int, by_role: Mapping[str, str]) -> FlowTemplate:
        try:
            return self._remembered.cached(
                f"flow template {template_id}",
                lambda: FlowTemplate.from_document(self._cloud.oned.document(template_id)),
            )
        except NotFound as error:
            raise UnknownFlavours.from_roles(by_role) from error

    def _named(self, name: str) -> Document | None:
        """Return the template of a name. One that the cache lacks may be new."""
        was_cached = self._remembered.has_cached(PUBLISHED)
        found = self._looked_up(name)
        if found is None and was_cached:
            self.forget()
            found = self._looked_up(name)
        return found or self._searched(name)

    def _looked_up(self, name: str) -> Document | None:
        published = self._remembered.cached(
            PUBLISHED, lambda: _oldest(self._publishers.templates())
        )
        if name in published:
            return published[name]
        return self._remembered.cached("own flow templates", lambda: _oldest(self._own())).get(name)

    def _searched(self, name: str) -> Document | None:
        """Search all templates. Raises Forbidden where the caller may use none at all."""
        published, others = self._publishers.usable()
        if not published and not others:
            raise Forbidden("This user may use no flow template at all")
        if found := _oldest(published).get(name):
            return found
        if other := _oldest(others).get(name):
            log.engine.warning(
                "Flow template %s is named %s, but its owner %s is not one of flavours.publishers",
                other.id,
                other.name,
                other.user_name,
            )
        return None

    def _own(self) -> list[Document]:
        return self._cloud.oned.documents(DocumentType.FLOW_TEMPLATE, MINE)


def _oldest(documents: Iterable[Document]) -> dict[str, Document]:
    """Return the documents by name; of several with one name the oldest."""
    return {d.name: d for d in sorted(documents, key=lambda d: d.id, reverse=True)}
