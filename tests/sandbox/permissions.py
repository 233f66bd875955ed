"""Scenarios for `record.py`: who may do what with whose objects, and what pool calls list.

Each scenario creates its users and objects, and removes them afterwards.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .record import Recorder

    People = dict[str, Recorder]

USERS, ADMINS = 1, 0
"""Ids of the groups that every OpenNebula has."""
ONEADMIN, SERVERADMIN = 0, 1
"""Ids of the users that every OpenNebula has."""
NOBODY = 9_999
KIND = 4711
"""A document type of which there are no other documents."""
SERVICE, FLOW_TEMPLATE, RUNTIME = 100, 101, 1337
MODES = ("600", "640", "660", "604", "606", "644", "666", "400", "060", "006", "000")
FEW_MODES = ("600", "660", "644", "666")
SMALL_VM = "CPU=0.1\nMEMORY=16\n"
VMS, TEMPLATES, DOCUMENTS = 0x1000000000, 0x20000000000, 0x400000000000
GROUP, ALL, CREATE = 0x200000000, 0x400000000, 8
"""The bits of access rules: kinds of objects, whose they are, and the right to create some."""


def bits(mode: str) -> list[int]:
    """The nine bits of an octal mode."""
    return [int(digit) >> shift & 1 for digit in mode for shift in (2, 1, 0)]


def _value(answer: list[Any]) -> int:
    assert answer[0], answer
    return int(answer[1])


@contextmanager
def _people(r: Recorder) -> Iterator[People]:
    """Users of a scenario, by their part in it; `ids` holds their ids.

    The mate is in the owner's group, the outsider in another one, the member in both, and the
    deputy has the administrators' group as a second one.
    """
    admin = r.by("oneadmin")
    team = _value(admin.one("group.allocate", "team"))
    groups = {
        "owner": [USERS],
        "mate": [USERS],
        "outsider": [team],
        "member": [team, USERS],
        "deputy": [USERS, ADMINS],
    }
    r.ids = {"team": team}
    for name, numbers in groups.items():
        allocated = admin.one("user.allocate", name, f"{name}-pass", "", numbers)
        r.ids[name] = _value(allocated)
    try:
        yield {name: r.by(name, f"{name}-pass") for name in groups} | {"oneadmin": admin}
    finally:
        for name in groups:
            admin.one("user.delete", r.ids[name])
        admin.one("group.delete", team)


# ---- names, users and groups -------------------------------------------------------------------


def names_and_ids(r: Recorder) -> None:
    """What of other users and groups an ordinary user can see, and what may be handed over."""
    with _people(r) as people:
        owner, admin = people["owner"], people["oneadmin"]
        public = _value(admin.one("document.allocate", 'NAME="public"', KIND))
        admin.one("document.chmod", public, *bits("644"))
        mine = _value(owner.one("document.allocate", 'NAME="mine"', KIND))
        owner.one("userpool.info")
        owner.one("grouppool.info")
        for number in (-1, ONEADMIN, SERVERADMIN, r.ids["mate"], NOBODY):
            owner.one("user.info", number, False)
        for number in (-1, ADMINS, USERS, r.ids["team"], NOBODY):
            owner.one("group.info", number, False)
        owner.one("document.info", public, False)
        for user, group in (
            (-1, ADMINS),
            (-1, r.ids["team"]),
            (ONEADMIN, -1),
            (r.ids["mate"], -1),
            (r.ids["owner"], USERS),
            (-1, NOBODY),
            (NOBODY, -1),
            (-1, -1),
        ):
            owner.one("document.chown", mine, user, group)
            owner.one("document.info", mine, False)
        people["member"].one("grouppool.info")
        people["member"].one("group.info", -1, False)
        for name in ("deputy", "oneadmin"):
            people[name].one("user.info", r.ids["mate"], False)
            people[name].one("group.info", r.ids["team"], False)
            people[name].one("grouppool.info")
        admin.one("document.delete", mine)
        admin.one("document.delete", public)


def logins(r: Recorder) -> None:
    """user.info of oneself by password and token; spelling of names; passwords; switched off."""
    with _people(r) as people:
        admin = people["oneadmin"]
        for name, person in people.items():
            if name != "oneadmin":
                person.one("user.info", -1, False)
        for name in ("Owner", "OWNER", "owner ", " owner", "owner\n", "öwner", "own er"):
            r.by(name, "owner-pass").one("user.info", -1, False)
        for password in ("", "Owner-pass", "owner-pass ", "owner-pass\n"):
            r.by("owner", password).one("user.info", -1, False)
        _tokens(r, people)
        owner, number = people["owner"], r.ids["owner"]
        people["mate"].one("user.passwd", number, "stolen")
        for text in ("", "with blank", "new-pass"):
            owner.one("user.passwd", number, text)
        owner.one("system.version")
        r.by("owner", "new-pass").one("system.version")
        admin.one("user.enable", number, False)
        r.by("owner", "new-pass").one("system.version")
        admin.one("user.info", number, False)
        admin.one("user.enable", number, True)
        r.by("owner", "new-pass").one("system.version")


def _tokens(r: Recorder, people: People) -> None:
    member, team = people["member"], r.ids["team"]
    member.one("user.login", "member", "token-1", 3600, -1)
    member.one("user.login", "member", "token-2", 3600, team)
    member.one("user.login", "member", "token-3", 3600, USERS)
    member.one("user.login", "member", "token-4", 3600, ADMINS)
    people["mate"].one("user.login", "member", "token-5", 3600, -1)
    for token in ("token-1", "token-2", "token-3", "token-4"):
        holder = r.by("member", token)
        holder.one("user.info", -1, False)
        holder.flow("GET", f"/service/{NOBODY}")
        answer = holder.one("document.allocate", 'A="1"', KIND)
        if answer[0]:
            holder.one("document.info", answer[1], False)
            holder.one("documentpool.info", -4, -1, -1, KIND)
            member.one("document.delete", answer[1])
    member.one("user.login", "member", "token-1", 0, -1)
    r.by("member", "token-1").one("system.version")
    deputy = people["deputy"]
    deputy.one("user.login", "deputy", "token-6", 3600, USERS)
    holder = r.by("deputy", "token-6")
    holder.one("user.info", -1, False)
    holder.one("user.info", r.ids["owner"], False)


def membership(r: Recorder) -> None:
    """Groups of users, and what they change for objects that exist already."""
    with _people(r) as people:
        owner, mate, admin = people["owner"], people["mate"], people["oneadmin"]
        number, team = r.ids["owner"], r.ids["team"]
        document = _value(owner.one("document.allocate", 'A="1"', KIND))
        owner.one("document.chmod", document, *bits("660"))
        for caller in (owner, mate, people["deputy"]):
            for method in ("user.addgroup", "user.chgrp"):
                for group in (team, ADMINS, NOBODY):
                    caller.one(method, number, group)
                    admin.one("user.info", number, False)
        owner.one("user.delgroup", number, team)
        owner.one("user.chgrp", number, USERS)
        admin.one("user.delgroup", number, USERS)
        admin.one("user.chgrp", number, USERS)
        admin.one("user.delgroup", number, ADMINS)
        admin.one("user.delgroup", number, team)
        admin.one("user.delgroup", number, team)
        admin.one("user.info", number, False)
        outsider = people["outsider"]
        outsider.one("document.update", document, 'B="1"', 1)
        admin.one("user.addgroup", r.ids["outsider"], USERS)
        admin.one("user.addgroup", r.ids["outsider"], USERS)
        outsider.one("document.update", document, 'B="2"', 1)
        outsider.one("documentpool.info", -1, -1, -1, KIND)
        outsider.one("documentpool.info", -4, -1, -1, KIND)
        outsider.one("documentpool.info", -2, -1, -1, KIND)
        second = _value(outsider.one("document.allocate", 'A="1"', KIND))
        admin.one("document.delete", second)
        admin.one("group.delete", team)
        admin.one("group.delete", USERS)
        admin.one("document.delete", document)
        admin.one("documentpool.info", -2, -1, -1, KIND)


def creation_of_users(r: Recorder) -> None:
    """user.allocate and group.allocate, by administrators and others."""
    with _people(r) as people:
        admin, owner = people["oneadmin"], people["owner"]
        made = []
        for arguments in (
            ("owner", "x", "", []),
            ("Owner", "x", "", []),
            ("", "x", "", []),
            ("with blank", "x", "", []),
            ("with:colon", "x", "", []),
            ("a<b", "x", "", []),
            ("x" * 129, "x", "", []),
            ("ümläut", "x", "", []),
            ("emptypass", "", "", []),
            ("blankpass", "a b", "", []),
            ("plain", "plain-pass", "core", []),
            ("grouped", "x", "", [r.ids["team"], USERS]),
            ("nogroup", "x", "", [NOBODY]),
        ):
            answer = admin.one("user.allocate", *arguments)
            if answer[0]:
                made.append(answer[1])
                admin.one("user.info", answer[1], False)
        owner.one("user.allocate", "mine", "x", "", [])
        owner.one("user.allocate", "mine", "x", "", [r.ids["team"]])
        r.by("plain", "plain-pass").one("system.version")
        _create_groups(people)
        owner.one("user.delete", made[0])
        owner.one("user.delete", r.ids["owner"])
        admin.one("user.delete", NOBODY)
        admin.one("user.delete", ONEADMIN)
        for number in made:
            admin.one("user.delete", number)
        r.by("plain", "plain-pass").one("system.version")


def _create_groups(people: People) -> None:
    admin, owner = people["oneadmin"], people["owner"]
    owner.one("group.allocate", "mine")
    for name in ("team", "", "a<b", "x" * 129, "with blank"):
        answer = admin.one("group.allocate", name)
        if answer[0]:
            admin.one("group.info", answer[1], False)
            owner.one("group.delete", answer[1])
            admin.one("group.delete", answer[1])


def access_rules(r: Recorder) -> None:
    """Who may create objects: the group `users` may, a new group not before it has a rule."""
    with _people(r) as people:
        admin, outsider, team = people["oneadmin"], people["outsider"], r.ids["team"]
        outsider.one("document.allocate", 'A="1"', KIND)
        outsider.one("template.allocate", 'NAME="x"')
        outsider.one("vm.allocate", SMALL_VM, True)
        outsider.one("template.instantiate", 0, "x", True, "", False)
        template = _value(people["member"].one("template.allocate", 'NAME="members"'))
        admin.one("template.delete", template, False)
        numbers = (GROUP + team, DOCUMENTS + VMS + ALL, CREATE)
        rule = [f"{number:x}" for number in numbers]
        outsider.one("acl.addrule", *rule)
        added = _value(admin.one("acl.addrule", *rule))
        document = _value(outsider.one("document.allocate", 'A="1"', KIND))
        outsider.one("template.allocate", 'NAME="x"')
        outsider.one("acl.delrule", added)
        admin.one("acl.delrule", added)
        outsider.one("document.allocate", 'A="1"', KIND)
        admin.one("document.delete", document)


# ---- permissions -------------------------------------------------------------------------------


def _each(r: Recorder, modes: tuple[str, ...]) -> Iterator[tuple[People, str, Recorder]]:
    """Every mode and every user who is to try."""
    with _people(r) as people:
        for mode in modes:
            for name in ("owner", "mate", "outsider", "member", "deputy"):
                if mode in FEW_MODES or name in ("owner", "mate", "outsider"):
                    yield people, mode, people[name]


def documents_by_mode(r: Recorder) -> None:
    for people, mode, caller in _each(r, MODES):
        owner, admin = people["owner"], people["oneadmin"]
        number = _value(owner.one("document.allocate", 'NAME="it"\nBODY="{}"', RUNTIME))
        owner.one("document.chmod", number, *bits(mode))
        caller.one("document.info", number, False)
        caller.one("documentpool.info", -2, number, number, RUNTIME)
        caller.one("document.update", number, 'B="1"', 1)
        caller.one("document.rename", number, "renamed")
        caller.one("document.lock", number, 3, True)
        caller.one("document.unlock", number)
        copy = caller.one("document.clone", number, "copy")
        if copy[0]:
            caller.one("document.info", copy[1], False)
            admin.one("document.delete", copy[1])
        caller.one("document.chown", number, -1, USERS)
        caller.one("document.chmod", number, *[-1] * 8, 1)
        caller.one("document.chmod", number, *[-1] * 3, 1, 1, -1, -1, -1, -1)
        admin.one("document.info", number, False)
        caller.one("document.delete", number)
        admin.one("document.delete", number)


def admin_bits(r: Recorder) -> None:
    """The bits of ADMIN: who may set them, and what they allow."""
    with _people(r) as people:
        owner, admin, mate = people["owner"], people["oneadmin"], people["mate"]
        number = _value(owner.one("document.allocate", 'A="1"', KIND))
        for mode in ("700", "610", "601", "777"):
            owner.one("document.chmod", number, *bits(mode))
        for caller in (people["deputy"], admin):
            caller.one("document.chmod", number, *bits("777"))
            admin.one("document.info", number, False)
            mate.one("document.chmod", number, *bits("770"))
            mate.one("document.chmod", number, *bits("666"))
            owner.one("document.chmod", number, *bits("600"))
        owner.one("document.chmod", number, 2, *[-1] * 8)
        owner.one("document.chmod", number, *[-1] * 9)
        owner.one("document.chmod", NOBODY, *[-1] * 9)
        admin.one("document.delete", number)


def templates_by_mode(r: Recorder) -> None:
    for people, mode, caller in _each(r, FEW_MODES):
        owner, admin = people["owner"], people["oneadmin"]
        number = _value(owner.one("template.allocate", f'NAME="it"\n{SMALL_VM}'))
        owner.one("template.chmod", number, *bits(mode), False)
        caller.one("template.info", number, False, False)
        caller.one("template.info", number, True, False)
        caller.one("templatepool.info", -2, number, number)
        caller.one("template.update", number, 'B="1"', 1)
        caller.one("template.rename", number, "renamed")
        caller.one("template.lock", number, 3, True)
        caller.one("template.unlock", number)
        copy = caller.one("template.clone", number, "copy", False)
        if copy[0]:
            caller.one("template.info", copy[1], False, False)
            admin.one("template.delete", copy[1], False)
        vm = caller.one("template.instantiate", number, "", True, 'OWNED="yes"', False)
        if vm[0]:
            caller.one("vm.info", vm[1], False)
            admin.one("vm.action", "terminate-hard", vm[1])
        caller.one("template.chown", number, -1, USERS)
        caller.one("template.chmod", number, *[-1] * 8, 1, False)
        caller.one("template.delete", number, False)
        admin.one("template.delete", number, False)


def vms_by_mode(r: Recorder) -> None:
    for people, mode, caller in _each(r, FEW_MODES):
        owner, admin = people["owner"], people["oneadmin"]
        vm = _value(owner.one("vm.allocate", f'NAME="it"\n{SMALL_VM}', True))
        owner.one("vm.chmod", vm, *bits(mode))
        action = owner.one("vm.schedadd", vm, 'SCHED_ACTION=[ACTION="suspend",TIME="2000000000"]')
        caller.one("vm.info", vm, False)
        caller.one("vmpool.infoset", str(vm), True)
        caller.one("vm.update", vm, 'B="1"', 1)
        caller.one("vm.rename", vm, "renamed")
        caller.one("vm.lock", vm, 3, True)
        caller.one("vm.unlock", vm)
        caller.one("vm.resize", vm, "CPU=0.2\nMEMORY=32", True)
        caller.one("vm.diskresize", vm, 0, "2048")
        for text in ("suspend", "hold", "resched", "nonsense"):
            caller.one("vm.action", text, vm)
        caller.one("vm.recover", vm, 2)
        caller.one("vm.schedadd", vm, 'SCHED_ACTION=[ACTION="suspend",TIME="2000000001"]')
        changed = 'SCHED_ACTION=[ACTION="suspend",TIME="2000000002"]'
        caller.one("vm.schedupdate", vm, action[1], changed)
        caller.one("vm.scheddelete", vm, action[1])
        caller.one("vm.chown", vm, -1, USERS)
        caller.one("vm.chmod", vm, *[-1] * 8, 1)
        caller.one("vm.action", "terminate-hard", vm)
        admin.one("vm.info", vm, False)
        admin.one("vm.action", "terminate-hard", vm)


def umasks(r: Recorder) -> None:
    """The permissions of new objects."""
    with _people(r) as people:
        for name in ("owner", "member", "deputy"):
            person = people[name]
            for umask in ("", "022", "133", "077", "000", "007", "777", "abc", "-1", "1777"):
                if umask:
                    person.one("user.update", r.ids[name], f'UMASK="{umask}"', 1)
                answer = person.one("document.allocate", 'A="1"', KIND)
                if answer[0]:
                    people["oneadmin"].one("document.info", answer[1], False)
                    people["oneadmin"].one("document.delete", answer[1])
        owner, admin = people["owner"], people["oneadmin"]
        owner.one("user.update", r.ids["owner"], 'UMASK="022"', 1)
        template = _value(owner.one("template.allocate", f'NAME="it"\n{SMALL_VM}'))
        owner.one("template.info", template, False, False)
        vm = _value(owner.one("template.instantiate", template, "", True, "", False))
        owner.one("vm.info", vm, False)
        admin.one("vm.action", "terminate-hard", vm)
        admin.one("template.delete", template, False)


def locks_of_others(r: Recorder) -> None:
    """Locks of documents with mode 666, by their owner and by others."""
    with _people(r) as people:
        owner, mate, admin = people["owner"], people["mate"], people["oneadmin"]
        for holder, other in ((owner, mate), (mate, owner), (admin, owner), (owner, admin)):
            for level in (1, 2, 3, 4):
                number = _value(owner.one("document.allocate", 'A="1"', KIND))
                owner.one("document.chmod", number, *bits("666"))
                holder.one("document.lock", number, level, True)
                for caller in (holder, other):
                    caller.one("document.info", number, False)
                    caller.one("document.update", number, 'B="1"', 1)
                    caller.one("document.rename", number, f"{caller.user}-{level}")
                    caller.one("document.chmod", number, *[-1] * 5, 1, -1, -1, -1)
                    caller.one("document.chown", number, -1, USERS)
                    copy = caller.one("document.clone", number, "copy")
                    if copy[0]:
                        admin.one("document.delete", copy[1])
                    caller.one("document.lock", number, level, True)
                    caller.one("document.lock", number, 2, False)
                    admin.one("document.info", number, False)
                    caller.one("document.lock", number, level, False)
                other.one("document.unlock", number)
                other.one("document.delete", number)
                holder.one("document.unlock", number)
                holder.one("document.unlock", number)
                admin.one("document.info", number, False)
                holder.one("document.delete", number)
                admin.one("document.unlock", number)
                admin.one("document.delete", number)


def locks_of_vms_and_templates(r: Recorder) -> None:
    with _people(r) as people:
        owner, mate, admin = people["owner"], people["mate"], people["oneadmin"]
        for level in (1, 2, 3):
            template = _value(owner.one("template.allocate", f'NAME="{level}"\n{SMALL_VM}'))
            owner.one("template.chmod", template, *bits("666"), False)
            mate.one("template.lock", template, level, True)
            owner.one("template.info", template, False, False)
            owner.one("template.update", template, 'B="1"', 1)
            vm = owner.one("template.instantiate", template, "", True, "", False)
            if vm[0]:
                owner.one("vm.action", "terminate-hard", vm[1])
            owner.one("template.unlock", template)
            owner.one("template.delete", template, False)
            mate.one("template.unlock", template)
            admin.one("template.delete", template, False)
        vm_id = _value(owner.one("vm.allocate", f'NAME="it"\n{SMALL_VM}', True))
        owner.one("vm.chmod", vm_id, *bits("666"))
        for level in (1, 2, 3, 4):
            mate.one("vm.lock", vm_id, level, True)
            owner.one("vm.info", vm_id, False)
            for caller in (owner, admin):
                caller.one("vm.update", vm_id, 'B="1"', 1)
                caller.one("vm.action", "hold", vm_id)
                caller.one("vm.action", "resched", vm_id)
                caller.one("vm.resize", vm_id, "CPU=0.2", True)
                caller.one(
                    "vm.schedadd", vm_id, 'SCHED_ACTION=[ACTION="suspend",TIME="2000000000"]'
                )
            owner.one("vm.unlock", vm_id)
            mate.one("vm.unlock", vm_id)
        admin.one("vm.action", "terminate-hard", vm_id)


def handing_over(r: Recorder) -> None:
    """chown and chgrp of documents, VM templates and VMs."""
    with _people(r) as people:
        owner, admin, mate = people["owner"], people["oneadmin"], people["mate"]
        made = {
            "document": _value(owner.one("document.allocate", 'NAME="it"', KIND)),
            "template": _value(owner.one("template.allocate", f'NAME="it"\n{SMALL_VM}')),
            "vm": _value(owner.one("vm.allocate", f'NAME="it"\n{SMALL_VM}', True)),
        }
        team, member = r.ids["team"], r.ids["member"]
        for kind, number in made.items():
            info = (number, False, False) if kind == "template" else (number, False)
            for caller in (owner, mate, admin):
                for user, group in ((member, -1), (-1, team), (member, team), (-1, ADMINS)):
                    caller.one(f"{kind}.chown", number, user, group)
                    admin.one(f"{kind}.info", *info)
            admin.one(f"{kind}.chown", number, NOBODY, -1)
            admin.one(f"{kind}.chown", number, -1, NOBODY)
            people["member"].one(f"{kind}.chown", number, r.ids["member"], USERS)
            owner.one(f"{kind}.info", *info)
            people["member"].one(f"{kind}.chown", number, -1, team)
            people["member"].one(f"{kind}.chown", number, r.ids["owner"], -1)
            people["member"].one(f"{kind}.info", *info)
            admin.one(f"{kind}.chown", number, r.ids["owner"], USERS)
            for mode in FEW_MODES:
                more = (False,) if kind == "template" else ()
                admin.one(f"{kind}.chmod", number, *bits(mode), *more)
                mate.one(f"{kind}.chown", number, r.ids["mate"], -1)
                people["outsider"].one(f"{kind}.chown", number, r.ids["outsider"], team)
                admin.one(f"{kind}.info", *info)
                admin.one(f"{kind}.chown", number, r.ids["owner"], USERS)
        people["member"].one("user.info", -1, False)
        owner.one("user.info", -1, False)
        admin.one("document.delete", made["document"])
        admin.one("template.delete", made["template"], False)
        admin.one("vm.action", "terminate-hard", made["vm"])


# ---- pools -------------------------------------------------------------------------------------

_FLAGS = (-5, -4, -3, -2, -1, 0, 1, NOBODY)


def _stock(r: Recorder, people: People, make: Callable[[Recorder, str], int]) -> list[int]:
    """Objects of several users with several modes."""
    made = []
    for name in ("owner", "mate", "member", "deputy", "oneadmin"):
        made += [make(people[name], mode) for mode in ("600", "640", "604", "644")]
    return made


def document_filters(r: Recorder) -> None:
    with _people(r) as people:
        admin = people["oneadmin"]

        def make(person: Recorder, mode: str) -> int:
            name = f"{person.user}-{mode}"
            number = _value(person.one("document.allocate", f'NAME="{name}"', KIND))
            person.one("document.chmod", number, *bits(mode))
            return number

        made = [_value(admin.one("document.allocate", 'NAME="other kind"', KIND + 1))]
        made += _stock(r, people, make)
        admin.one("document.chown", made[-1], -1, r.ids["team"])
        admin.one("document.chown", made[2], -1, ADMINS)
        admin.one("document.chown", made[4], -1, ADMINS)
        for name, person in people.items():
            number = r.ids.get(name, ONEADMIN)
            for flag in (*_FLAGS, *r.ids.values(), number):
                person.one("documentpool.info", flag, -1, -1, KIND)
        owner, third, last = people["owner"], made[3], made[-3]
        for flag in (-4, -3, -2, -1, 0, r.ids["mate"]):
            for start, end in (
                (third, last), (third, -1), (-1, last), (0, last), (last, third), (-2, last),
                (0, -5), (3, -5), (100, -5), (-1, -5), (third, third), (0, -1),
            ):  # fmt: skip
                owner.one("documentpool.info", flag, start, end, KIND)
        admin.one("documentpool.info", -2, 2, -4, KIND)
        admin.one("documentpool.info", -4, -1, -1, KIND)
        for number in made:
            admin.one("document.delete", number)


def template_filters(r: Recorder) -> None:
    with _people(r) as people:
        admin = people["oneadmin"]

        def make(person: Recorder, mode: str) -> int:
            text = f'NAME="{person.user}-{mode}"\n{SMALL_VM}'
            number = _value(person.one("template.allocate", text))
            person.one("template.chmod", number, *bits(mode), False)
            return number

        # A member of two groups creates with the rights of both, a outsider cannot.
        made = _stock(r, people, make)
        for name in ("owner", "outsider", "member", "deputy"):
            for flag in (*_FLAGS, r.ids["mate"], r.ids[name]):
                people[name].one("templatepool.info", flag, made[0], -1)
            people[name].one("templatepool.info", -2, 1, -3)
        for number in made:
            admin.one("template.delete", number, False)


def vm_filters(r: Recorder) -> None:
    with _people(r) as people:
        admin = people["oneadmin"]

        def make(person: Recorder, mode: str) -> int:
            text = f'NAME="{person.user}-{mode}"\n{SMALL_VM}'
            number = _value(person.one("vm.allocate", text, True))
            person.one("vm.chmod", number, *bits(mode))
            return number

        made = _stock(r, people, make)
        admin.one("vm.action", "terminate-hard", made[3])
        every = ",".join(str(number) for number in made)
        for name in ("owner", "outsider", "member", "deputy"):
            person = people[name]
            for flag in (*_FLAGS, r.ids["mate"], r.ids[name]):
                person.one("vmpool.info", flag, made[0], -1, -1)
            person.one("vmpool.infoextended", -4, made[0], -1, -2, "")
            person.one("vmpool.infoextended", r.ids["mate"], made[0], -1, -1, "")
            person.one("vmpool.info", -2, made[0], -1, -2)
            person.one("vmpool.info", -2, made[0], -1, 6)
            person.one("vmpool.info", -3, 1, -2, -1)
            person.one("vmpool.infoset", every, False)
            person.one("vmpool.infoset", f"{made[0]}, {made[1]},x,{NOBODY},-1,{made[3]}", True)
        for number in made:
            admin.one("vm.action", "terminate-hard", number)


# ---- what a hostile user may write -------------------------------------------------------------

BODIES: dict[str, str] = {
    "empty": "",
    "no-json": "{",
    "list": "[]",
    "number": "5",
    "null": "null",
    "text": '"text"',
    "no-roles": '{"name": "x"}',
    "roles-number": '{"name": "x", "roles": 5, "state": 2}',
    "roles-null": '{"name": "x", "roles": null, "state": 2}',
    "role-number": '{"name": "x", "roles": [5], "state": 2}',
    "no-state": '{"name": "x", "roles": []}',
    "state-text": '{"name": "x", "roles": [], "state": "x"}',
    "state-99": '{"name": "x", "roles": [], "state": 99}',
    "no-name": '{"roles": [{"name": "FAAS", "cardinality": 1}], "state": 2}',
    "nodes-number": '{"name": "x", "roles": [{"name": "FAAS", "nodes": 5}], "state": 2}',
    "deep": '{"name": "x", "roles": [], "x": ' + "[" * 150 + "]" * 150 + "}",
    "id-text": '{"name": "x", "roles": [{"name": "F", "vm_template": "²", "template_id": "²", '
    '"cardinality": 1}], "state": 2}',
}
"""Bodies that no oneflow writes."""


def _document_text(body: str) -> str:
    escaped = body.replace('"', '\\"')
    return f'BODY="{escaped}"' if body else 'OTHER="1"'


def broken_services(r: Recorder) -> None:
    """Services that an ordinary user has written, as oneflow shows and changes them."""
    with _people(r) as people:
        owner, admin = people["owner"], people["oneadmin"]
        for name, body in BODIES.items():
            text = f'NAME="{name}"\n{_document_text(body)}'
            number = _value(owner.one("document.allocate", text, SERVICE))
            owner.one("document.info", number, False)
            owner.flow("GET", f"/service/{number}")
            owner.recover(number)
            owner.recover(number, delete=True)
            owner.flow("DELETE", f"/service/{number}")
            admin.one("document.delete", number)


def broken_templates(r: Recorder) -> None:
    """The same for flow templates."""
    with _people(r) as people:
        owner, admin = people["owner"], people["oneadmin"]
        for name, body in BODIES.items():
            text = f'NAME="{name}"\n{_document_text(body)}'
            number = _value(owner.one("document.allocate", text, FLOW_TEMPLATE))
            owner.flow("GET", f"/service_template/{number}")
            for merge in ({"name": "made"}, {}):
                action = {"perform": "instantiate", "params": {"merge_template": merge}}
                path = f"/service_template/{number}/action"
                status, answer = owner.flow("POST", path, {"action": action})
                if status == 201:
                    r.pause(1)
                    service = int(answer["DOCUMENT"]["ID"])
                    owner.one("document.info", service, False)
                    owner.recover(service, delete=True)
                    admin.one("document.delete", service)
            owner.flow("DELETE", f"/service_template/{number}")
            admin.one("document.delete", number)


def broken_lists(r: Recorder) -> None:
    """What one published broken document does to everybody's lists."""
    with _people(r) as people:
        owner, mate, admin = people["owner"], people["mate"], people["oneadmin"]
        for kind, path in ((SERVICE, "/service"), (FLOW_TEMPLATE, "/service_template")):
            for name in ("empty", "no-json", "list", "number", "no-roles", "roles-number", "deep"):
                text = f'NAME="{name}"\n{_document_text(BODIES[name])}'
                number = _value(owner.one("document.allocate", text, kind))
                owner.one("document.chmod", number, *bits("644"))
                mate.flow("GET", path)
                admin.one("document.delete", number)


