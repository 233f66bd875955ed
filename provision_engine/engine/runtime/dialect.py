"""The two dialects of oneflow: how a flow template and what is merged into it are written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from provision_engine.cloud.objects import Attributes
from provision_engine.cloud.template import render


class Dialect(Enum):
    """How a release of oneflow takes a role's own attributes: (member, as text)."""

    SIX = ("vm_template_contents", True)
    SEVEN = ("template_contents", False)

    @property
    def template_member(self) -> str:
        """The member of a role that names its VM template."""
        return "vm_template" if self is Dialect.SIX else "template_id"

    @classmethod
    def from_version(cls, version: str) -> Dialect:
        """From OpenNebula's version, such as ``6.8.0``; later releases speak as 7 does."""
        return cls.SIX if version.split(".")[0] in ("5", "6") else cls.SEVEN

    def contents(self, attributes: Attributes) -> dict[str, Any]:
        member, as_text = self.value
        return {member: render(attributes) if as_text else attributes}


@dataclass(frozen=True)
class FlowRole:
    """A role of a flow template: its name, and the id of its VM template."""

    name: str
    vm_template_id: int


def merge_template(
    name: str,
    roles: Sequence[FlowRole],
    attributes: Mapping[str, Attributes],
    dialect: Dialect,
) -> dict[str, Any]:
    """What instantiate merges into the flow template; ``attributes`` by role name.

    All roles stand in it in the template's order, since 6.x merges by position, 7.x by name.
    """
    # The service goes with the last of its VMs; otherwise oneflow would soon start new ones.
    return {
        "automatic_deletion": True,
        "name": name,
        "roles": [
            {"name": role.name} | dialect.contents(attributes[role.name])
            if role.name in attributes
            else {"name": role.name}
            for role in roles
        ],
    }
