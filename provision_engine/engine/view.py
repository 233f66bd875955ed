"""Pure: a runtime and the fresh states of its VMs become what the caller sees."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from provision_engine.cloud.objects import Vm
from provision_engine.engine import states
from provision_engine.engine.document import Runtime, StoredFunction
from provision_engine.engine.states import State

ERROR_CHARACTERS = 1000
"""An error is cut here, because a small device reads an answer into 30,000 bytes."""
ADDRESSES = ("EXTERNAL_IP", "IP6", "IP")
"""The attributes of a NIC that tell where the VM answers; the first one that exists."""

Json = dict[str, Any]


def newborn(runtime: Runtime) -> Json:
    """The answer to a create: every function is PENDING."""
    return _render(runtime, {r: _function(f, None, State.PENDING, "") for r, f in _items(runtime)})


def render(runtime: Runtime, vms: Mapping[int, Vm], service: Mapping[str, Any] | None) -> Json:
    """A runtime with fresh states.

    The service's body, where it exists, explains functions that have no VM.
    """
    functions = {}
    for role, function in _items(runtime):
        vm = vms.get(function.vm_id) if function.vm_id is not None else None
        state, why = states.of_vm(vm) if vm else states.of_missing_vm(service)
        functions[role] = _function(function, vm, state, why)
    return _render(runtime, functions)


def endpoint(nic: Mapping[str, Any]) -> str:
    """Where a VM answers, by its first NIC; empty if there is no address."""
    return next((str(nic[name]) for name in ADDRESSES if nic.get(name)), "")


def cores(vm: Vm) -> int:
    """The cores of a VM; a part of one counts as one."""
    return math.ceil(vm.cpu)


def _items(runtime: Runtime) -> list[tuple[str, StoredFunction]]:
    return list(runtime.functions.items())


def _function(function: StoredFunction, vm: Vm | None, state: State, why: str) -> Json:
    body = function.as_json()
    if vm is not None:
        body |= {"CPU": cores(vm), "MEMORY": vm.memory_mb}
        if vm.disk_size_mb is not None:
            body["DISK_SIZE"] = vm.disk_size_mb
    body |= {"STATE": str(state), "ENDPOINT": endpoint(vm.nic) if vm else ""}
    return body | ({"ERROR": why[:ERROR_CHARACTERS]} if state is State.ERROR else {})


def _render(runtime: Runtime, functions: Mapping[str, Json]) -> Json:
    body: Json = {"NAME": runtime.name, "ID": runtime.id}
    if runtime.service_id is not None:
        body["SERVICE_ID"] = runtime.service_id
    body |= functions
    if runtime.scheduling:
        body["SCHEDULING"] = dict(runtime.scheduling)
    if runtime.device_info:
        body["DEVICE_INFO"] = dict(runtime.device_info)
    return body
