"""OpenNebula's objects, as far as the engine looks at them, read from the XML of oned."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from lxml import etree

from provision_engine.cloud import values
from provision_engine.cloud.enums import DocumentType
from provision_engine.errors import BadGateway, NotFound

MAX_VMS = 1000
"""Of one service. A forged one may name everybody's."""
ADDRESSES = ("EXTERNAL_IP", "IP6", "IP")
"""The attributes of a NIC that may hold the endpoint; the first one that exists counts."""
MAX_ENDPOINT = 255
"""Owners may write any text into a NIC of their VMs."""
_RUNNING = ("RUNNING_VMS", "RUNNING_CPU", "RUNNING_MEMORY")
QUOTAS = ("VMS", "CPU", "MEMORY", "SYSTEM_DISK_SIZE", *_RUNNING)

Attributes = dict[str, Any]
"""A template: names to text, to a nested Attributes, or to a list of these where a name repeats."""


def parse(xml: str | bytes) -> etree._Element:
    """Return the root element of a response. Raises BadGateway where it is not XML."""
    parser = etree.XMLParser(huge_tree=True, resolve_entities=False, no_network=True)
    try:
        return etree.fromstring(xml.encode() if isinstance(xml, str) else xml, parser)
    except etree.XMLSyntaxError as error:
        raise BadGateway(f"oned: {error}") from error


def text(element: etree._Element, path: str, default: str = "") -> str:
    return element.findtext(path) or default


def number(element: etree._Element, path: str, default: int = 0) -> int:
    return int(real(element, path, default))


def real(element: etree._Element, path: str, default: float = 0) -> float:
    """Raises BadGateway where there is a text that is no finite number."""
    try:
        value = float(element.findtext(path) or default)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise BadGateway(f"oned: {path} is {text(element, path)!r}, not a number")
    return value


def attributes(element: etree._Element | None) -> Attributes:
    """Return the children of an element: nested ones as dictionaries, repeated ones as lists."""
    found: Attributes = {}
    for child in element if element is not None else ():
        value = attributes(child) if len(child) else (child.text or "")
        found.setdefault(child.tag, []).append(value)
    return {name: one if len(one) > 1 else one[0] for name, one in found.items()}


@dataclass(frozen=True)
class Document:
    """A document of the pool: a runtime (type 1337), a service (100), a flow template (101).

    Its name and its body are what its owner has written.
    """

    id: int
    name: str
    type: int
    user_id: int
    body_text: str
    locked_at: int | None
    """When it was locked (Unix time), or None."""
    group_id: int = -1
    user_name: str = ""
    others_may_change: bool = False

    @classmethod
    def from_xml(cls, element: etree._Element) -> Document:
        return cls(
            id=number(element, "ID"),
            name=text(element, "NAME"),
            type=number(element, "TYPE"),
            user_id=number(element, "UID"),
            body_text=text(element, "TEMPLATE/BODY"),
            locked_at=number(element, "LOCK/TIME") or None,
            group_id=number(element, "GID", -1),
            user_name=text(element, "UNAME"),
            others_may_change=_others_may_change(element),
        )

    @cached_property
    def body(self) -> dict[str, Any]:
        """Return the body, a JSON object. Raises BadGateway where it is not one."""
        try:
            return values.parse_body(self.body_text)
        except BadGateway as error:
            raise BadGateway(f"The body of document {self.id}: {error.message}") from error


def _others_may_change(element: etree._Element) -> bool:
    """Whether users who are neither the owner nor administrators may change an object."""
    is_group_open = number(element, "GID", -1) != 0 and bool(number(element, "PERMISSIONS/GROUP_M"))
    return is_group_open or bool(number(element, "PERMISSIONS/OTHER_M"))


@dataclass(frozen=True)
class ServiceRole:
    """A role of a service, as its body tells."""

    name: str
    state: int
    vm_ids: tuple[int, ...]
    owner_ids: frozenset[int | None] = frozenset()
    """Of its VMs; None where oneflow does not tell."""

    @classmethod
    def from_body(cls, body: Attributes) -> ServiceRole:
        nodes = values.objects(body.get("nodes"))
        ids = [values.integer(node.get("deploy_id")) for node in nodes]
        vm_ids = tuple(vm_id for vm_id in ids if vm_id is not None)
        infos = [values.mapping(values.mapping(n.get("vm_info")).get("VM")) for n in nodes]
        owner_ids = frozenset(values.integer(info.get("UID")) for info in infos)
        name, state = values.text(body.get("name"), 128), _service_state(body)
        return cls(name, state, vm_ids, owner_ids)


