"""The objects of an OpenNebula: users, groups, documents, VM templates, VMs and hosts."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from typing import ClassVar

from provision_engine.sandbox import xml
from provision_engine.sandbox.quotas import Quotas
from provision_engine.sandbox.template import Template

SERVICE, SERVICE_TEMPLATE, RUNTIME = 100, 101, 1337
"""Document types: oneflow's services and service templates, and serverless runtimes."""

ADMINS_GROUP, USERS_GROUP = 0, 1
"""The groups that every OpenNebula has."""
OWN = (1, 1, 0, 0, 0, 0, 0, 0, 0)
OF_GROUP = (1, 1, 0, 1, 0, 0, 0, 0, 0)
PUBLIC = (1, 1, 0, 1, 0, 0, 1, 0, 0)
DEFAULT_UMASK = 0o177
RETIRED = 1
"""The shelf (see `Owned.shelf`) of VMs that are DONE."""
HOST_CPU_PERCENT = 800
HOST_MEMORY_KB = 16_777_216


@dataclass
class Lock:
    """The lock of an object: its level, its owner and when it was set."""

    level: int
    owner: int
    time: int
    request_id: int

    def to_xml(self) -> str:
        """The LOCK element of the object's XML."""
        members = (("LOCKED", self.level), ("OWNER", self.owner), ("TIME", self.time))
        return f"<LOCK>{xml.plains((*members, ('REQ_ID', self.request_id)))}</LOCK>"


@dataclass
class Owned:
    """What all objects of pools have in common."""

    kind: ClassVar[str]
    """The kind of object in oned's messages."""
    noun: ClassVar[str]

    id: int
    uid: int
    gid: int
    uname: str
    gname: str
    name: str
    permissions: list[int] = field(default_factory=lambda: list(OWN))
    lock: Lock | None = None
    template: Template = field(default_factory=Template)
    rendered: str | None = field(default=None, repr=False)
    """The object's XML, cached until the object changes."""

    @property
    def shelf(self) -> int:
        """The part of the pool in which the object is listed; most pools have only one."""
        return 0

    def changed(self) -> None:
        """Drops the cached XML."""
        self.rendered = None

    def head_xml(self, middle: str = "", end: str = "") -> str:
        """Id, owner and name, then `middle`, then permissions, then `end`.

        The name is not escaped (scenario names: ``<NAME>a>b</NAME>``).
        """
        names = (("ID", self.id), ("UID", self.uid), ("GID", self.gid))
        who = (("UNAME", xml.escape(self.uname)), ("GNAME", xml.escape(self.gname)))
        return (
            xml.plains((*names, *who, ("NAME", self.name)))
            + middle
            + xml.permissions(self.permissions)
            + end
        )

    def lock_xml(self) -> str:
        """The LOCK element, if there is a lock."""
        return self.lock.to_xml() if self.lock else ""


@dataclass
class LoginToken:
    """A token that serves as password, for all groups of its user or for one of them."""

    token: str
    expires: int
    group_id: int = -1


@dataclass
class User(Owned):
    """A user, with quotas and their usage. A user belongs to itself."""

    kind = "USER"
    noun = "user"

    password: str = ""
    groups: set[int] = field(default_factory=set)
    """The ids of the user's groups, the primary one (`gid`) included."""
    driver: str = "core"
    is_enabled: bool = True
    tokens: list[LoginToken] = field(default_factory=list)
    quotas: Quotas = field(default_factory=Quotas)

    @property
    def is_admin(self) -> bool:
        """Is the user oneadmin or in oneadmin's group, whose members may do everything?"""
        return self.id == 0 or ADMINS_GROUP in self.groups

    @property
    def password_hash(self) -> str:
        """The PASSWORD of one.user.info."""
        return hashlib.sha256(self.password.encode()).hexdigest()

    def default_permissions(self) -> list[int]:
        """The permissions of new objects: what the user's UMASK leaves (scenario umasks)."""
        text = self.template.text("UMASK")
        umask = _octal(text) if text else DEFAULT_UMASK
        most = 0o777 if self.id == 0 or self.gid == ADMINS_GROUP else 0o666
        return [(most & ~umask) >> shift & 1 for shift in range(8, -1, -1)]


def _octal(text: str) -> int:
    digits = re.match(r"\s*-?[0-7]+", text)
    return int(digits[0], 8) if digits else 0


@dataclass
class Group(Owned):
    """A group of users, which is known to its members only."""

    kind = "GROUP"
    noun = "group"


@dataclass
class Document(Owned):
    """A document of any type; oneflow's services and service templates are documents too."""

    kind = "DOCUMENT"
    noun = "document"

    type: int = RUNTIME

    @property
    def shelf(self) -> int:
        """Documents are listed by type."""
        return self.type

    def to_xml(self) -> str:
        """The document as in the response of one.document.info."""
        if self.rendered is None:
            head = self.head_xml(xml.plain("TYPE", self.type), self.lock_xml())
            self.rendered = f"<DOCUMENT>{head}{self.template.to_xml()}</DOCUMENT>"
        return self.rendered