def _forged(state: int, vm: int, more: dict[str, Any] | None = None) -> str:
    role = {
        "name": "FAAS", "cardinality": 1, "state": state, "min_vms": 1, "cooldown": 5,
        "elasticity_policies": [], "scheduled_policies": [], "last_vmname": 1, "on_hold": False,
        "nodes": [{"deploy_id": vm, "vm_info": {"VM": {"ID": str(vm), "UID": "0", "GID": "0",
                   "UNAME": "oneadmin", "GNAME": "oneadmin", "NAME": "x"}}}],
    }  # fmt: skip
    body = {
        "name": "forged", "deployment": "straight", "description": "", "roles": [role],
        "ready_status_gate": False, "automatic_deletion": False, "registration_time": 1795000000,
        "state": state, "start_time": 1795000000, "log": [],
    }  # fmt: skip
    return _document_text(json.dumps(body | (more or {})))


def forged_services(r: Recorder) -> None:
    """Services that name the VM of another user: deleted and recovered by three users."""
    with _people(r) as people:
        owner, mate, admin = people["owner"], people["mate"], people["oneadmin"]
        for caller in (owner, mate, admin):
            for state in (2, 7, 6):
                vm = _value(mate.one("vm.allocate", f'NAME="victim"\n{SMALL_VM}', True))
                text = f'NAME="forged"\n{_forged(state, vm)}'
                number = _value(owner.one("document.allocate", text, SERVICE))
                owner.one("document.chmod", number, *bits("666"))
                caller.flow("DELETE", f"/service/{number}")
                r.pause(1)
                admin.one("document.info", number, False)
                admin.one("vm.info", vm, False)
                caller.recover(number, delete=True)
                r.pause(1)
                caller.recover(number, delete=True)
                r.pause(1)
                admin.one("document.info", number, False)
                admin.one("vm.info", vm, False)
                admin.one("document.delete", number)
                admin.one("vm.action", "terminate-hard", vm)


