"""Everything an OpenNebula holds, with its agenda and its lock."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any

from provision_engine.sandbox import errors
from provision_engine.sandbox.clock import Agenda, Clock
from provision_engine.sandbox.errors import OneError
from provision_engine.sandbox.objects import (
    ADMINS_GROUP,
    HOST_CPU_PERCENT,
    OF_GROUP,
    PUBLIC,
    RETIRED,
    RUNTIME,
    SERVICE,
    SERVICE_TEMPLATE,
    USERS_GROUP,
    Document,
    Group,
    History,
    Host,
    Image,
    Lock,
    LoginToken,
    Network,
    Owned,
    ScheduledAction,
    User,
    Vm,
    VmGroup,
    VmTemplate,
)
from provision_engine.sandbox.permissions import ADMIN, MANAGE, USE, Authorization, CreationRules
from provision_engine.sandbox.pools import Pool
from provision_engine.sandbox.releases import Release, release
from provision_engine.sandbox.template import Template
from provision_engine.sandbox.timings import Timings

__all__ = [
    "ADMIN", "ADMINS_GROUP", "HOST_CPU_PERCENT", "MANAGE", "PUBLIC", "RETIRED", "RUNTIME",
    "SERVICE", "SERVICE_TEMPLATE", "USE", "USERS_GROUP", "Authorization", "Document", "Group",
    "History", "Host", "Image", "Lock", "LoginToken", "Network", "Owned", "Pool",
    "ScheduledAction", "Store", "User", "Vm", "VmGroup", "VmTemplate",
]  # fmt: skip

_FIRST_GROUP = 100
"""Groups below are those of OpenNebula itself."""


class Store:
    """Users, pools and hosts; `guard` is the lock for all of them."""

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
        self.users: Pool[User] = Pool(User)
        self.users_by_name: dict[str, User] = {}
        self.groups: Pool[Group] = Pool(Group, _FIRST_GROUP)
        self.rules = CreationRules()
        self.documents: Pool[Document] = Pool(Document)
        self.vm_templates: Pool[VmTemplate] = Pool(VmTemplate)
        self.vms: Pool[Vm] = Pool(Vm)
        self.networks: Pool[Network] = Pool(Network)
        self.images: Pool[Image] = Pool(Image)
        self.vm_groups: Pool[VmGroup] = Pool(VmGroup)
        for pool in self.pools:
            pool.shows_group_whole = self.release.shows_group_whole
        self.live_vms: dict[int, Vm] = {}
        self.hosts = [Host(i, f"host{i:02}") for i in range(hosts)]
        self.next_scheduled_id = 0
        self.next_request_id = 0
        self.current_request_id = 0

    def begin_request(self) -> int:
        """The id of a new call, which locks and history records store."""
        self.next_request_id = (self.next_request_id + 16) % 10_000
        self.current_request_id = self.next_request_id
        return self.current_request_id

    @property
    def pools(self) -> tuple[Pool[Any], ...]:
        """All pools."""
        return (
            self.users, self.groups, self.documents, self.vm_templates, self.vms,
            self.networks, self.images, self.vm_groups,
        )  # fmt: skip

    # ---- users and groups ----------------------------------------------------------------------

    def add_group(self, name: str, group_id: int | None = None) -> Group:
        """Adds a group, which all its members may see."""
        number = self.groups.new_id() if group_id is None else group_id
        return self.groups.add(Group(number, -1, number, "", name, name, list(OF_GROUP)))

    def add_user(
        self,
        name: str,
        password: str,
        gid: int = USERS_GROUP,
        user_id: int | None = None,
        driver: str = "core",
    ) -> User:
        """Adds a user, by default to the group `users`."""
        group = self.groups.find(gid) or self.add_group(f"group{gid}", gid)
        number = self.users.new_id() if user_id is None else user_id
        self.users.next_id = max(self.users.next_id, number + 1)
        user = User(
            number, number, gid, name, group.name, name, password=password, groups={gid},
            driver=driver,
        )  # fmt: skip
        self.users_by_name[name] = user
        return self.users.add(user)

    def remove_user(self, user: User) -> None:
        """Removes a user, whose objects stay."""
        self.users.remove(user)
        del self.users_by_name[user.name]

    def owner_of(self, item: Owned) -> User:
        """The user to whom an object belongs, or one without rights if that user was deleted."""
        owner = self.users.find(item.uid)
        if owner is None:
            owner = User(item.uid, item.uid, item.gid, item.uname, item.gname, item.uname)
        return owner

    def authenticate(self, session: str) -> User:
        """The user of a session `name:password`; the password may contain colons.

        With a login token of one group, the user as a member of that group only.
        """
        name, separator, password = session.partition(":")
        user = self.users_by_name.get(name)
        if separator and user is not None and user.is_enabled:
            if user.driver == "core" and user.password == password:
                return user
            for token in user.tokens:
                if token.token == password and token.expires > self.agenda.now():
                    return self._in_group(user, token.group_id)
        raise OneError(errors.AUTHENTICATION, "User couldn't be authenticated, aborting call.")

    def _in_group(self, user: User, group_id: int) -> User:
        if group_id < 0:
            return user
        group = self.groups.get(group_id)
        return replace(user, gid=group.id, gname=group.name, groups={group.id})

    # ---- permissions ---------------------------------------------------------------------------

    def authorization(self, user: User) -> Authorization:
        """Collects the rights that a call of that user needs."""
        return Authorization(user, self.rules)

    def authorize(self, user: User, item: Owned, operation: int, check_lock: bool = True) -> None:
        """0x0200 if permissions or, unless ignored, the object's lock forbid the operation."""
        self.authorization(user).needs(operation, item, check_lock).check()

    def new_document(self, owner: User, kind: int, name: str | None, body: Template) -> Document:
        """Adds a document of that type; the default name is document-ID."""
        number = self.documents.new_id()
        if name and self.release.strips_names:
            name = name.strip()
        template = Template(item for item in body.items if item[0] != "NAME")
        document = Document(
            number, owner.id, owner.gid, owner.name, owner.gname, name or f"document-{number}",
            owner.default_permissions(), template=template, type=kind,
        )  # fmt: skip
        return self.documents.add(document)

    def host_of(self, vm: Vm) -> Host | None:
        """The host on which a VM's capacity is booked."""
        return None if vm.host_id is None else self.hosts[vm.host_id]
