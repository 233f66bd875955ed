"""Everything an OpenNebula keeps: users, documents, VM templates, VMs and hosts.

Pools hold objects by id, and by owner and kind besides, so that a read does not get slower when
the pool grows. Who may do what with an object is decided here too.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from provision_engine.sandbox import errors, xml
from provision_engine.sandbox.clock import Agenda, Clock
from provision_engine.sandbox.errors import OneError
from provision_engine.sandbox.quotas import Quotas
from provision_engine.sandbox.releases import Release, release
from provision_engine.sandbox.template import Template
from provision_engine.sandbox.timings import Timings

SERVICE, SERVICE_TEMPLATE, RUNTIME = 100, 101, 1337
"""Types of documents: oneflow's services and service templates, and serverless runtimes."""

USE, MANAGE, ADMIN = 0, 1, 2
_OPERATION_NAMES = ("USE", "MANAGE", "ADMIN")
# The lowest operation each lock level forbids; level 4 forbids all like level 1
# (scenario lock-levels-allow-update: under level 3 the owner may still update and rename).
_LOCK_FORBIDS_FROM = {1: USE, 2: MANAGE, 3: ADMIN, 4: USE}
OWN = (1, 1, 0, 0, 0, 0, 0, 0, 0)
PUBLIC = (1, 1, 0, 1, 0, 0, 1, 0, 0)
RETIRED = 1
"""The shelf of VMs that are DONE."""
MAXIMUM_NAME_CHARACTERS = 128
HOST_CPU_PERCENT = 800
HOST_MEMORY_KB = 16_777_216


@dataclass
class Lock:
    """Who locked an object, how and when."""

    level: int
    owner: int
    time: int
    request_id: int

    def to_xml(self) -> str:
        """The element of the object's XML."""
        members = (("LOCKED", self.level), ("OWNER", self.owner), ("TIME", self.time))
        return f"<LOCK>{xml.plains((*members, ('REQ_ID', self.request_id)))}</LOCK>"


@dataclass
class User:
    """A user with what he may use and what he uses."""

    id: int
    gid: int
    name: str
    password: str
    group_name: str
    template: Template = field(default_factory=Template)
    quotas: Quotas = field(default_factory=Quotas)

    @property
    def is_admin(self) -> bool:
        """Members of oneadmin's group may do everything."""
        return self.gid == 0

    def password_hash(self) -> str:
        """What user.info shows."""
        return hashlib.sha256(self.password.encode()).hexdigest()


@dataclass
class Owned:
    """What every object of a pool has."""

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
    """The XML of the object, kept until it changes."""

    @property
    def shelf(self) -> int:
        """Objects of a pool are listed by shelf; most pools have one."""
        return 0

    def changed(self) -> None:
        """Forgets the kept XML."""
        self.rendered = None

    def head_xml(self, middle: str = "") -> str:
        """Id, owner, name and, after what the kind of object puts between, the permissions."""
        names = (("ID", self.id), ("UID", self.uid), ("GID", self.gid))
        who = (("UNAME", xml.escape(self.uname)), ("GNAME", xml.escape(self.gname)))
        return (
            xml.plains((*names, *who, ("NAME", xml.escape(self.name))))
            + middle
            + xml.permissions(self.permissions)
            + (self.lock.to_xml() if self.lock else "")
        )


@dataclass
class Document(Owned):
    """A document of any type; oneflow's services and service templates are documents too."""

    type: int = RUNTIME

    @property
    def shelf(self) -> int:
        """Documents are listed by type."""
        return self.type

    def to_xml(self) -> str:
        """As one.document.info answers it."""
        if self.rendered is None:
            head = self.head_xml(xml.plain("TYPE", self.type))
            self.rendered = f"<DOCUMENT>{head}{self.template.to_xml()}</DOCUMENT>"
        return self.rendered


@dataclass
class VmTemplate(Owned):
    """What VMs are made from."""

    registration_time: int = 0

    def to_xml(self, template: Template | None = None) -> str:
        """As one.template.info answers it, perhaps with another (extended) template."""
        time = xml.plain("REGTIME", self.registration_time)
        inner = (template or self.template).to_xml()
        return f"<VMTEMPLATE>{self.head_xml()}{time}{inner}</VMTEMPLATE>"


@dataclass
class History:
    """One stay of a VM on a host. Times are seconds since the epoch, 0 means not yet."""

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
    """Something a VM's owner wants to be done to it at a time."""

    id: int
    vm_id: int
    action: str
    time: int