def services_by_mode(r: Recorder) -> None:
    """oneflow's calls on services of others, which here have no VMs."""
    for people, mode, caller in _each(r, FEW_MODES):
        if caller.user in ("member", "deputy") and mode != "600":
            continue
        owner, admin = people["owner"], people["oneadmin"]
        text = f'NAME="it"\n{_forged(7, 0)}'.replace("nodes", "none")
        number = _value(owner.one("document.allocate", text, SERVICE))
        owner.one("document.chmod", number, *bits(mode))
        caller.flow("GET", f"/service/{number}")
        for action in (
            {"perform": "rename", "params": {"name": "renamed"}},
            {"perform": "chmod", "params": {"octet": "664"}},
            {"perform": "chgrp", "params": {"group_id": USERS}},
            {"perform": "chown", "params": {"owner_id": r.ids["mate"]}},
        ):
            caller.flow("POST", f"/service/{number}/action", {"action": action})
        owner.one("document.info", number, False)
        caller.flow("DELETE", f"/service/{number}")
        admin.one("document.chmod", number, *bits(mode))
        caller.recover(number, delete=True)
        admin.one("document.info", number, False)
        admin.one("document.delete", number)


def flow_templates_by_mode(r: Recorder) -> None:
    """oneflow's calls on flow templates of others."""
    for people, mode, caller in _each(r, FEW_MODES):
        if caller.user in ("member", "deputy") and mode != "600":
            continue
        owner, admin = people["owner"], people["oneadmin"]
        key = "template_id" if r.is_seven else "vm_template"
        role = {"name": "FAAS", "type": "vm", key: 999, "cardinality": 1}
        if not r.is_seven:
            del role["type"]
        body = {"name": "it", "deployment": "straight", "roles": [role]}
        _, answer = owner.flow("POST", "/service_template", body)
        number = int(answer["DOCUMENT"]["ID"])
        path = f"/service_template/{number}"
        owner.one("document.chmod", number, *bits(mode))
        caller.flow("GET", path)
        for action in (
            {"perform": "rename", "params": {"name": "renamed"}},
            {"perform": "clone", "params": {"name": "copy"}},
            {"perform": "chmod", "params": {"octet": "664"}},
            {"perform": "update", "params": {"template_json": '{"description": "x"}'}},
            {"perform": "instantiate", "params": {"merge_template": {"name": "made"}}},
        ):
            status, answer = caller.flow("POST", f"{path}/action", {"action": action})
            if action["perform"] == "clone":  # which fails after it has made the copy
                admin.one("document.delete", number + 1)
            if status == 201 and action["perform"] == "instantiate":
                service = int(answer["DOCUMENT"]["ID"])
                r.pause(1)
                caller.one("document.info", service, False)
                caller.recover(service, delete=True)
                admin.one("document.delete", service)
        admin.one("document.chmod", number, *bits(mode))
        caller.flow("PUT", path, body)
        caller.flow("DELETE", path)
        admin.one("document.delete", number)


