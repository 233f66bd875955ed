"""Scenarios for `record.py`: who may do what with whose objects, and what pool calls list.

Each scenario creates its users and objects, and removes them afterwards.
"""

from __future__ import annotations

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


def allocated(answer: list[Any]) -> int:
    assert answer[0], answer
    return int(answer[1])


@contextmanager
def people(r: Recorder) -> Iterator[People]:
    """Users of a scenario, by their part in it; `ids` holds their ids.

    The mate is in the owner's group, the outsider in another one, the member in both, and the
    deputy has the administrators' group as a second one.
    """
    admin = r.by("oneadmin")
    team = allocated(admin.one("group.allocate", "team"))
    groups = {
        "owner": [USERS],
        "mate": [USERS],
        "outsider": [team],
        "member": [team, USERS],
        "deputy": [USERS, ADMINS],
    }
    r.ids = {"team": team}
    for name, numbers in groups.items():
        made = admin.one("user.allocate", name, f"{name}-pass", "", numbers)
        r.ids[name] = allocated(made)
    try:
        yield {name: r.by(name, f"{name}-pass") for name in groups} | {"oneadmin": admin}
    finally:
        for name in groups:
            admin.one("user.delete", r.ids[name])
        admin.one("group.delete", team)


# ---- names, users and groups -------------------------------------------------------------------


def names_and_ids(r: Recorder) -> None:
    """What of other users and groups an ordinary user can see, and what may be handed over."""
    with people(r) as users:
        owner, admin = users["owner"], users["oneadmin"]
        public = allocated(admin.one("document.allocate", 'NAME="public"', KIND))
        admin.one("document.chmod", public, *bits("644"))
        mine = allocated(owner.one("document.allocate", 'NAME="mine"', KIND))
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
        users["member"].one("grouppool.info")
        users["member"].one("group.info", -1, False)
        for name in ("deputy", "oneadmin"):
            users[name].one("user.info", r.ids["mate"], False)
            users[name].one("group.info", r.ids["team"], False)
            users[name].one("grouppool.info")
        admin.one("document.delete", mine)
        admin.one("document.delete", public)


def logins(r: Recorder) -> None:
    """user.info of oneself by password and token; spelling of names; passwords; switched off."""
    with people(r) as users:
        admin = users["oneadmin"]
        for name, person in users.items():
            if name != "oneadmin":
                person.one("user.info", -1, False)
        for name in ("Owner", "OWNER", "owner ", " owner", "owner\n", "öwner", "own er"):
            r.by(name, "owner-pass").one("user.info", -1, False)
        for password in ("", "Owner-pass", "owner-pass ", "owner-pass\n"):
            r.by("owner", password).one("user.info", -1, False)
        _tokens(r, users)
        owner, number = users["owner"], r.ids["owner"]
        users["mate"].one("user.passwd", number, "stolen")
        for text in ("", "with blank", "new-pass"):
            owner.one("user.passwd", number, text)
        owner.one("system.version")
        r.by("owner", "new-pass").one("system.version")
        admin.one("user.enable", number, False)
        r.by("owner", "new-pass").one("system.version")
        admin.one("user.info", number, False)
        admin.one("user.enable", number, True)
        r.by("owner", "new-pass").one("system.version")


def _tokens(r: Recorder, users: People) -> None:
    member, team = users["member"], r.ids["team"]
    member.one("user.login", "member", "token-1", 3600, -1)
    member.one("user.login", "member", "token-2", 3600, team)
    member.one("user.login", "member", "token-3", 3600, USERS)
    member.one("user.login", "member", "token-4", 3600, ADMINS)
    users["mate"].one("user.login", "member", "token-5", 3600, -1)
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
    deputy = users["deputy"]
    deputy.one("user.login", "deputy", "token-6", 3600, USERS)
    holder = r.by("deputy", "token-6")
    holder.one("user.info", -1, False)
    holder.one("user.info", r.ids["owner"], False)


def membership(r: Recorder) -> None:
    """Groups of users, and what they change for objects that exist already."""
    with people(r) as users:
        owner, mate, admin = users["owner"], users["mate"], users["oneadmin"]
        number, team = r.ids["owner"], r.ids["team"]
        document = allocated(owner.one("document.allocate", 'A="1"', KIND))
        owner.one("document.chmod", document, *bits("660"))
        for caller in (owner, mate, users["deputy"]):
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
        outsider = users["outsider"]
        outsider.one("document.update", document, 'B="1"', 1)
        admin.one("user.addgroup", r.ids["outsider"], USERS)
        admin.one("user.addgroup", r.ids["outsider"], USERS)
        outsider.one("document.update", document, 'B="2"', 1)
        outsider.one("documentpool.info", -1, -1, -1, KIND)
        outsider.one("documentpool.info", -4, -1, -1, KIND)
        outsider.one("documentpool.info", -2, -1, -1, KIND)
        second = allocated(outsider.one("document.allocate", 'A="1"', KIND))
        admin.one("document.delete", second)
        admin.one("group.delete", team)
        admin.one("group.delete", USERS)
        admin.one("document.delete", document)
        admin.one("documentpool.info", -2, -1, -1, KIND)