@dataclass
class Vm(Owned):
    """A virtual machine. `template` is what it was made with, `user_template` what users change."""

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
    """Counts changes of state, so that a step planned for a former state is left out."""
    before_resize: tuple[float, int, int] | None = None
    rendered_short: str | None = field(default=None, repr=False)
    is_retired: bool = False

    @property
    def shelf(self) -> int:
        """VMs that are DONE stand apart, or lists of the living would grow slower for ever."""
        return RETIRED if self.is_retired else 0

    def changed(self) -> None:
        """Forgets the kept XML."""
        self.rendered = None
        self.rendered_short = None


@dataclass
class Host:
    """A host and how much of it is taken."""

    id: int
    name: str
    cpu_percent: int = HOST_CPU_PERCENT
    memory_kb: int = HOST_MEMORY_KB
    used_cpu_percent: float = 0.0
    used_memory_kb: int = 0
    attributes: dict[str, str] = field(default_factory=dict)

    def take(self, cpu: float, memory_mb: int) -> None:
        """A VM of that many cores and MB moves in (or out, with negative numbers)."""
        self.used_cpu_percent += cpu * 100
        self.used_memory_kb += memory_mb * 1024


T = TypeVar("T", bound=Owned)


class Pool(Generic[T]):
    """Objects by id, by shelf, by owner, and those that more than the owner may use."""

    def __init__(self, type_name: str, noun: str, next_id: int = 0) -> None:
        self.type_name = type_name
        self.noun = noun
        self.next_id = next_id
        self._by_id: dict[int, T] = {}
        self._by_shelf: dict[int, dict[int, T]] = {}
        self._by_owner: dict[tuple[int, int], dict[int, T]] = {}
        self._shared: dict[int, dict[int, T]] = {}

    def __len__(self) -> int:
        return len(self._by_id)

    def new_id(self) -> int:
        """Ids only ever grow."""
        self.next_id += 1
        return self.next_id - 1

    def add(self, item: T) -> T:
        """Puts an object into the pool."""
        shelf = item.shelf
        self._by_id[item.id] = item
        self._by_shelf.setdefault(shelf, {})[item.id] = item
        self._by_owner.setdefault((shelf, item.uid), {})[item.id] = item
        self.permissions_changed(item)
        return item

    def permissions_changed(self, item: T) -> None:
        """Files an object anew under what others may use."""
        shared = self._shared.setdefault(item.shelf, {})
        if item.permissions[3] or item.permissions[6]:
            shared[item.id] = item
        else:
            shared.pop(item.id, None)

    def owner_changed(self, item: T, user: User) -> None:
        """Gives an object to another user."""
        self.remove(item)
        item.uid, item.uname, item.gid, item.gname = user.id, user.name, user.gid, user.group_name
        item.changed()
        self.add(item)

    def remove(self, item: T) -> None:
        """Takes an object out of the pool."""
        shelf = item.shelf
        del self._by_id[item.id]
        del self._by_shelf[shelf][item.id]
        del self._by_owner[shelf, item.uid][item.id]
        self._shared[shelf].pop(item.id, None)

    def find(self, object_id: int) -> T | None:
        """The object of that id, if there is one."""
        return self._by_id.get(object_id)

    def get(self, object_id: int) -> T:
        """The object of that id; 0x0400 if there is none."""
        item = self._by_id.get(object_id)
        if item is None:
            raise errors.no_such(self.noun, object_id)
        return item

    def all(self, shelf: int = 0) -> Iterable[T]:
        """Every object on a shelf, the oldest first."""
        return self._by_shelf.get(shelf, {}).values()

    def select(self, user: User, who: int, start: int, end: int, shelf: int = 0) -> list[T]:
        """What a pool call lists, the newest first.

        `who` is -1 for the user's and his groups' objects, -2 for all he may use, -3 for his own,
        -4 for his primary group's, or the id of a user. A negative `end` below -1 asks for a
        page: `start` objects are left out and -`end` given; else the two are the first and the
        last id (scenario documents shows each of these).
        """
        if who < -4:
            raise OneError(errors.XML_RPC_API, "Incorrect filter_flag")
        found = sorted(self._visible(user, who, shelf).items(), reverse=True)
        if end < -1 and start >= 0:
            return [item for _, item in found][start : start - end]
        if start == -1:
            return [item for _, item in found]
        last = end if end != -1 else float("inf")
        return [item for item_id, item in found if start <= item_id <= last]

    def _visible(self, user: User, who: int, shelf: int) -> dict[int, T]:
        own = self._by_owner.get((shelf, user.id), {})
        if who == -3:
            return own
        if who >= 0:
            owned = self._by_owner.get((shelf, who), {})
            return {i: o for i, o in owned.items() if allowed(user, o, USE)}
        everything = self._by_shelf.get(shelf, {})
        if user.is_admin:
            same_group = {i: o for i, o in everything.items() if o.gid == user.gid}
            return everything if who == -2 else same_group
        shared = self._shared.get(shelf, {}).items()
        if who == -2:
            return own | {i: o for i, o in shared if allowed(user, o, USE)}
        return own | {i: o for i, o in shared if o.gid == user.gid and o.permissions[3]}