@dataclass(frozen=True)
class Service:
    """A service of oneflow. Its owner may write its body: what is wrong in it is left out."""

    id: int
    name: str
    user_id: int
    state: int
    """One of ServiceState; -1 where the body does not tell."""
    roles: tuple[ServiceRole, ...] = ()
    log: tuple[Attributes, ...] = ()
    """The oldest entry first."""
    started_at: int = 0
    """Unix time; 0 if unknown."""

    @classmethod
    def from_document(cls, document: Document) -> Service:
        """Read a document. Raises NotFound if it is not a service."""
        if document.type != DocumentType.SERVICE:
            raise NotFound(f"Document {document.id} is not a service")
        try:
            body = document.body
        except BadGateway:
            body = {}
        return cls(
            document.id,
            document.name,
            document.user_id,
            _service_state(body),
            tuple(map(ServiceRole.from_body, values.objects(body.get("roles")))),
            tuple(map(_log_entry, values.objects(body.get("log")))),
            values.unix_time(body.get("start_time")) or 0,
        )

    @property
    def vm_ids(self) -> list[int]:
        """Return the VMs of all roles, up to MAX_VMS."""
        return [vm_id for role in self.roles for vm_id in role.vm_ids][:MAX_VMS]

    @property
    def has_vms_of_others(self) -> bool:
        """Whether it has VMs that are not its owner's: a restarted oneflow deployed them."""
        return any(role.owner_ids - {self.user_id, None} for role in self.roles)

    @property
    def is_complete(self) -> bool:
        """Whether each role has its VMs, and as its owner's."""
        return all(role.vm_ids for role in self.roles) and not self.has_vms_of_others


def _service_state(body: Attributes) -> int:
    state = values.integer(body.get("state"))
    return -1 if state is None else state


def _log_entry(entry: Attributes) -> Attributes:
    known = {
        "timestamp": values.unix_time(entry.get("timestamp")),
        "severity": values.text(entry.get("severity"), 1),
        "message": values.text(entry.get("message")),
    }
    return {name: value for name, value in known.items() if name in entry}


@dataclass(frozen=True)
class VmTemplate:
    """A VM template with its attributes."""

    id: int
    name: str
    attributes: Attributes
    others_may_change: bool = False

    @classmethod
    def from_xml(cls, element: etree._Element) -> VmTemplate:
        return cls(
            number(element, "ID"),
            text(element, "NAME"),
            attributes(element.find("TEMPLATE")),
            _others_may_change(element),
        )


@dataclass(frozen=True)
class ScheduledAction:
    """What OpenNebula will do to a VM by itself, and when (Unix time)."""

    id: int
    action: str
    at: int

    @classmethod
    def from_xml(cls, element: etree._Element) -> ScheduledAction:
        at = values.unix_time(text(element, "TIME").strip().removeprefix("+"))
        # A time that cannot be read never comes.
        return cls(
            number(element, "ID"),
            text(element, "ACTION"),
            values.LARGEST_TIME if at is None else at,
        )