def creation_of_users(r: Recorder) -> None:
    """user.allocate and group.allocate, by administrators and others."""
    with people(r) as users:
        admin, owner = users["oneadmin"], users["owner"]
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
        _create_groups(users)
        owner.one("user.delete", made[0])
        owner.one("user.delete", r.ids["owner"])
        admin.one("user.delete", NOBODY)
        admin.one("user.delete", ONEADMIN)
        for number in made:
            admin.one("user.delete", number)
        r.by("plain", "plain-pass").one("system.version")


def _create_groups(users: People) -> None:
    admin, owner = users["oneadmin"], users["owner"]
    owner.one("group.allocate", "mine")
    for name in ("team", "", "a<b", "x" * 129, "with blank"):
        answer = admin.one("group.allocate", name)
        if answer[0]:
            admin.one("group.info", answer[1], False)
            owner.one("group.delete", answer[1])
            admin.one("group.delete", answer[1])


def access_rules(r: Recorder) -> None:
    """Who may create objects: the group `users` may, a new group not before it has a rule."""
    with people(r) as users:
        admin, outsider, team = users["oneadmin"], users["outsider"], r.ids["team"]
        outsider.one("document.allocate", 'A="1"', KIND)
        outsider.one("template.allocate", 'NAME="x"')
        outsider.one("vm.allocate", SMALL_VM, True)
        outsider.one("template.instantiate", 0, "x", True, "", False)
        template = allocated(users["member"].one("template.allocate", 'NAME="members"'))
        admin.one("template.delete", template, False)
        numbers = (GROUP + team, DOCUMENTS + VMS + ALL, CREATE)
        rule = [f"{number:x}" for number in numbers]
        outsider.one("acl.addrule", *rule)
        added = allocated(admin.one("acl.addrule", *rule))
        document = allocated(outsider.one("document.allocate", 'A="1"', KIND))
        outsider.one("template.allocate", 'NAME="x"')
        outsider.one("acl.delrule", added)
        admin.one("acl.delrule", added)
        outsider.one("document.allocate", 'A="1"', KIND)
        admin.one("document.delete", document)


# ---- permissions -------------------------------------------------------------------------------


def each_mode(r: Recorder, modes: tuple[str, ...]) -> Iterator[tuple[People, str, Recorder]]:
    """Every mode and every user who is to try."""
    with people(r) as users:
        for mode in modes:
            for name in ("owner", "mate", "outsider", "member", "deputy"):
                if mode in FEW_MODES or name in ("owner", "mate", "outsider"):
                    yield users, mode, users[name]


def documents_by_mode(r: Recorder) -> None:
    for users, mode, caller in each_mode(r, MODES):
        owner, admin = users["owner"], users["oneadmin"]
        number = allocated(owner.one("document.allocate", 'NAME="it"\nBODY="{}"', RUNTIME))
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
    with people(r) as users:
        owner, admin, mate = users["owner"], users["oneadmin"], users["mate"]
        number = allocated(owner.one("document.allocate", 'A="1"', KIND))
        for mode in ("700", "610", "601", "777"):
            owner.one("document.chmod", number, *bits(mode))
        for caller in (users["deputy"], admin):
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
    for users, mode, caller in each_mode(r, FEW_MODES):
        owner, admin = users["owner"], users["oneadmin"]
        number = allocated(owner.one("template.allocate", f'NAME="it"\n{SMALL_VM}'))
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
    for users, mode, caller in each_mode(r, FEW_MODES):
        owner, admin = users["owner"], users["oneadmin"]
        vm = allocated(owner.one("vm.allocate", f'NAME="it"\n{SMALL_VM}', True))
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
    with people(r) as users:
        for name in ("owner", "member", "deputy"):
            person = users[name]
            for umask in ("", "022", "133", "077", "000", "007", "777", "abc", "-1", "1777"):
                if umask:
                    person.one("user.update", r.ids[name], f'UMASK="{umask}"', 1)
                answer = person.one("document.allocate", 'A="1"', KIND)
                if answer[0]:
                    users["oneadmin"].one("document.info", answer[1], False)
                    users["oneadmin"].one("document.delete", answer[1])
        owner, admin = users["owner"], users["oneadmin"]
        owner.one("user.update", r.ids["owner"], 'UMASK="022"', 1)
        template = allocated(owner.one("template.allocate", f'NAME="it"\n{SMALL_VM}'))
        owner.one("template.info", template, False, False)
        vm = allocated(owner.one("template.instantiate", template, "", True, "", False))
        owner.one("vm.info", vm, False)
        admin.one("vm.action", "terminate-hard", vm)
        admin.one("template.delete", template, False)


