"""Scenarios for `record.py`: several calls in one request, and ids below zero."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .permissions import KIND, NOBODY, SMALL_VM, allocated

if TYPE_CHECKING:
    from .record import Recorder

MANY = 2_000
"""Calls in one request; oned of both releases also answered 20,000."""


def reads(r: Recorder) -> None:
    """What is read together, the errors of single calls among it, and nothing at all."""
    other, admin = r.by("other"), r.by("oneadmin")
    document = allocated(r.one("document.allocate", 'NAME="mine"', KIND))
    vm = allocated(r.one("vm.allocate", SMALL_VM, True))
    info = r.part("document.info", document, False)
    vms = r.part("vmpool.infoset", str(vm), True)
    r.multicall()
    r.multicall(info)
    r.multicall(info, vms)
    r.multicall(vms, info, vms)
    r.multicall(info, other.part("document.info", document, False), vms)
    r.multicall(admin.part("document.info", document, False), other.part("system.version"))
    for broken in (
        r.part("document.info", NOBODY, False),
        r.by("devuser", "wrong").part("document.info", document, False),
        r.by("nobody", "x").part("system.version"),
        r.part("document.nothing", document),
        {"methodName": "", "params": []},
        {"methodName": "one.sýstem\n<version>&", "params": []},
        {"methodName": "one.system.version", "params": []},
        {"methodName": "one.document.info", "params": []},
        r.part("document.info"),
        r.part("document.info", "x", False),
        r.part("document.info", 1.5, False),
        r.part("document.info", [1], False),
        r.part("document.info", {}, False),
        r.part("document.info", document, 1),
        r.part("document.rename", document, 5),
        r.part("document.lock", document, 3, 1),
        r.part("template.instantiate", NOBODY, "x", 1, "", False),
        r.part("user.allocate", "x", "x", "", 5),
        {"methodName": "one.system.version", "params": [1]},
        r.part("system.version", 1, "more"),
        r.part("system.version") | {"more": 1},
    ):
        r.multicall(info, broken, r.part("system.version"))
    r.multicall(*[r.part("system.version")] * MANY)
    r.one("document.delete", document)
    admin.one("vm.action", "terminate-hard", vm)


def malformed(r: Recorder) -> None:
    """Requests that are one fault. What stands before the malformed call has been done."""
    version = r.part("system.version")
    itself = {"methodName": "system.multicall", "params": [[version]]}
    wrong_numbers: tuple[tuple[Any, ...], ...] = ((), ([], 1), ([version], [version]))
    for parameters in wrong_numbers:
        r.multicall_of(*parameters)
    for value in (1, "text", True, 1.5, {}, version):
        r.multicall_of(value)
    document = allocated(r.one("document.allocate", 'NAME="mine"', KIND))
    for number, broken in enumerate(
        (
            1,
            "text",
            True,
            [],
            {},
            {"methodName": "one.system.version"},
            {"params": []},
            {"methodName": 1, "params": []},
            {"methodName": "one.system.version", "params": "text"},
            {"methodName": "one.system.version", "params": {}},
            {"methodName": "one.system.version", "params": 1},
            {"methodName": ["one.system.version"], "params": []},
            {"methodName": True, "params": []},
            {"methodName": "system.multicall", "params": 1},
            itself,
        )
    ):
        before = r.part("document.update", document, f'BEFORE="{number}"', 1)
        after = r.part("document.update", document, f'AFTER="{number}"', 1)
        r.multicall(before, broken, after)
        r.one("document.info", document, False)
    r.multicall(itself)
    r.one("document.delete", document)


def writes(r: Recorder) -> None:
    """Calls are executed in order, and one that fails stops none of those after it."""
    other = r.by("other")
    document = allocated(r.one("document.allocate", 'NAME="mine"\nBODY="0"', KIND))
    info = r.part("document.info", document, False)
    update = r.part("document.update", document, 'BODY="1"', 1)
    r.multicall(info, update, info)
    r.multicall(r.part("document.update", document, "A=[B=", 1), update, info)
    r.multicall(other.part("document.update", document, 'BODY="2"', 1), info)
    r.multicall(
        r.part("document.rename", document, "renamed"),
        r.part("document.chmod", document, *[1, 1, 0, 1, 0, 0, 1, 0, 0]),
        other.part("document.info", document, False),
        other.part("document.delete", document),
    )
    (first,), (second,) = r.multicall(
        r.part("document.allocate", 'NAME="second"', KIND),
        r.part("document.allocate", 'NAME="third"', KIND),
    )
    r.multicall(
        *[r.part("document.delete", made[1]) for made in (first, second)],
        r.part("documentpool.info", -3, -1, -1, KIND),
    )
    r.multicall(update, r.part("document.delete", document), info, update)
    r.multicall(r.part("document.delete", document), r.part("system.version"))


def locks(r: Recorder) -> None:
    """A lock with what is read under it, and an unlock with what is read after it."""
    other, admin = r.by("other"), r.by("oneadmin")
    document = allocated(r.one("document.allocate", 'NAME="mine"\nBODY="0"', KIND))
    r.one("document.chmod", document, *[1, 1, 0, 0, 0, 0, 1, 1, 0])
    vm = allocated(r.one("vm.allocate", SMALL_VM, True))
    lock, unlock = r.part("document.lock", document, 3, True), r.part("document.unlock", document)
    info = r.part("document.info", document, False)
    vms = r.part("vmpool.infoset", str(vm), True)
    r.multicall(lock, info, vms)
    r.multicall(lock, info, vms)
    r.multicall(other.part("document.lock", document, 3, True), info)
    r.multicall(other.part("document.unlock", document), info)
    r.multicall(other.part("document.update", document, 'BODY="1"', 1), info)
    r.multicall(unlock, vms)
    r.multicall(unlock, info)
    r.multicall(other.part("document.lock", document, 1, False), lock, unlock, info)
    r.multicall(admin.part("document.unlock", document), lock, lock, unlock, info)
    r.multicall(lock, r.part("document.delete", document), unlock, info)
    r.multicall(unlock, r.part("document.delete", document))
    r.multicall(unlock, vms)
    admin.one("vm.action", "terminate-hard", vm)


def ids_below_zero(r: Recorder) -> None:
    """Each method with an id below zero, by an ordinary user and by the administrator."""
    for caller in (r, r.by("oneadmin")):
        for number in (-1, -2, -(2**31)):
            for method, parameters in NEGATIVE:
                position = 1 if method == "vm.action" else 0
                arguments = [*parameters[:position], number, *parameters[position:]]
                caller.one(method, *arguments)


_MODE = [1, 1, 0, 0, 0, 0, 0, 0, 0]
NEGATIVE: tuple[tuple[str, list[Any]], ...] = (
    *[
        (f"{kind}.{method}", parameters)
        for kind, more in (("document", []), ("template", [False]), ("vm", []))
        for method, parameters in (
            ("info", [False, *more]),
            ("update", ['A="1"', 1]),
            ("rename", ["x"]),
            ("chmod", [*_MODE, *more]),
            ("chown", [-1, -1]),
            ("lock", [3, True]),
            ("unlock", []),
        )
    ],
    ("document.delete", []),
    ("document.clone", ["x"]),
    ("template.delete", [False]),
    ("template.clone", ["x", False]),
    ("template.instantiate", ["x", True, "", False]),
    ("vm.action", ["terminate-hard"]),
    ("vm.action", ["no-action"]),
    ("vm.recover", [3]),
    ("vm.resize", ["CPU=1", False]),
    ("vm.diskresize", [0, "10"]),
    ("vm.schedadd", ['SCHED_ACTION=[ACTION="terminate",TIME="+10"]']),
    ("vm.schedupdate", [0, 'SCHED_ACTION=[TIME="+10"]']),
    ("vm.scheddelete", [0]),
    ("user.update", ['A="1"', 1]),
    ("user.addgroup", [1]),
    ("user.delgroup", [1]),
    ("user.chgrp", [1]),
    ("user.delete", []),
    ("group.delete", []),
)

SCENARIOS: dict[str, Callable[[Recorder], None]] = {
    "multicall-reads": reads,
    "multicall-malformed": malformed,
    "multicall-writes": writes,
    "multicall-locks": locks,
    "ids-below-zero": ids_below_zero,
}