def allowed(user: User, item: Owned, operation: int) -> bool:
    """Do the permission bits let that user do that?"""
    bits = item.permissions
    return bool(
        user.is_admin
        or (item.uid == user.id and bits[operation])
        or (item.gid == user.gid and bits[3 + operation])
        or bits[6 + operation]
    )


def locked_against(item: Owned, operation: int) -> bool:
    """Does the object's lock forbid that operation to everybody?"""
    return item.lock is not None and operation >= _LOCK_FORBIDS_FROM[item.lock.level]


class Store:
    """The pools together, with their time and their one lock."""

    def __init__(
        self,
        version: str,
        clock: Clock | None = None,
        timings: Timings | None = None,
        hosts: int = 100,
    ) -> None:
        self.release: Release = release(version)
        self.agenda = Agenda(clock or Clock())
        self.timings = timings or Timings()
        self.guard = threading.RLock()
        self.users: dict[int, User] = {}
        self.users_by_name: dict[str, User] = {}
        self.documents: Pool[Document] = Pool("DOCUMENT", "document")
        self.vm_templates: Pool[VmTemplate] = Pool("TEMPLATE", "virtual machine template")
        self.vms: Pool[Vm] = Pool("VM", "virtual machine")
        self.live_vms: dict[int, Vm] = {}
        self.hosts = [Host(i, f"host{i:02}") for i in range(hosts)]
        self.addresses: set[int] = set()
        self.last_address = 0
        self.lowest_free_address = 1
        """No address below it is free; so nobody has to begin at 1 every time."""
        self.next_scheduled_id = 0
        self.next_request_id = 0
        self.current_request_id = 0

    def begin_request(self) -> int:
        """Each call has a number, which locks and history records remember."""
        self.next_request_id = (self.next_request_id + 16) % 10_000
        self.current_request_id = self.next_request_id
        return self.current_request_id

    def add_user(self, name: str, password: str, gid: int = 1, user_id: int | None = None) -> User:
        """A new user, of the group users unless another is given."""
        number = max(self.users, default=-1) + 1 if user_id is None else user_id
        group = "oneadmin" if gid == 0 else "users" if gid == 1 else f"group{gid}"
        user = User(number, gid, name, password, group)
        self.users[number] = user
        self.users_by_name[name] = user
        return user

    def authenticate(self, session: str) -> User:
        """The user of a session text `name:password`; a password may hold colons itself."""
        name, separator, password = session.partition(":")
        user = self.users_by_name.get(name)
        if not separator or user is None or user.password != password:
            message = "User couldn't be authenticated, aborting call."
            raise OneError(errors.AUTHENTICATION, message)
        return user

    def authorize(
        self, user: User, item: Owned, operation: int, pool_name: str, mind_lock: bool = True
    ) -> None:
        """0x0200 unless the user may do that with the object, its lock included."""
        is_locked = mind_lock and locked_against(item, operation)
        if is_locked and user.is_admin:
            raise OneError(
                errors.AUTHORIZATION, f"User [{user.id}] : {pool_name} is locked. [{item.id}]."
            )
        if is_locked or not allowed(user, item, operation):
            raise not_authorized(user, operation, pool_name, item.id)

    def new_document(self, owner: User, kind: int, name: str | None, body: Template) -> Document:
        """A document of that type; without a name it is called document-ID."""
        number = self.documents.new_id()
        template = Template(item for item in body.items if item[0] != "NAME")
        document = Document(
            number, owner.id, owner.gid, owner.name, owner.group_name,
            name or f"document-{number}", template=template, type=kind,
        )  # fmt: skip
        return self.documents.add(document)

    def release_address(self, address: int) -> None:
        """A lease has ended."""
        self.addresses.discard(address)
        self.lowest_free_address = min(self.lowest_free_address, address)

    def host_of(self, vm: Vm) -> Host | None:
        """The host on which a VM's capacity is booked."""
        return None if vm.host_id is None else self.hosts[vm.host_id]


def not_authorized(user: User, operation: int, pool_name: str, object_id: int) -> OneError:
    """The refusal of something the user may not do."""
    what = f"{_OPERATION_NAMES[operation]} {pool_name} [{object_id}]."
    return OneError(errors.AUTHORIZATION, f"User [{user.id}] : Not authorized to perform {what}")


def check_name(name: str) -> None:
    """0x0800 if an object cannot be called so (scenario documents: an empty name)."""
    if not name:
        raise OneError(errors.ACTION, "Invalid NAME, it cannot be empty")
    if len(name.encode()) > MAXIMUM_NAME_CHARACTERS:
        raise OneError(errors.ACTION, "Invalid NAME, max length is 128 chars")
