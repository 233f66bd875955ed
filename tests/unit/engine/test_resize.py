"""Sizes as OpenNebula reads them."""

from __future__ import annotations

import dataclasses

import pytest

from provision_engine.engine.runtime.model import Function, Runtime
from provision_engine.engine.runtime.snapshot import Snapshot
from provision_engine.engine.safety import resize
from provision_engine.errors import EngineError
from tests.unit.engine.opennebula import OpenNebula
from tests.unit.support import vm


@pytest.mark.parametrize(
    ("requested", "sent"),
    [
        ({"MEMORY": 1_048_576}, ["MEMORY=1048576", "MEMORY=512"]),
        ({"CPU": 4}, ["CPU=4\nVCPU=4", "CPU=0.1\nVCPU=2"]),
    ],
)
def test_what_a_resize_sends_is_a_plain_number_and_what_it_gives_back_is_the_operators(
    requested: dict[str, int], sent: list[str]
) -> None:
    one = OpenNebula()
    made = dataclasses.replace(vm(vm_id=5), cpu_share=0.1, vcpu=2, memory_mb=512)
    one.vms_by_id[5] = made
    calls: list[str] = []

    def resize_vm(_vm_id: int, text: str) -> None:
        calls.append(text)
        changed = {"MEMORY": {"memory_mb": 1}, "CPU": {"vcpu": 1}}[text.partition("=")[0]]
        one.vms_by_id[5] = dataclasses.replace(made, **changed)

    one.resize_vm = resize_vm  # type: ignore[attr-defined]
    runtime = Runtime(9, "a name", {"FAAS": Function("f", {}, 5)})
    snapshot = Snapshot.from_vms(runtime, {5: made}, None)
    resizes = resize.between(snapshot, {"FAAS": Function("f", requested)})
    with pytest.raises(EngineError):
        resize.apply(one.request().cloud, resizes)
    assert calls == sent
