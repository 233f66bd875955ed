"""Documents: owners, permissions, locks, lists; users and their passwords."""

from __future__ import annotations

import re
import xmlrpc.client
from collections.abc import Iterator

import pytest

from provision_engine.sandbox import Sandbox

from .client import Caller

AUTHENTICATION, AUTHORIZATION, NO_EXISTS, ACTION = 0x100, 0x200, 0x400, 0x800


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox() as running:
        yield running


def _ids(pool: str) -> list[int]:
    return [int(number) for number in re.findall(r"<DOCUMENT><ID>(\d+)<", pool)]


def _make(caller: Caller, count: int = 1, kind: int = 1337) -> list[int]:
    return [caller.good("document.allocate", "A=1", kind) for _ in range(count)]


@pytest.mark.parametrize(("level", "may_update"), [(1, False), (2, False), (3, True), (4, False)])
def test_locks(sandbox: Sandbox, level: int, may_update: bool) -> None:
    owner = Caller(sandbox)
    (number,) = _make(owner)
    owner.good("document.lock", number, level, True)
    assert owner.one("document.update", number, "B=2", 1)[0] is may_update
    assert owner.one("document.delete", number)[0] is may_update or level == 3
    if not may_update:
        assert owner.one("document.info", number, False)[0]
        code, text = Caller(sandbox, "oneadmin").refused("document.update", number, "B=2", 1)
        assert (code, "is locked" in text) == (AUTHORIZATION, True)


def test_a_lock_is_a_mutex(sandbox: Sandbox) -> None:
    owner = Caller(sandbox)
    (number,) = _make(owner)
    owner.good("document.lock", number, 3, True)
    code, text = owner.refused("document.lock", number, 3, True)
    assert code == ACTION
    taken_at = int(text.split()[-1])
    assert f"<TIME>{taken_at}</TIME>" in owner.good("document.info", number, False)
    owner.good("document.unlock", number)
    assert owner.good("document.lock", number, 3, True) == number


def test_lock_levels_are_checked(sandbox: Sandbox) -> None:
    (number,) = _make(Caller(sandbox))
    assert Caller(sandbox).refused("document.lock", number, 7, False)[0] == ACTION


def test_pages(sandbox: Sandbox) -> None:
    caller = Caller(sandbox)
    newest_first = _make(caller, 5)[::-1]
    pages = [_ids(caller.good("documentpool.info", -3, s, -2, 1337)) for s in (0, 2, 4, 6)]
    assert pages == [newest_first[:2], newest_first[2:4], newest_first[4:], []]
    first, last = newest_first[3], newest_first[1]
    assert _ids(caller.good("documentpool.info", -3, first, last, 1337)) == newest_first[1:4]
    assert _ids(caller.good("documentpool.info", -3, last, -1, 1337)) == newest_first[:2]


def test_clone_and_rename(sandbox: Sandbox) -> None:
    caller = Caller(sandbox)
    (number,) = _make(caller)
    clone = caller.good("document.clone", number, "copy", False)
    assert "<NAME>copy</NAME>" in caller.good("document.info", clone, False)
    caller.good("document.rename", clone, "a [b]")
    assert "<NAME>a [b]</NAME>" in caller.good("document.info", clone, False)
    assert caller.refused("document.rename", clone, "a <&> b")[0] == ACTION
    assert caller.refused("document.rename", clone, "x" * 129)[0] == ACTION


def test_ids_are_never_used_again(sandbox: Sandbox) -> None:
    caller = Caller(sandbox)
    (number,) = _make(caller)
    caller.good("document.delete", number)
    assert _make(caller) == [number + 1]
    assert caller.refused("document.info", number, False)[0] == NO_EXISTS


@pytest.mark.parametrize("session", ["", "devuser", "devuser:", "devuser:wrong", "nobody:x", ":"])
def test_invalid_sessions(sandbox: Sandbox, session: str) -> None:
    caller = Caller(sandbox, session=session)
    code, message = caller.refused("document.info", 6, False)
    assert (code, message.endswith("aborting call.")) == (AUTHENTICATION, True)
    assert caller.flow("GET", "/service")[0] == 401


@pytest.mark.parametrize("password", ["a:b:c", ":", "pässwört", "with space"])
def test_unusual_passwords(sandbox: Sandbox, password: str) -> None:
    sandbox.store.add_user("strange", password)
    caller = Caller(sandbox, session=f"strange:{password}")
    assert caller.good("system.version") == "7.4.0"
    assert caller.flow("GET", "/service")[0] == 200


@pytest.mark.parametrize(
    ("method", "arguments", "code"),
    [
        ("one.nothing", (), -506),
        ("one.vm.info", ("1",), -501),
        ("one.vm.info", (True,), -501),
        ("one.document.update", (1, "A=1"), -501),
        ("one.document.allocate", ("A=\U0001f642", 1337), -503),
    ],
)
def test_faults(sandbox: Sandbox, method: str, arguments: tuple[object, ...], code: int) -> None:
    proxy = xmlrpc.client.ServerProxy(sandbox.oned_url)
    with pytest.raises(xmlrpc.client.Fault) as fault:
        getattr(proxy, method)("devuser:devpass", *arguments)
    assert fault.value.faultCode == code


def test_vm_templates(sandbox: Sandbox) -> None:
    caller = Caller(sandbox)
    number = caller.good("template.allocate", 'NAME="mine"\nCPU=1\nMEMORY=64')
    caller.good("template.update", number, "CPU=2", 1)
    shown = caller.good("template.info", number, False, False)
    assert "<CPU><![CDATA[2]]></CPU><MEMORY><![CDATA[64]]></MEMORY>" in shown
    listed = caller.good("templatepool.info", -2, -1, -1)
    assert [n for n in ("mine", "Function", "Data", "Denied") if f"<NAME>{n}<" in listed] == [
        "mine", "Function", "Data",
    ]  # fmt: skip
    vm = caller.good("template.instantiate", number, "", True, "MEMORY=32", False)
    assert sandbox.store.vm_state(vm) == "HOLD"
    assert sandbox.store.vm(vm).memory_mb == 32
    caller.good("template.delete", number, False)
    assert caller.refused("template.info", number, False, False)[0] == NO_EXISTS
