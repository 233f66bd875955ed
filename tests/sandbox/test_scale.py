"""Many runtimes: they load, and reads by id stay as quick."""

from __future__ import annotations

import re
import time
from collections.abc import Callable

import pytest

from provision_engine.sandbox import Sandbox, oned
from provision_engine.sandbox.calls import Parameter
from provision_engine.sandbox.world import World

from .client import Caller

SMALL, LARGE = 10, 10_000


def _populated(runtimes: int) -> Sandbox:
    sandbox = Sandbox()
    sandbox.store.populate(users=100, runtimes=runtimes, flow_templates=1_000)
    return sandbox


@pytest.fixture(scope="module")
def large() -> Sandbox:
    return _populated(LARGE)


def _best_of(times: int, work: Callable[[], object]) -> float:
    best = float("inf")
    for _ in range(times):
        start = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - start)
    return best


def _read(world: World, method: str, *arguments: Parameter) -> Callable[[], object]:
    session = "user5:pass5"

    def work() -> None:
        for _ in range(20):
            assert oned.call(world, method, [session, *arguments])[0]

    return work


def test_ten_thousand_runtimes(large: Sandbox) -> None:
    small = _populated(SMALL)
    assert large.store.count() == {"runtimes": LARGE, "services": LARGE, "vms": LARGE}
    took: dict[str, list[float]] = {}
    for sandbox in (small, large):
        document = sandbox.store.documents()[5]
        vm = sandbox.store.live_vms()[5]
        for method, number in (("one.document.info", document.id), ("one.vm.info", vm.id)):
            work = _read(sandbox.world, method, number, False)
            took.setdefault(method, []).append(_best_of(10, work))
    for method, (few, many) in took.items():
        assert many < 5 * few, method


def test_a_users_list_does_not_look_at_others(large: Sandbox) -> None:
    """100 users have a hundredth of the runtimes each."""
    own = _best_of(3, _read(large.world, "one.documentpool.info", -3, -1, -1, 1337))
    admin = "oneadmin:opennebula"
    call: list[Parameter] = [admin, -2, -1, -1, 1337]
    everything = _best_of(3, lambda: oned.call(large.world, "one.documentpool.info", call))
    assert own / 20 < everything / 5


def test_populated_runtimes_are_real_ones() -> None:
    with Sandbox() as sandbox:
        sandbox.store.populate(
            users=2, runtimes=3, flow_templates=1, body=lambda name, service, vm: f"{service} {vm}"
        )
        caller = Caller(sandbox, session="user0:pass0")
        pool = caller.good("documentpool.info", -3, -1, -1, 1337)
        assert re.findall(r"<NAME>(runtime\d)</NAME>", pool) == ["runtime2", "runtime0"]
        found = re.search(r"<BODY><!\[CDATA\[(\d+) (\d+)\]\]>", pool)
        assert found
        service, vm = int(found[1]), int(found[2])
        assert sandbox.store.vm_state(vm) == "RUNNING"
        assert caller.good("vm.resize", vm, "CPU=2", True) == vm
        assert caller.flow("GET", f"/service/{service}")[0] == 200
        assert caller.instantiate("flavour0") > service
