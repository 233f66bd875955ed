"""Who may do what with which object: permission bits, groups, locks, and rules of creation.

Source: the recordings of permissions.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from provision_engine.sandbox import errors
from provision_engine.sandbox.errors import OneError
from provision_engine.sandbox.objects import USERS_GROUP, Owned, User

USE, MANAGE, ADMIN = 0, 1, 2
_NAMES = ("USE", "MANAGE", "ADMIN")
LOCK_STATES = {1: 1, 2: 2, 3: 3, 4: 1}
"""The level of a lock by the level that was requested."""
# The lowest operation each level forbids (scenario lock-levels-allow-update: under level 3 the
# owner may still update and rename).
_LOCK_FORBIDS_FROM = {1: USE, 2: MANAGE, 3: ADMIN}


def allowed(user: User, item: Owned, operation: int) -> bool:
    """Do the permission bits allow this operation to that user?"""
    bits = item.permissions
    return bool(
        user.is_admin
        or (item.uid == user.id and bits[operation])
        or (item.gid in user.groups and bits[3 + operation])
        or bits[6 + operation]
    )


def listed(user: User, item: Owned) -> bool:
    """Do pool calls show the object to that user? Its owner always sees it."""
    return item.uid == user.id or allowed(user, item, USE)


def locked_against(item: Owned, operation: int) -> bool:
    """Does the object's lock forbid this operation?"""
    return item.lock is not None and operation >= _LOCK_FORBIDS_FROM[item.lock.level]


_INDIVIDUAL, _GROUP, _ALL = 0x100000000, 0x200000000, 0x400000000
_CREATE = 8
KIND_BITS = {
    "VM": 0x1000000000,
    "USER": 0x10000000000,
    "TEMPLATE": 0x20000000000,
    "GROUP": 0x40000000000,
    "DOCUMENT": 0x400000000000,
}
"""The kinds of objects in access rules."""


@dataclass
class CreationRules:
    """The access rules, of which only those about the right to create objects have an effect.

    At first, the members of the group `users` may create VMs, VM templates and documents.
    """

    next_id: int = 3
    _rules: dict[int, tuple[int, int, int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        kinds = sum(KIND_BITS[kind] for kind in ("VM", "TEMPLATE", "DOCUMENT"))
        self._rules[0] = (_GROUP + USERS_GROUP, kinds + _ALL, _CREATE)

    def add(self, user: int, resource: int, rights: int) -> int:
        """Adds a rule in the numbers of one.acl.addrule and returns its id."""
        self._rules[self.next_id] = user, resource, rights
        self.next_id += 1
        return self.next_id - 1

    def remove(self, rule_id: int) -> bool:
        """Removes a rule; False if there is none with that id."""
        return self._rules.pop(rule_id, None) is not None

    def allow(self, user: User, kind: str) -> bool:
        """May that user create objects of that kind?"""
        wanted = KIND_BITS.get(kind, 0)
        return user.is_admin or any(resource & wanted for resource in self._resources_of(user))

    def _resources_of(self, user: User) -> Iterator[int]:
        who = {_ALL, _INDIVIDUAL + user.id, *(_GROUP + number for number in user.groups)}
        for rule_user, resource, rights in self._rules.values():
            if rule_user in who and resource & _ALL and rights & _CREATE:
                yield resource


class Authorization:
    """The rights that one call needs; the error of `check` names each one that is missing."""

    def __init__(self, user: User, rules: CreationRules) -> None:
        self._user = user
        self._rules = rules
        self._missing: list[str] = []

    def needs(self, operation: int, item: Owned, check_lock: bool = True) -> Authorization:
        """The right to do this with an object, unless its lock forbids that."""
        is_locked = check_lock and locked_against(item, operation)
        if is_locked and self._user.is_admin:
            self._refuse_locked(item)
        elif is_locked or not allowed(self._user, item, operation):
            self._deny(f"{_NAMES[operation]} {item.kind} [{item.id}]")
        return self

    def needs_admin(self, what: str) -> Authorization:
        """A right that only administrators have, e.g. MANAGE ACL."""
        if not self._user.is_admin:
            self._deny(what)
        return self

    def needs_clone(self, item: Owned, needs_use: bool) -> Authorization:
        """The rights to clone an object: to create such objects and, if asked for, to use it."""
        if needs_use:
            self.needs(USE, item)
        elif item.lock and self._user.is_admin:
            self._refuse_locked(item)
        elif item.lock or not self._rules.allow(self._user, item.kind):
            self._deny(f"CREATE {item.kind} [{item.id}]")
        return self.needs_creation(item.kind)

    def needs_creation(self, kind: str) -> Authorization:
        """The right to create objects of that kind."""
        if not self._rules.allow(self._user, kind):
            self._deny(f"CREATE {kind}")
        return self

    def _refuse_locked(self, item: Owned) -> None:
        self._missing.append(f"{item.kind} is locked. [{item.id}]")

    def _deny(self, what: str) -> None:
        self._missing.append(f"Not authorized to perform {what}")

    def check(self) -> None:
        """0x0200 if a right is missing."""
        if self._missing:
            text = "; ".join(self._missing)
            raise OneError(errors.AUTHORIZATION, f"User [{self._user.id}] : {text}.")