@dataclass
class VmTemplate(Owned):
    """A template from which VMs are created."""

    kind = "TEMPLATE"
    noun = "virtual machine template"

    registration_time: int = 0

    def to_xml(self, template: Template | None = None) -> str:
        """As in the response of one.template.info, optionally with an extended template."""
        time = xml.plain("REGTIME", self.registration_time)
        inner = (template or self.template).to_xml()
        return f"<VMTEMPLATE>{self.head_xml(self.lock_xml())}{time}{inner}</VMTEMPLATE>"


@dataclass
class Network(Owned):
    """A virtual network whose addresses are those of IPv4 or of IPv6."""

    kind = "NET"
    noun = "virtual network"

    prefix6: str = ""
    """Of an IPv6 network; empty for IPv4."""
    only_grows: bool = False
    """Is the next lease the one after the last? (If not, the lowest free one.)"""
    taken: set[int] = field(default_factory=set)
    last: int = 0
    lowest_free: int = 1
    """No lease below it is free, so that a search need not start at 1."""

    def lease(self) -> dict[str, str]:
        """Takes a lease: the addresses of a NIC."""
        number = self.last + 1 if self.only_grows else self.lowest_free
        while number in self.taken:
            number += 1
        self.taken.add(number)
        self.last = number
        if not self.only_grows:
            self.lowest_free = number + 1
        octets = (0x61 if self.prefix6 else 10, number >> 16, number >> 8 & 255, number & 255)
        mac = "02:00:" + ":".join(f"{octet:02x}" for octet in octets)
        if not self.prefix6:
            return {"IP": ".".join(str(octet) for octet in octets), "MAC": mac}
        # It begins with 0000 since the second bit of the MAC, which is set, is turned around.
        host = f"{octets[0]:x}ff:fe{octets[1]:02x}:{octets[2] << 8 | octets[3]:x}"
        return {"IP6_GLOBAL": f"{self.prefix6}{host}", "IP6_LINK": f"fe80::{host}", "MAC": mac}

    def release(self, mac: str) -> None:
        """Returns the lease of a NIC."""
        number = int(mac.replace(":", "")[-6:], 16)
        self.taken.discard(number)
        self.lowest_free = min(self.lowest_free, number)


@dataclass
class Image(Owned):
    """An image; in the datastore of files it is a file for CONTEXT."""

    kind = "IMAGE"
    noun = "image"

    is_file: bool = False


@dataclass
class VmGroup(Owned):
    """A group of VMs, whose roles say which of them may share a host."""

    kind = "VM GROUP"
    noun = "VM group"


@dataclass
class History:
    """One history record of a VM. Times are seconds since the epoch, 0 means not yet."""

    seq: int
    host_id: int
    hostname: str
    stime: int
    etime: int = 0
    pstime: int = 0
    petime: int = 0
    rstime: int = 0
    retime: int = 0
    estime: int = 0
    eetime: int = 0
    action: int = 0
    uid: int = -1
    gid: int = -1
    request_id: int = -1
    plan_action_id: int = 0


@dataclass
class ScheduledAction:
    """An action on a VM at a given time, in seconds since the epoch."""

    id: int
    vm_id: int
    action: str
    time: int
    message: str = ""
    """Why the last attempt failed."""


@dataclass
class Vm(Owned):
    """A virtual machine: `template` is its TEMPLATE, `user_template` the part users may change."""

    kind = "VM"
    noun = "virtual machine"

    state: int = 0
    lcm_state: int = 0
    stime: int = 0
    etime: int = 0
    resched: int = 0
    deploy_id: str = ""
    user_template: Template = field(default_factory=Template)
    history: list[History] = field(default_factory=list)
    scheduled_ids: list[int] = field(default_factory=list)
    scheduled: dict[int, ScheduledAction] = field(default_factory=dict)
    host_id: int | None = None
    cpu: float = 0.0
    memory_mb: int = 0
    vcpu: int = 1
    service_id: int | None = None
    step: int = 0
    """Counts changes of state, so that a step scheduled for an earlier state is skipped."""
    came_from: str = "INIT"
    """The name of the previous state."""
    before_resize: tuple[float, int, int] | None = None
    rendered_short: str | None = field(default=None, repr=False)
    is_retired: bool = False

    @property
    def shelf(self) -> int:
        """VMs that are DONE are listed apart, so that listing live VMs does not become slower."""
        return RETIRED if self.is_retired else 0

    def changed(self) -> None:
        """Drops the cached XML."""
        self.rendered = None
        self.rendered_short = None


@dataclass
class Host:
    """A host, with its capacity in use."""

    id: int
    name: str
    cpu_percent: int = HOST_CPU_PERCENT
    memory_kb: int = HOST_MEMORY_KB
    used_cpu_percent: float = 0.0
    used_memory_kb: int = 0
    attributes: dict[str, str] = field(default_factory=dict)

    def take(self, cpu: float, memory_mb: int) -> None:
        """Books that many cores and MB (releases them, if negative)."""
        self.used_cpu_percent += cpu * 100
        self.used_memory_kb += memory_mb * 1024