def locks_of_others(r: Recorder) -> None:
    """Locks of documents with mode 666, by their owner and by others."""
    with people(r) as users:
        owner, mate, admin = users["owner"], users["mate"], users["oneadmin"]
        for holder, other in ((owner, mate), (mate, owner), (admin, owner), (owner, admin)):
            for level in (1, 2, 3, 4):
                number = allocated(owner.one("document.allocate", 'A="1"', KIND))
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
    with people(r) as users:
        owner, mate, admin = users["owner"], users["mate"], users["oneadmin"]
        for level in (1, 2, 3):
            template = allocated(owner.one("template.allocate", f'NAME="{level}"\n{SMALL_VM}'))
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
        vm_id = allocated(owner.one("vm.allocate", f'NAME="it"\n{SMALL_VM}', True))
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
    with people(r) as users:
        owner, admin, mate = users["owner"], users["oneadmin"], users["mate"]
        made = {
            "document": allocated(owner.one("document.allocate", 'NAME="it"', KIND)),
            "template": allocated(owner.one("template.allocate", f'NAME="it"\n{SMALL_VM}')),
            "vm": allocated(owner.one("vm.allocate", f'NAME="it"\n{SMALL_VM}', True)),
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
            users["member"].one(f"{kind}.chown", number, r.ids["member"], USERS)
            owner.one(f"{kind}.info", *info)
            users["member"].one(f"{kind}.chown", number, -1, team)
            users["member"].one(f"{kind}.chown", number, r.ids["owner"], -1)
            users["member"].one(f"{kind}.info", *info)
            admin.one(f"{kind}.chown", number, r.ids["owner"], USERS)
            for mode in FEW_MODES:
                more = (False,) if kind == "template" else ()
                admin.one(f"{kind}.chmod", number, *bits(mode), *more)
                mate.one(f"{kind}.chown", number, r.ids["mate"], -1)
                users["outsider"].one(f"{kind}.chown", number, r.ids["outsider"], team)
                admin.one(f"{kind}.info", *info)
                admin.one(f"{kind}.chown", number, r.ids["owner"], USERS)
        users["member"].one("user.info", -1, False)
        owner.one("user.info", -1, False)
        admin.one("document.delete", made["document"])
        admin.one("template.delete", made["template"], False)
        admin.one("vm.action", "terminate-hard", made["vm"])


# ---- pools -------------------------------------------------------------------------------------

_FLAGS = (-5, -4, -3, -2, -1, 0, 1, NOBODY)


def _stock(r: Recorder, users: People, make: Callable[[Recorder, str], int]) -> list[int]:
    """Objects of several users with several modes."""
    made = []
    for name in ("owner", "mate", "member", "deputy", "oneadmin"):
        made += [make(users[name], mode) for mode in ("600", "640", "604", "644")]
    return made


def document_filters(r: Recorder) -> None:
    with people(r) as users:
        admin = users["oneadmin"]

        def make(person: Recorder, mode: str) -> int:
            name = f"{person.user}-{mode}"
            number = allocated(person.one("document.allocate", f'NAME="{name}"', KIND))
            person.one("document.chmod", number, *bits(mode))
            return number

        made = [allocated(admin.one("document.allocate", 'NAME="other kind"', KIND + 1))]
        made += _stock(r, users, make)
        admin.one("document.chown", made[-1], -1, r.ids["team"])
        admin.one("document.chown", made[2], -1, ADMINS)
        admin.one("document.chown", made[4], -1, ADMINS)
        for name, person in users.items():
            number = r.ids.get(name, ONEADMIN)
            for flag in (*_FLAGS, *r.ids.values(), number):
                person.one("documentpool.info", flag, -1, -1, KIND)
        owner, third, last = users["owner"], made[3], made[-3]
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
    with people(r) as users:
        admin = users["oneadmin"]

        def make(person: Recorder, mode: str) -> int:
            text = f'NAME="{person.user}-{mode}"\n{SMALL_VM}'
            number = allocated(person.one("template.allocate", text))
            person.one("template.chmod", number, *bits(mode), False)
            return number

        # A member of two groups creates with the rights of both, a outsider cannot.
        made = _stock(r, users, make)
        for name in ("owner", "outsider", "member", "deputy"):
            for flag in (*_FLAGS, r.ids["mate"], r.ids[name]):
                users[name].one("templatepool.info", flag, made[0], -1)
            users[name].one("templatepool.info", -2, 1, -3)
        for number in made:
            admin.one("template.delete", number, False)


def vm_filters(r: Recorder) -> None:
    with people(r) as users:
        admin = users["oneadmin"]

        def make(person: Recorder, mode: str) -> int:
            text = f'NAME="{person.user}-{mode}"\n{SMALL_VM}'
            number = allocated(person.one("vm.allocate", text, True))
            person.one("vm.chmod", number, *bits(mode))
            return number

        made = _stock(r, users, make)
        admin.one("vm.action", "terminate-hard", made[3])
        every = ",".join(str(number) for number in made)
        for name in ("owner", "outsider", "member", "deputy"):
            person = users[name]
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
    )
}