def service_of_another(r: Recorder) -> None:
    """Services with a running VM, published with mode 666, that another user deletes."""
    with _people(r) as people:
        owner, mate, admin = people["owner"], people["mate"], people["oneadmin"]
        for is_vm_open in (False, True):
            service = owner.instantiate("published")
            (vm,) = owner.vms(service)
            owner.wait(vm, 3, 3)
            owner.wait_service(service, 2)
            owner.one("document.chmod", service, *bits("666"))
            if is_vm_open:
                owner.one("vm.chmod", vm, *bits("666"))
            mate.flow("DELETE", f"/service/{service}")
            r.pause(2)
            admin.one("document.info", service, False)
            admin.one("vm.info", vm, False)
            mate.recover(service, delete=True)
            r.pause(2)
            admin.one("document.info", service, False)
            admin.one("vm.info", vm, False)
            admin.one("vm.action", "terminate-hard", vm)
            admin.one("document.delete", service)


def hostile_objects(r: Recorder) -> None:
    """VMs, VM templates and documents with whatever a user likes to write into them."""
    with _people(r) as people:
        owner, admin = people["owner"], people["oneadmin"]
        vm = _value(owner.one("vm.allocate", f'NAME="it"\nSERVICE_ID="abc"\n{SMALL_VM}', True))
        for text in (
            'SERVICE_ID="1"\nROLE_NAME="FAAS"\nFLAVOURS="0"',
            f'SERVICE_ID="{2**70}"',
            f'SERVICE_ID="{"9" * 5000}"',
            'READY="YES"\nERROR="x"\nSCHED_MESSAGE="x"',
            "SERVICE_ID=[A=1]",
            'SCHED_REQUIREMENTS="\x1b[31m"',
            'PHASE="a\nb"',
            'UID="0"\nGID="0"\nID="0"\nNAME="x"\nSTATE="3"',
            'CPU="64"\nMEMORY="1"\nDISK=[SIZE="1"]',
        ):
            owner.one("vm.update", vm, text, 1)
            owner.one("vm.info", vm, False)
        for text in (
            "", "MEMORY=16", "CPU=1", 'CPU="x"\nMEMORY=16', "CPU=-1\nMEMORY=16", "CPU=1\nMEMORY=0",
            "CPU=1\nMEMORY=16\nVCPU=0", f"CPU=1\nMEMORY={2**40}", f'NAME="a<b"\n{SMALL_VM}',
            f'NAME="{"x" * 129}"\n{SMALL_VM}', f'CONTEXT=[FILES="/etc/passwd"]\n{SMALL_VM}',
            f'DISK=[SOURCE="/etc/passwd"]\n{SMALL_VM}',
            f'DISK=[SIZE="10",TYPE="fs"]\n{SMALL_VM}', f"{SMALL_VM}A=",
        ):  # fmt: skip
            answer = owner.one("vm.allocate", text, True)
            if answer[0]:
                owner.one("vm.info", answer[1], False)
                admin.one("vm.action", "terminate-hard", answer[1])
        _hostile_templates(owner, admin)
        _hostile_documents(owner, admin)
        admin.one("vm.action", "terminate-hard", vm)


