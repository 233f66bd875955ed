"""A flow template: its roles, which of them play FAAS and DAAS, and what is merged into it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from provision_engine.cloud import values
from provision_engine.cloud.enums import DocumentType
from provision_engine.cloud.objects import Attributes, Document
from provision_engine.engine.runtime.dialect import DIALECTS, Body, Dialect
from provision_engine.engine.runtime.specification import Specification
from provision_engine.errors import BadRequest, NoFlowTemplate, NotFound
from provision_engine.text import one_line

MAX_NAME = 128


@dataclass(frozen=True)
class FlowRole:
    """A role of a flow template: its name, and the id of its VM template."""

    name: str
    vm_template_id: int
    dialects: tuple[Dialect, ...] = DIALECTS
    """Those in which it names its VM template."""
    body: Body = field(default_factory=dict)

    @classmethod
    def from_body(cls, body: object) -> FlowRole:
        """Read a role in any dialect. Raises NoFlowTemplate where it names no VM template."""
        members = values.mapping(body)
        name = values.text(members.get("name"), MAX_NAME)
        dialects = tuple(dialect for dialect in DIALECTS if dialect.vm_template in members)
        template_ids = [values.integer(members[dialect.vm_template]) for dialect in dialects]
        if not template_ids or template_ids[0] is None:
            raise NoFlowTemplate(f"Role {one_line(name)} of a flow template names no VM template")
        return cls(name, template_ids[0], dialects, members)


@dataclass(frozen=True)
class FlowTemplate:
    """A service template of oneflow."""

    id: int
    roles: tuple[FlowRole, ...]
    digest: str = ""
    """Of its body."""
    owner_name: str = ""
    body: Body = field(default_factory=dict)

    @classmethod
    def from_document(cls, document: Document) -> FlowTemplate:
        """Return the template in a document.

        Raises NotFound where the document is of another type, NoFlowTemplate where it is wrong.
        """
        if document.type != DocumentType.FLOW_TEMPLATE:
            raise NotFound(f"Document {document.id} is not a flow template")
        roles = document.body.get("roles")
        if not isinstance(roles, list):
            raise NoFlowTemplate(f"Flow template {document.id} has no list of roles")
        digest = hashlib.sha256(document.body_text.encode()).hexdigest()
        read = tuple(map(FlowRole.from_body, roles))
        return cls(document.id, read, digest, document.user_name, document.body)

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

    def check_inputs(self, dialect: Dialect) -> None:
        """Raise NoFlowTemplate where a user input or a network has to be chosen by a person."""
        bodies = [self.body, *(role.body for role in self.roles)]
        if missing := [name for body in bodies for name in dialect.missing_inputs(body)]:
            names = one_line(", ".join(missing[:8]))
            raise NoFlowTemplate(f"Flow template {self.id} has no default for its input {names}")

    def check_texts(self, dialect: Dialect, specification: Specification) -> None:
        """Raise BadRequest where oneflow would replace a part of a text of the device."""
        bodies = [self.body, *(role.body for role in self.roles)]
        names = {name for body in bodies for name in dialect.replaced_names(body)}
        for path, text in specification.texts():
            if found := next((name for name in sorted(names) if f"${name}" in text), None):
                raise BadRequest(f"{path}: OpenNebula would replace ${found} in this text")

    def merge_template(
        self,
        dialect: Dialect,
        name: str,
        attributes: Mapping[str, Attributes],
        vm_templates: Mapping[str, Attributes],
    ) -> Body:
        """Return what instantiate merges into it; both mappings are by the names of roles.

        All roles stand in it as in the template, since 6.x merges by position, 7.x by name.
        """
        roles = []
        for role in self.roles:
            merged: Body = {"name": role.name} | dialect.input_values(role.body)
            if role.name in attributes:
                added, vm_template = attributes[role.name], vm_templates[role.name]
                merged |= dialect.merged_contents(role.body, vm_template, added)
            roles.append(merged)
        # The service goes with the last of its VMs; otherwise oneflow would soon start new ones.
        head: Body = {"automatic_deletion": True, "name": name}
        return head | dialect.input_values(self.body) | {"roles": roles}


def assign_roles(flavours: Mapping[str, str], names: Sequence[str]) -> dict[str, int]:
    """Return which of the ``names`` play FAAS and DAAS, by index; ``flavours`` by FAAS and DAAS.

    By name, else named as the flavour, else by position; no role plays both.
    """
    upper = [name.upper() for name in names]
    indexes: dict[str, int] = {}

    def claim(role: str, candidates: Iterable[int]) -> None:
        free = (index for index in candidates if index not in indexes.values())
        if role not in indexes and (found := next(free, None)) is not None:
            indexes[role] = found

    def named(name: str) -> list[int]:
        return [index for index, known in enumerate(upper) if known == name.upper()]

    for role in flavours:
        claim(role, named(role))
    for role, flavour in flavours.items():
        claim(role, named(flavour))
    for position, role in enumerate(flavours):
        claim(role, [*range(len(names))[position : position + 1], *range(len(names))])
    return indexes
