"""The XML-RPC methods of users, groups and access rules.

Source: the scenarios names-and-ids, logins, membership, creation-of-users and access-rules.
"""

from __future__ import annotations

import secrets

from provision_engine.sandbox import errors, names, render
from provision_engine.sandbox.calls import Call, Value, authorized, parsed, pool_of, updated
from provision_engine.sandbox.errors import OneError
from provision_engine.sandbox.permissions import ADMIN, MANAGE, USE
from provision_engine.sandbox.store import ADMINS_GROUP, USERS_GROUP, Group, LoginToken, User

MAXIMUM_TOKEN_SECONDS = 2_592_000
_USABLE = -2


def _group(call: Call, position: int) -> Group:
    return call.world.store.groups.get(call.integer(position))


# ---- users ---------------------------------------------------------------------------------------


def user_allocate(call: Call) -> Value:
    name, password, driver = (call.text(i) for i in range(3))
    store = call.world.store
    groups = [store.groups.get(number) for number in call.numbers(3)]
    rights = call.authorization().needs_creation("USER")
    for group in groups:
        if group.id != call.user.gid:
            rights.needs(MANAGE, group)
    rights.check()
    _check_password(password, ".", errors.INTERNAL)
    names.check_user_name(name)
    taken = store.users_by_name.get(name)
    if taken is not None:
        raise OneError(errors.INTERNAL, f"NAME is already taken by USER {taken.id}.")
    own = USERS_GROUP if call.user.gid == ADMINS_GROUP else call.user.gid
    ids = [group.id for group in groups] or [own]
    made = store.add_user(name, password, ids[0], driver=driver or "core")
    made.groups.update(ids)
    made.template.set("TOKEN_PASSWORD", secrets.token_hex(32))
    return made.id


def _check_password(password: str, end: str, code: int) -> None:
    if not password:
        raise OneError(code, f"Invalid password, it cannot be empty{end}")
    blank = next((c for c in password if c in " \t\n\v\f\r"), None)
    if blank:
        raise OneError(code, f"Invalid password, character '{blank}' is not allowed{end}")


def user_delete(call: Call) -> Value:
    person = authorized(call, User, ADMIN)
    if person.id == 0:
        raise OneError(errors.ACTION, "Cannot delete user. oneadmin cannot be deleted.")
    call.world.store.remove_user(person)
    return person.id


def user_info(call: Call) -> Value:
    if call.integer(0) == -1:
        return render.user(call.world.store, call.world.store.users.get(call.user.id))
    return render.user(call.world.store, authorized(call, User, USE, check_lock=False))


def user_update(call: Call) -> Value:
    person = authorized(call, User, MANAGE)
    person.template = updated(person.template, call)
    return person.id


def user_passwd(call: Call) -> Value:
    person = authorized(call, User, MANAGE)
    _check_password(call.text(1), "", errors.ACTION)
    person.password = call.text(1)
    return person.id


def user_enable(call: Call) -> Value:
    person = authorized(call, User, ADMIN)
    if person.id == 0:
        raise OneError(errors.ACTION, "Cannot enable/disable oneadmin user")
    person.is_enabled = call.flag(1)
    if not person.is_enabled:
        person.tokens.clear()
    return person.id


def user_quota(call: Call) -> Value:
    person = authorized(call, User, ADMIN)
    for limits in parsed(call, 1).vectors("VM"):
        try:
            person.quotas.set_limits(limits)
        except ValueError:
            raise OneError(errors.INTERNAL, "Wrong quota value") from None
    return person.id


def user_login(call: Call) -> Value:
    """Adds a login token, or with a duration of 0 removes it (or all, if it is empty)."""
    person = call.world.store.users_by_name.get(call.text(0))
    if person is None:
        raise errors.no_such("user", -1)
    call.authorization().needs(MANAGE, person).check()
    token, seconds, group_id = call.text(1), call.integer(2), call.integer(3, -1)
    if seconds == 0:
        return _forget_token(person, token)
    is_member = group_id in person.groups and group_id in call.user.groups
    if group_id != -1 and not is_member and not call.user.is_admin:
        raise OneError(errors.XML_RPC_API, "EGID is not in user group list")
    if group_id == -1 and person.groups != call.user.groups:
        text = "Cannot create a full token with a specific group token"
        raise OneError(errors.XML_RPC_API, text)
    token = token or secrets.token_hex(32)
    lasts = MAXIMUM_TOKEN_SECONDS if seconds == -1 else min(seconds, MAXIMUM_TOKEN_SECONDS)
    expires = call.world.store.agenda.seconds() + lasts
    person.tokens.append(LoginToken(token, expires, group_id))
    return token


