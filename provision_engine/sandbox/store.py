"""Everything an OpenNebula holds, with its agenda and its lock."""

from __future__ import annotations

import threading

from provision_engine.sandbox import errors
from provision_engine.sandbox.clock import Agenda, Clock
from provision_engine.sandbox.errors import OneError
from provision_engine.sandbox.objects import (
    ADMIN,
    HOST_CPU_PERCENT,
    MANAGE,
    PUBLIC,
    RETIRED,
    RUNTIME,
    SERVICE,
    SERVICE_TEMPLATE,
    USE,
    Document,
    History,
    Host,
    Lock,
    Owned,
    ScheduledAction,
    User,
    Vm,
    VmTemplate,
    allowed,
    locked_against,
    not_authorized,
)
from provision_engine.sandbox.pools import Pool
from provision_engine.sandbox.releases import Release, release
from provision_engine.sandbox.template import Template
from provision_engine.sandbox.timings import Timings

__all__ = [
    "ADMIN", "HOST_CPU_PERCENT", "MANAGE", "PUBLIC", "RETIRED", "RUNTIME", "SERVICE",
    "SERVICE_TEMPLATE", "USE", "Document", "History", "Host", "Lock", "Owned", "Pool",
    "ScheduledAction", "Store", "User", "Vm", "VmTemplate", "allowed", "locked_against",
    "not_authorized",
]  # fmt: skip


class Store:
    """Users, pools, hosts and addresses; `guard` is the lock for all of them."""

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
        """No address below it is free, so that a search need not start at 1."""
        self.next_scheduled_id = 0
        self.next_request_id = 0
        self.current_request_id = 0

    def begin_request(self) -> int:
        """The id of a new call, which locks and history records store."""
        self.next_request_id = (self.next_request_id + 16) % 10_000
        self.current_request_id = self.next_request_id
        return self.current_request_id

    def add_user(self, name: str, password: str, gid: int = 1, user_id: int | None = None) -> User:
        """Adds a user, by default to the group `users`."""
        number = max(self.users, default=-1) + 1 if user_id is None else user_id
        group = "oneadmin" if gid == 0 else "users" if gid == 1 else f"group{gid}"
        user = User(number, gid, name, password, group)
        self.users[number] = user
        self.users_by_name[name] = user
        return user

    def authenticate(self, session: str) -> User:
        """The user of a session `name:password`; the password may contain colons."""
        name, separator, password = session.partition(":")
        user = self.users_by_name.get(name)
        if not separator or user is None or user.password != password:
            message = "User couldn't be authenticated, aborting call."
            raise OneError(errors.AUTHENTICATION, message)
        return user

    def authorize(
        self, user: User, item: Owned, operation: int, pool_name: str, check_lock: bool = True
    ) -> None:
        """0x0200 if permissions or, unless ignored, the object's lock forbid the operation."""
        is_locked = check_lock and locked_against(item, operation)
        if is_locked and user.is_admin:
            raise OneError(
                errors.AUTHORIZATION, f"User [{user.id}] : {pool_name} is locked. [{item.id}]."
            )
        if is_locked or not allowed(user, item, operation):
            raise not_authorized(user, operation, pool_name, item.id)

    def new_document(self, owner: User, kind: int, name: str | None, body: Template) -> Document:
        """Adds a document of that type; the default name is document-ID."""
        number = self.documents.new_id()
        if name and self.release.strips_names:
            name = name.strip()
        template = Template(item for item in body.items if item[0] != "NAME")
        document = Document(
            number, owner.id, owner.gid, owner.name, owner.group_name,
            name or f"document-{number}", template=template, type=kind,
        )  # fmt: skip
        return self.documents.add(document)

    def release_address(self, address: int) -> None:
        """Returns a leased address."""
        self.addresses.discard(address)
        self.lowest_free_address = min(self.lowest_free_address, address)

    def host_of(self, vm: Vm) -> Host | None:
        """The host on which a VM's capacity is booked."""
        return None if vm.host_id is None else self.hosts[vm.host_id]
