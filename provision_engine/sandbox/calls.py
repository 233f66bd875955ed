"""What the XML-RPC methods share: their arguments, and the operations common to all objects."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeVar

from provision_engine.sandbox import errors, names, template
from provision_engine.sandbox.errors import OneError
from provision_engine.sandbox.permissions import ADMIN, LOCK_STATES, MANAGE, USE, Authorization
from provision_engine.sandbox.rpc import Parameter
from provision_engine.sandbox.store import (
    Document,
    Group,
    Image,
    Lock,
    Network,
    Owned,
    Pool,
    User,
    Vm,
    VmGroup,
    VmTemplate,
)
from provision_engine.sandbox.template import Template, TemplateError
from provision_engine.sandbox.world import World

Value = int | str
T = TypeVar("T", bound=Owned)


class Call(NamedTuple):
    """The argument of each method's function."""

    world: World
    user: User
    request_id: int
    arguments: list[Parameter]

    def integer(self, position: int, default: int = 0) -> int:
        """The integer at that position after the session."""
        value = self.arguments[position] if position < len(self.arguments) else default
        assert not isinstance(value, list | dict)
        return int(value)

    def text(self, position: int, default: str = "") -> str:
        """The string at that position after the session."""
        return str(self.arguments[position]) if position < len(self.arguments) else default

    def flag(self, position: int) -> bool:
        """The boolean at that position after the session."""
        return position < len(self.arguments) and bool(self.arguments[position])

    def numbers(self, position: int) -> list[int]:
        """The array of integers at that position after the session."""
        value = self.arguments[position] if position < len(self.arguments) else []
        return value if isinstance(value, list) else []

    def authorization(self) -> Authorization:
        """Collects the rights that the call needs."""
        return self.world.store.authorization(self.user)

    @property
    def by(self) -> tuple[User, int]:
        """The user and the request id, both of which history records store."""
        return self.user, self.request_id


def parsed(call: Call, position: int, before: str = "") -> Template:
    """The template at that position after the session."""
    try:
        found = template.parse(call.text(position))
    except TemplateError as error:
        raise OneError(errors.INTERNAL, before + str(error)) from None
    if call.world.store.release.trims_values:
        found.change_values(str.strip)
    return found


# ---- operations common to all objects ------------------------------------------------------------


def pool_of(call: Call, item_type: type[T]) -> Pool[T]:
    store = call.world.store
    pools: dict[type[Owned], object] = {
        User: store.users,
        Group: store.groups,
        Document: store.documents,
        VmTemplate: store.vm_templates,
        Vm: store.vms,
        Network: store.networks,
        Image: store.images,
        VmGroup: store.vm_groups,
    }
    return pools[item_type]  # type: ignore[return-value]


def authorized(call: Call, item_type: type[T], operation: int, check_lock: bool = True) -> T:
    """The object whose id is the first argument; 0x0200 if the user lacks that right."""
    item = pool_of(call, item_type).get(call.integer(0))
    call.authorization().needs(operation, item, check_lock).check()
    return item


def rename(item_type: type[Owned]) -> Callable[[Call], Value]:
    def do(call: Call) -> Value:
        name = call.text(1)
        item = pool_of(call, item_type).get(call.integer(0))
        if name == item.name:
            return item.id
        item = authorized(call, item_type, MANAGE)
        same = _same_name(call, item_type, name, item.uid)
        if same is not None:
            text = f"{item.kind} cannot be renamed to {name} because it collides with {item.kind}"
            raise OneError(errors.ACTION, f"{text} {same.id}")
        names.check_rename(name)
        item.name = name
        item.changed()
        return item.id

    return do


def _same_name(call: Call, item_type: type[Owned], name: str, uid: int) -> Owned | None:
    """A user's VM template of that name; names of other objects need not be unique."""
    if item_type is not VmTemplate:
        return None
    return pool_of(call, item_type).named(name, uid)