def _forget_token(person: User, token: str) -> Value:
    kept = [t for t in person.tokens if token and t.token != token]
    if token and len(kept) == len(person.tokens):
        raise OneError(errors.XML_RPC_API, f"Could not find token: {token}")
    person.tokens = kept
    return token


def userpool_info(call: Call) -> Value:
    store = call.world.store
    return render.user_pool(store, store.users.select(call.user, _USABLE, -1, -1))


# ---- membership ----------------------------------------------------------------------------------


def user_chgrp(call: Call) -> Value:
    """Changes the primary group; the old one is left unless the new one was a secondary one."""
    person = call.world.store.users.get(call.integer(0))
    group = _group(call, 1)
    if person.id == 0:
        text = "USER [0] oneadmin cannot be moved outside of the GROUP [0] oneadmin"
        raise OneError(errors.INTERNAL, text)
    call.authorization().needs(MANAGE, person).needs(USE, group).check()
    if group.id not in person.groups:
        person.groups.discard(person.gid)
        person.groups.add(group.id)
    call.world.store.users.give(person, None, group)
    return person.id


def _edited(call: Call) -> tuple[User, Group]:
    person, group = call.world.store.users.get(call.integer(0)), _group(call, 1)
    call.authorization().needs(MANAGE, person).needs(MANAGE, group).check()
    return person, group


def user_addgroup(call: Call) -> Value:
    person, group = _edited(call)
    if group.id in person.groups:
        raise OneError(errors.ACTION, "User is already in this group")
    person.groups.add(group.id)
    return person.id


def user_delgroup(call: Call) -> Value:
    person, group = _edited(call)
    if group.id == person.gid:
        raise OneError(errors.ACTION, "Cannot remove user from the primary group")
    if group.id not in person.groups:
        raise OneError(errors.ACTION, "User is not part of this group")
    person.groups.remove(group.id)
    return person.id


# ---- groups and access rules -----------------------------------------------------------------


def group_allocate(call: Call) -> Value:
    name, groups = call.text(0), call.world.store.groups
    call.authorization().needs_creation("GROUP").check()
    names.check_group_name(name, call.world.store.release.group_names_hold_blanks)
    taken = groups.named(name)
    if taken is not None:
        raise OneError(errors.INTERNAL, f"NAME is already taken by GROUP {taken.id}.")
    return call.world.store.add_group(name).id


def group_info(call: Call) -> Value:
    number = call.integer(0)
    group = call.world.store.groups.get(call.user.gid if number == -1 else number)
    call.authorization().needs(USE, group, check_lock=False).check()
    return render.group(call.world.store, group)


def group_delete(call: Call) -> Value:
    group, store = _group(call, 0), call.world.store
    call.authorization().needs(ADMIN, group).check()
    refusal = None
    if group.id in (ADMINS_GROUP, USERS_GROUP):
        refusal = "System Groups (ID < 100) cannot be deleted."
    elif any(group.id in person.groups for person in store.users.all()):
        refusal = f"Group {group.id} is not empty."
    if refusal:
        raise OneError(errors.ACTION, f"Cannot delete group. {refusal}")
    pool_of(call, Group).remove(group)
    return group.id


def grouppool_info(call: Call) -> Value:
    store = call.world.store
    return render.group_pool(store, store.groups.select(call.user, _USABLE, -1, -1))


def acl_addrule(call: Call) -> Value:
    call.authorization().needs_admin("MANAGE ACL").check()
    try:
        user, resource, rights = (int(call.text(i), 16) for i in range(3))
    except ValueError:
        raise OneError(errors.INTERNAL, "Wrong access rule") from None
    return call.world.store.rules.add(user, resource, rights)


def acl_delrule(call: Call) -> Value:
    call.authorization().needs_admin("MANAGE ACL").check()
    number = call.integer(0)
    if not call.world.store.rules.remove(number):
        raise OneError(errors.INTERNAL, f"Rule {number} does not exist")
    return number
