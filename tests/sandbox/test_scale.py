"""Many runtimes: reads by id and lists cost no more than with few.

The cost of a call is the number of bytecode instructions that it executes, so that the speed of
the machine does not matter.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest

from provision_engine.sandbox import Sandbox, oned
from provision_engine.sandbox.rpc import Parameter
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


def _instructions(work: Callable[[], object]) -> int:
    """How many bytecode instructions `work` executes."""
    count = 0

    def trace(frame: FrameType, event: str, _argument: Any) -> Any:
        nonlocal count
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        count += event == "opcode"
        return trace

    previous = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(previous)
    return count


def _cost(world: World, session: str, method: str, *arguments: Parameter) -> int:
    def call() -> None:
        assert oned.call(world, method, [session, *arguments])[0]

    call()  # so that the XML is cached, with few runtimes and with many
    return _instructions(call)


def test_a_read_by_id_costs_the_same_with_ten_thousand_runtimes(large: Sandbox) -> None:
    small = _populated(SMALL)
    assert large.store.count() == {"runtimes": LARGE, "services": LARGE, "vms": LARGE}
    costs: dict[str, list[int]] = {}
    for sandbox in (small, large):
        document = sandbox.store.documents()[5]
        vm = sandbox.store.live_vms()[5]
        for method, number in (("one.document.info", document.id), ("one.vm.info", vm.id)):
            cost = _cost(sandbox.world, "user5:pass5", method, number, False)
            costs.setdefault(method, []).append(cost)
    for method, (few, many) in costs.items():
        assert 0 < many <= few, method


def test_a_users_list_does_not_read_the_objects_of_others(large: Sandbox) -> None:
    """Each of 100 users owns a hundredth of the runtimes."""
    pool_info = "one.documentpool.info"
    own = _cost(large.world, "user5:pass5", pool_info, -3, -1, -1, 1337)
    everything = _cost(large.world, "oneadmin:opennebula", pool_info, -2, -1, -1, 1337)
    assert 0 < 20 * own < everything


def test_populated_runtimes_are_complete() -> None:
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
