"""What the XML-RPC methods share: their arguments, and the operations common to all objects."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from provision_engine.sandbox import errors, names, store, template
from provision_engine.sandbox.errors import OneError
from provision_engine.sandbox.store import (
    ADMIN,
    MANAGE,
    Document,
    Lock,
    Owned,
    Pool,
    User,
    Vm,
    VmTemplate,
)
from provision_engine.sandbox.template import Template, TemplateError
from provision_engine.sandbox.world import World

Parameter = int | str | bool | float
Value = int | str


class Call(NamedTuple):
    """The argument of each method's function."""

    world: World
    user: User
    request_id: int
    arguments: list[Parameter]

    def integer(self, position: int, default: int = 0) -> int:
        """The integer at that position after the session."""
        return int(self.arguments[position]) if position < len(self.arguments) else default

    def text(self, position: int, default: str = "") -> str:
        """The string at that position after the session."""
        return str(self.arguments[position]) if position < len(self.arguments) else default

    def flag(self, position: int) -> bool:
        """The boolean at that position after the session."""
        return position < len(self.arguments) and bool(self.arguments[position])

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


def pool_of(call: Call, kind: type[Owned]) -> Pool[Owned]:
    pools: dict[type[Owned], object] = {
        Document: call.world.store.documents,
        VmTemplate: call.world.store.vm_templates,
        Vm: call.world.store.vms,
    }
    return pools[kind]  # type: ignore[return-value]


def authorized(call: Call, kind: type[Owned], operation: int, check_lock: bool = True) -> Owned:
    pool = pool_of(call, kind)
    item = pool.get(call.integer(0))
    call.world.store.authorize(call.user, item, operation, pool.type_name, check_lock)
    return item


def rename(kind: type[Owned]) -> Callable[[Call], Value]:
    def do(call: Call) -> Value:
        item = authorized(call, kind, MANAGE)
        names.check_rename(call.text(1))
        item.name = call.text(1)
        item.changed()
        return item.id

    return do


_ADMIN_BITS = (2, 5, 8)
"""Positions of the ADMIN bits; changing one of them requires the ADMIN right."""


def chmod(kind: type[Owned]) -> Callable[[Call], Value]:
    def do(call: Call) -> Value:
        wanted = [call.integer(i) for i in range(1, 10)]
        item = authorized(call, kind, MANAGE)
        if any(wanted[i] not in (-1, item.permissions[i]) for i in _ADMIN_BITS):
            item = authorized(call, kind, ADMIN)
        pairs = zip(item.permissions, wanted, strict=True)
        item.permissions = [old if new == -1 else int(bool(new)) for old, new in pairs]
        item.changed()
        pool_of(call, kind).permissions_changed(item)
        return item.id

    return do


def chown(kind: type[Owned]) -> Callable[[Call], Value]:
    def do(call: Call) -> Value:
        item = authorized(call, kind, MANAGE)
        if not call.user.is_admin:
            raise store.not_authorized(call.user, MANAGE, "USER", call.integer(1))
        owner = call.world.store.users.get(call.integer(1))
        if owner is None:
            raise errors.no_such("user", call.integer(1))
        pool_of(call, kind).owner_changed(item, owner)
        return item.id

    return do


def lock(kind: type[Owned]) -> Callable[[Call], Value]:
    def do(call: Call) -> Value:
        item = authorized(call, kind, MANAGE, check_lock=False)
        level, tests = call.integer(1), call.flag(2)
        if level not in (1, 2, 3, 4):
            raise OneError(errors.ACTION, "Wrong lock level specified")
        if item.lock and tests:
            raise OneError(errors.ACTION, str(item.lock.time))
        if item.lock and item.lock.owner != call.user.id and not call.user.is_admin:
            raise OneError(errors.ACTION, "Error trying to lock the resource.")
        now = call.world.store.agenda.seconds()
        item.lock = Lock(level, call.user.id, now, call.request_id)
        item.changed()
        return item.id

    return do


def unlock(kind: type[Owned]) -> Callable[[Call], Value]:
    def do(call: Call) -> Value:
        item = authorized(call, kind, MANAGE, check_lock=False)
        if item.lock and item.lock.owner != call.user.id and not call.user.is_admin:
            raise OneError(errors.ACTION, "Error trying to unlock the resource.")
        item.lock = None
        item.changed()
        return item.id

    return do


def updated(old: Template, call: Call) -> Template:
    new = parsed(call, 1, "Cannot update template. ")
    return old.merged(new) if call.integer(2) == 1 else new