def check_unique(call: Call, item_type: type[Owned], name: str) -> None:
    """0x2000 if the user has an object of that name and may not have a second one."""
    same = _same_name(call, item_type, name, call.user.id)
    if same is not None:
        text = f"NAME is already taken by {same.kind} {same.id}."
        raise OneError(errors.INTERNAL, text)


_ADMIN_BITS = (2, 5, 8)
"""Positions of the ADMIN bits; changing one of them requires the ADMIN right."""


def chmod(item_type: type[Owned]) -> Callable[[Call], Value]:
    def do(call: Call) -> Value:
        wanted = [call.integer(i) for i in range(1, 10)]
        item = pool_of(call, item_type).get(call.integer(0))
        changes_admin = any(wanted[i] not in (-1, item.permissions[i]) for i in _ADMIN_BITS)
        authorized(call, item_type, ADMIN if changes_admin else MANAGE)
        if not set(wanted) <= {-1, 0, 1}:
            raise OneError(errors.INTERNAL, "New permission values must be -1, 0 or 1")
        pairs = zip(item.permissions, wanted, strict=True)
        item.permissions = [old if new == -1 else new for old, new in pairs]
        item.changed()
        pool_of(call, item_type).permissions_changed(item)
        return item.id

    return do


def chown(item_type: type[Owned]) -> Callable[[Call], Value]:
    def do(call: Call) -> Value:
        user = _new(call, User, 1)
        group = _new(call, Group, 2)
        item = pool_of(call, item_type).get(call.integer(0))
        user = None if user and user.id == item.uid else user
        group = None if group and group.id == item.gid else group
        rights = call.authorization().needs(MANAGE, item)
        if user is not None:
            rights.needs(MANAGE, user)
        if group is not None:
            rights.needs(USE, group)
        rights.check()
        give(call, item, user, group)
        return item.id

    return do


def _new(call: Call, item_type: type[T], position: int) -> T | None:
    """The new owner or group; None if it is to stay."""
    number = call.integer(position)
    return pool_of(call, item_type).get(number) if number > -1 else None


def give(call: Call, item: Owned, user: User | None, group: Group | None) -> None:
    """Gives an object to another user or group; 0x2000 if the user has one of that name."""
    same = _same_name(call, type(item), item.name, user.id) if user else None
    if user is not None and same is not None:
        text = f"USER [{user.id}] already owns {item.kind} [{same.id}] with NAME {item.name}"
        raise OneError(errors.INTERNAL, text)
    if isinstance(item, Vm):
        call.world.vms.change_owner(item, user)
    pool_of(call, type(item)).give(item, user, group)


def lock(item_type: type[Owned]) -> Callable[[Call], Value]:
    def do(call: Call) -> Value:
        item = authorized(call, item_type, MANAGE, check_lock=False)
        level, tests = call.integer(1), call.flag(2)
        if level not in (1, 2, 3, 4):
            raise OneError(errors.ACTION, "Wrong lock level specified")
        if item.lock and tests:
            raise OneError(errors.ACTION, str(item.lock.time))
        if item.lock and item.lock.owner != call.user.id and not call.user.is_admin:
            raise OneError(errors.ACTION, "Error trying to lock the resource.")
        now = call.world.store.agenda.seconds()
        item.lock = Lock(LOCK_STATES[level], call.user.id, now, call.request_id)
        item.changed()
        return item.id

    return do


def unlock(item_type: type[Owned]) -> Callable[[Call], Value]:
    def do(call: Call) -> Value:
        item = authorized(call, item_type, MANAGE, check_lock=False)
        is_holder = item.lock is not None and item.lock.owner == call.user.id
        if not is_holder and not call.user.is_admin:
            raise OneError(errors.ACTION, "Cannot unlock: Lock is owned by another user")
        item.lock = None
        item.changed()
        return item.id

    return do


def updated(old: Template, call: Call) -> Template:
    if call.integer(2) not in (0, 1):
        raise OneError(errors.XML_RPC_API, "Wrong update type")
    new = parsed(call, 1, "Cannot update template. ")
    return old.merged(new) if call.integer(2) == 1 else new
