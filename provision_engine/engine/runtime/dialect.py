"""The two dialects of oneflow: how a flow template and what is merged into it are written.

Also which role of a flow template plays FAAS, and which DAAS.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from provision_engine.cloud import values
from provision_engine.cloud.objects import Attributes
from provision_engine.cloud.template import render
from provision_engine.errors import BadGateway
from provision_engine.text import one_line

MAX_NAME = 128


@dataclass(frozen=True)
class Dialect:
    """The keys of a role, and what else the releases that know them have in common."""

    name: str
    vm_template: str
    """Names the VM template of a role."""
    contents: str
    """A role's own attributes, in what is merged into the flow template."""
    are_contents_text: bool
    changes_lines: bool
    """Whether oneflow puts a comma before each newline in CONTEXT."""
    has_open_clone: bool
    """Whether document.clone needs no right to the document."""

    @classmethod
    def from_version(cls, version: str) -> Dialect:
        """Return the dialect of a version such as ``6.8.0``; later releases speak as 7 does."""
        return SIX if version.split(".")[0] in ("5", "6") else SEVEN

    def merge_template(
        self, name: str, roles: Sequence[FlowRole], attributes: Mapping[str, Attributes]
    ) -> dict[str, Any]:
        """Return what instantiate merges into the flow template; ``attributes`` by role name.

        All roles stand in it as in the template, since 6.x merges by position, 7.x by name.
        """
        # The service goes with the last of its VMs; otherwise oneflow would soon start new ones.
        merged = [{"name": role.name} | self._contents(attributes.get(role.name)) for role in roles]
        return {"automatic_deletion": True, "name": name, "roles": merged}

    def _contents(self, attributes: Attributes | None) -> dict[str, Any]:
        if attributes is None:
            return {}
        return {self.contents: render(attributes) if self.are_contents_text else attributes}


SIX = Dialect(
    "6.x",
    vm_template="vm_template",
    contents="vm_template_contents",
    are_contents_text=True,
    changes_lines=False,
    has_open_clone=False,
)
SEVEN = Dialect(
    "7.x",
    vm_template="template_id",
    contents="template_contents",
    are_contents_text=False,
    changes_lines=True,
    has_open_clone=True,
)
DIALECTS = (SEVEN, SIX)
"""A role is read in the first that it matches."""


@dataclass(frozen=True)
class FlowRole:
    """A role of a flow template: its name, and the id of its VM template."""

    name: str
    vm_template_id: int
    dialects: tuple[Dialect, ...] = DIALECTS
    """Those in which it names its VM template."""

    @classmethod
    def from_body(cls, body: object) -> FlowRole:
        """Read a role in any dialect. Raises BadGateway where it names no VM template."""
        members = values.mapping(body)
        name = values.text(members.get("name"), MAX_NAME)
        dialects = tuple(dialect for dialect in DIALECTS if dialect.vm_template in members)
        template_ids = [values.integer(members[dialect.vm_template]) for dialect in dialects]
        if not template_ids or template_ids[0] is None:
            raise BadGateway(f"Role {one_line(name)} of a flow template names no VM template")
        return cls(name, template_ids[0], dialects)


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
