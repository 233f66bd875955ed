"""Pure: a specification and a VM template become a role's VM attributes, in either dialect."""

from __future__ import annotations

import base64
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from provision_engine.cloud.client import Credentials
from provision_engine.cloud.objects import Attributes
from provision_engine.cloud.template import render
from provision_engine.config import Capacity
from provision_engine.engine import lease
from provision_engine.engine.document import StoredFunction
from provision_engine.engine.specification import Function, Specification


class Dialect(Enum):
    """How a release of oneflow wants a role's own attributes: (member, as text)."""

    SIX = ("vm_template_contents", True)
    SEVEN = ("template_contents", False)

    @property
    def template_member(self) -> str:
        """The member of a role that names its VM template."""
        return "vm_template" if self is Dialect.SIX else "template_id"

    @classmethod
    def of(cls, version: str) -> Dialect:
        """From the version that oned tells, such as ``6.8.0``; later ones speak as 7 does."""
        return cls.SIX if version.split(".")[0] in ("5", "6") else cls.SEVEN

    def contents(self, attributes: Attributes) -> dict[str, Any]:
        member, as_text = self.value
        return {member: render(attributes) if as_text else attributes}


@dataclass(frozen=True)
class FlowRole:
    """A role of a flow template: its name, and the id of its VM template."""

    name: str
    vm_template_id: int


def assign_roles(flavours: Mapping[str, str], names: Sequence[str]) -> dict[str, int]:
    """The places, in ``names``, of the roles that play FAAS and DAAS; ``flavours`` by these.

    By name, else named as the flavour, else by position; no role plays both.
    """
    upper = [name.upper() for name in names]
    places: dict[str, int] = {}

    def claim(role: str, wanted: Iterable[int]) -> None:
        free = (place for place in wanted if place not in places.values())
        if role not in places and (found := next(free, None)) is not None:
            places[role] = found

    def named(name: str) -> list[int]:
        return [place for place, known in enumerate(upper) if known == name.upper()]

    for role in flavours:
        claim(role, named(role))
    for role, flavour in flavours.items():
        claim(role, named(flavour))
    for position, role in enumerate(flavours):
        claim(role, [*range(len(names))[position : position + 1], *range(len(names))])
    return places


def merge_template(
    name: str,
    roles: Sequence[FlowRole],
    attributes: Mapping[str, Attributes],
    dialect: Dialect,
    is_leased: bool = False,
) -> dict[str, Any]:
    """What instantiate merges into the flow template; ``attributes`` by role name.

    All roles stand in it in the template's order, since 6.x merges by position, 7.x by name.
    """
    # The service of a leased runtime goes with the last of its VMs.
    ends_with_vms = {"automatic_deletion": True} if is_leased else {}
    return ends_with_vms | {
        "name": name,
        "roles": [
            {"name": role.name} | dialect.contents(attributes[role.name])
            if role.name in attributes
            else {"name": role.name}
            for role in roles
        ],
    }


def size(function: Function, template: Attributes, capacity: Capacity) -> StoredFunction:
    """The capacity of a function: as asked, else its VM template's, else the configuration's."""
    disk = first_disk(template)
    return StoredFunction(
        flavour=function.flavour,
        cpu=function.cpu or _size(template.get("CPU")) or capacity.cpu.default_cores,
        memory_mb=function.memory_mb or _size(template.get("MEMORY")) or capacity.memory.default_mb,
        disk_size_mb=function.disk_size_mb or _size(disk.get("SIZE")) or capacity.disk.default_mb,
    )


def role_attributes(
    function: StoredFunction,
    template: Attributes,
    specification: Specification,
    flow_template_id: int,
    capacity: Capacity,
    sr_auth: str | None,
) -> Attributes:
    """A role's VM attributes: texts, vectors as dictionaries, several of a name as a list."""
    attributes: Attributes = {
        "CPU": str(function.cpu),
        "VCPU": str(function.cpu),
        "MEMORY": str(function.memory_mb),
        "VCPU_MAX": str(function.cpu * capacity.cpu.multiplier),
        "MEMORY_MAX": str(function.memory_mb * capacity.memory.multiplier),
        "MEMORY_RESIZE_MODE": capacity.memory.resize_mode,
        "HOT_RESIZE": {"CPU_HOT_ADD_ENABLED": "YES", "MEMORY_HOT_ADD_ENABLED": "YES"},
    }
    if disks := _disks(template, function.disk_size_mb):
        attributes["DISK"] = disks
    if context := _context(template, sr_auth):
        attributes["CONTEXT"] = context
    if specification.lease_seconds is not None:
        attributes["SCHED_ACTION"] = lease.action(f"+{specification.lease_seconds}")
    attributes |= user_attributes(specification.scheduling, specification.device_info)
    return attributes | {"FLAVOURS": str(flow_template_id)}


def user_attributes(
    scheduling: Mapping[str, str], device_info: Mapping[str, str | int | float]
) -> Attributes:
    """The attributes of a VM's user template that follow from what the device tells."""
    attributes: Attributes = {}
    if requirements := scheduling.get("REQUIREMENTS"):
        attributes["SCHED_REQUIREMENTS"] = requirements.upper()
    if policy := scheduling.get("POLICY"):
        attributes["SCHED_RANK"] = policy.upper()
    if device_info:
        attributes["DEVICE_INFO"] = {name: str(value) for name, value in device_info.items()}
    return attributes


def texts_of_several_lines(attributes: Attributes) -> list[str]:
    """The names of the texts in CONTEXT that hold a newline, which oneflow 7 changes."""
    return [name for name, text in attributes.get("CONTEXT", {}).items() if "\n" in text]


def sr_auth(credentials: Credentials) -> str:
    """What a runtime logs in to OpenNebula with: the base64 of ``user:password``."""
    return base64.b64encode(credentials.session.encode()).decode()


def first_disk(template: Attributes) -> Attributes:
    return next(iter(_vectors(template, "DISK")), {})


def _disks(template: Attributes, size_mb: int) -> list[Attributes]:
    """All disks of the VM template, the first one with the wanted size."""
    disks = _vectors(template, "DISK")
    return [disk | ({"SIZE": str(size_mb)} if n == 0 else {}) for n, disk in enumerate(disks)]


def _context(template: Attributes, sr_auth: str | None) -> Attributes:
    context = next(iter(_vectors(template, "CONTEXT")), {})
    # oneflow 7 puts commas into texts of several lines; a script survives that as base64.
    script = context.get("START_SCRIPT", "")
    if "\n" in script:
        context = {name: value for name, value in context.items() if name != "START_SCRIPT"}
        context["START_SCRIPT_BASE64"] = base64.b64encode(script.encode()).decode()
    return context | ({"SR_AUTH": sr_auth} if sr_auth else {})


def _vectors(template: Attributes, name: str) -> list[Attributes]:
    values = template.get(name, [])
    values = values if isinstance(values, list) else [values]
    return [value for value in values if isinstance(value, dict)]


def _size(text: Any) -> int | None:
    """A size in a VM template, in whole units and never less than asked; None if it is none."""
    try:
        return math.ceil(float(text)) or None
    except (TypeError, ValueError, OverflowError):
        return None