@dataclass(frozen=True)
class Vm:
    """A virtual machine as oned knows it."""

    id: int
    state: int
    lcm_state: int
    cpu_share: float
    vcpu: int | None
    memory_mb: int
    cpu_max: int | None
    memory_max_mb: int | None
    disk_id: int | None
    """Of the first disk; None without disks."""
    disk_size_mb: int | None
    nic: Attributes
    """The first NIC's attributes."""
    must_report_ready: bool
    is_ready: bool
    error: str
    sched_message: str
    requirements: str
    """SCHED_REQUIREMENTS, of the operator and the device together."""
    name: str
    user_id: int
    service_id: int | None
    """The service that it was created for, whether that still exists or not."""
    is_of_engine: bool
    """Whether it carries the attribute by which engines mark their VMs."""
    started_at: int
    """When it was created (Unix time)."""
    since: int
    """When the latest thing that is known of it happened (Unix time)."""
    scheduled_actions: tuple[ScheduledAction, ...] | None
    """What OpenNebula will do to it; None where a pool was read, which does not tell."""

    @classmethod
    def from_xml(cls, element: etree._Element) -> Vm:
        template, user = element.find("TEMPLATE"), element.find("USER_TEMPLATE")
        if template is None or user is None:
            raise BadGateway(f"oned: VM {text(element, 'ID')} has no template")
        disk = template.find("DISK")
        return cls(
            id=number(element, "ID"),
            state=number(element, "STATE"),
            lcm_state=number(element, "LCM_STATE"),
            cpu_share=real(template, "CPU"),
            vcpu=_limit(template, "VCPU"),
            memory_mb=number(template, "MEMORY"),
            cpu_max=_limit(template, "VCPU_MAX"),
            memory_max_mb=_limit(template, "MEMORY_MAX"),
            disk_id=None if disk is None else number(disk, "DISK_ID"),
            disk_size_mb=None if disk is None else _limit(disk, "SIZE"),
            nic=attributes(template.find("NIC")),
            must_report_ready=text(template, "CONTEXT/REPORT_READY").upper() == "YES",
            is_ready=text(user, "READY").upper() == "YES",
            error=text(user, "ERROR")[: values.MAX_TEXT],
            sched_message=text(user, "SCHED_MESSAGE")[: values.MAX_TEXT],
            requirements=text(user, "SCHED_REQUIREMENTS"),
            name=text(element, "NAME"),
            user_id=number(element, "UID"),
            service_id=values.integer(text(user, "SERVICE_ID")),
            is_of_engine=bool(text(user, "FLAVOURS") and text(user, "ROLE_NAME")),
            started_at=number(element, "STIME"),
            since=_since(element),
            scheduled_actions=_scheduled_actions(element, template),
        )

    @property
    def endpoint(self) -> str:
        """Return the address at which it is reached; empty if there is none."""
        found = (text for name in ADDRESSES if (text := str(self.nic.get(name) or "")))
        return next(found, "")[:MAX_ENDPOINT]


def _limit(template: etree._Element, name: str) -> int | None:
    """A limit that a user may have written into a VM template; None if it is not a number."""
    return values.integer(text(template, name).strip()) or None


def _scheduled_actions(
    vm: etree._Element, template: etree._Element
) -> tuple[ScheduledAction, ...] | None:
    """A pool shows the ids of the actions only, beside the template."""
    actions = tuple(map(ScheduledAction.from_xml, template.iterfind("SCHED_ACTION")))
    is_from_pool = vm.find("SCHED_ACTIONS/ID") is not None and not actions
    return None if is_from_pool else actions


def _since(vm: etree._Element) -> int:
    """The newest time in a VM's last history record, or else when the VM was made."""
    names = ("STIME", "RSTIME", "RETIME", "ESTIME", "EETIME", "ETIME")
    last = [f"HISTORY_RECORDS/HISTORY[last()]/{name}" for name in names]
    return max(number(vm, path) for path in ("STIME", "ETIME", *last))


@dataclass(frozen=True)
class VmTimes:
    """When a VM came how far (Unix times; 0: not yet)."""

    user_id: int
    made: int
    scheduled: int
    copied: int
    """Its disks are on the host: from here on it boots."""

    @classmethod
    def from_xml(cls, element: etree._Element) -> VmTimes:
        first = "HISTORY_RECORDS/HISTORY[1]"
        paths = ("UID", "STIME", f"{first}/STIME", f"{first}/PETIME")
        return cls(*(number(element, path) for path in paths))


@dataclass(frozen=True)
class User:
    """A user of OpenNebula."""

    id: int
    is_administrator: bool
    """Whether the user is in group 0, and so sees and may change everything."""

    @classmethod
    def from_xml(cls, element: etree._Element) -> User:
        groups = {number(group, ".", -1) for group in element.iterfind("GROUPS/ID")}
        return cls(number(element, "ID", -1), 0 in groups)


@dataclass(frozen=True)
class Quota:
    """What a user may have of VMs. A limit below 0 is none."""

    limits: dict[str, float]
    used: dict[str, float]

    @classmethod
    def from_xml(cls, element: etree._Element) -> Quota:
        used, limits = {}, {}
        for name in QUOTAS:
            used[name] = real(element, f"VM_QUOTA/VM/{name}_USED")
            # -2: the default decides; -1: unlimited
            limits[name] = real(element, f"VM_QUOTA/VM/{name}", -2)
            if limits[name] == -2:
                limits[name] = real(element, f"DEFAULT_USER_QUOTAS/VM_QUOTA/VM/{name}", -1)
        return cls(limits, used)
