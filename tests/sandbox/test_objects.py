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
    """Without a manual clock."""
    with Sandbox() as running:
        yield running


def _ids(pool: str) -> list[int]:
    return [int(number) for number in re.findall(r"<DOCUMENT><ID>(\d+)<", pool)]


def _make(caller: Caller, count: int = 1, kind: int = 1337) -> list[int]:
    return [caller.good("document.allocate", "A=1", kind) for _ in range(count)]


def test_lock_levels_are_checked(sandbox: Sandbox) -> None:
    (number,) = _make(Caller(sandbox))
    assert Caller(sandbox).refused("document.lock", number, 7, False)[0] == ACTION


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