def _hostile_templates(owner: Recorder, admin: Recorder) -> None:
    for text in (
        "", 'NAME=""', 'NAME="a<b"', f'NAME="{"x" * 129}"', 'NAME="it"\nCPU="x"', "NAME=it A=[B=",
        f'NAME="it"\nCONTEXT=[FILES="/etc/passwd"]\n{SMALL_VM}',
        f'NAME="it"\nCONTEXT=[START_SCRIPT="curl"]\n{SMALL_VM}', f'NAME="it"\n{SMALL_VM}',
        f'NAME="it"\n{SMALL_VM}',
    ):  # fmt: skip
        answer = owner.one("template.allocate", text)
        if answer[0]:
            owner.one("template.info", answer[1], False, False)
            vm = owner.one("template.instantiate", answer[1], "", True, "", False)
            if vm[0]:
                admin.one("vm.action", "terminate-hard", vm[1])
            owner.one("template.instantiate", answer[1], "a<b", True, "", False)
            owner.one("template.clone", answer[1], "it", False)
            owner.one("template.clone", answer[1], "", False)
            admin.one("template.delete", answer[1], False)


def _hostile_documents(owner: Recorder, admin: Recorder) -> None:
    for kind in (SERVICE, RUNTIME, -1):
        for text in ("", 'NAME="same"', 'NAME=[A="1"]', 'UID="0"', "A=[B="):
            answer = owner.one("document.allocate", text, kind)
            if answer[0]:
                owner.one("document.info", answer[1], False)
                owner.one("document.update", answer[1], 'NAME="other"\nUID="0"', 1)
                owner.one("document.update", answer[1], 'NAME="other"', 0)
                owner.one("document.update", answer[1], "A=1", 2)
                owner.one("document.info", answer[1], False)
                admin.one("document.delete", answer[1])


SCENARIOS: dict[str, Callable[[Recorder], None]] = {
    function.__name__.replace("_", "-"): function
    for function in (
        names_and_ids,
        logins,
        membership,
        creation_of_users,
        access_rules,
        documents_by_mode,
        admin_bits,
        templates_by_mode,
        vms_by_mode,
        umasks,
        locks_of_others,
        locks_of_vms_and_templates,
        handing_over,
        document_filters,
        template_filters,
        vm_filters,
        broken_services,
        broken_templates,
        broken_lists,
        forged_services,
        services_by_mode,
        flow_templates_by_mode,
        service_of_another,
        hostile_objects,
    )
}
