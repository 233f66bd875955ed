"""Pure: a runtime and the fresh states of its VMs become what the caller sees."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from typing import Any

from provision_engine.cloud.objects import Vm
from provision_engine.engine import lease, states
from provision_engine.engine.document import Runtime, StoredFunction
from provision_engine.engine.specification import ROLES
from provision_engine.engine.states import Condition, State

REASON_CHARACTERS = 1000
"""A reason is cut here, because a small device reads an answer into 30,000 bytes."""
ADDRESSES = ("EXTERNAL_IP", "IP6", "IP")
"""The attributes of a NIC that tell where the VM answers; the first one that exists."""

Json = dict[str, Any]


def newborn(runtime: Runtime) -> Json:
    """The answer to a create: every function is PENDING."""
    born = Condition(State.PENDING)
    functions = {role: _function(f, None, born) for role, f in runtime.functions.items()}
    return _render(runtime, functions, runtime.lease_ends_at)


def render(runtime: Runtime, vms: Mapping[int, Vm], service: Mapping[str, Any] | None) -> Json:
    """A runtime with fresh states.

    The service's body, where it exists, explains functions that have no VM.
    """
    functions = {}
    for role, function in runtime.functions.items():
        vm = vms.get(function.vm_id) if function.vm_id is not None else None
        condition = states.of_vm(vm) if vm else states.of_missing_vm(service)
        functions[role] = _function(function, vm, condition)
    return _render(runtime, functions, lease.ends_at(vms.values()))


def is_settled(body: Json) -> bool:
    """Whether no function of a rendered runtime is on its way to another state."""
    moving = (State.PENDING, State.UPDATING)
    return all(body[role]["STATE"] not in moving for role in ROLES if role in body)


def etag(body: Json) -> str:
    """A short text that changes whenever anything in a rendered runtime does."""
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()[:32]


def endpoint(nic: Mapping[str, Any]) -> str:
    """Where a VM answers, by its first NIC; empty if there is no address."""
    return next((str(nic[name]) for name in ADDRESSES if nic.get(name)), "")


def cores(vm: Vm) -> int:
    """The cores of a VM; a part of one counts as one."""
    return math.ceil(vm.cpu)


def _function(function: StoredFunction, vm: Vm | None, condition: Condition) -> Json:
    body = function.as_json()
    if vm is not None:
        body |= {"CPU": cores(vm), "MEMORY": vm.memory_mb}
        if vm.disk_size_mb is not None:
            body["DISK_SIZE"] = vm.disk_size_mb
    body |= {"STATE": str(condition.state), "ENDPOINT": endpoint(vm.nic) if vm else ""}
    return body | _explanation(vm, condition)


def _explanation(vm: Vm | None, condition: Condition) -> Json:
    reason = condition.reason[:REASON_CHARACTERS]
    told: Json = {"ERROR": reason} if condition.state is State.ERROR else {}
    if reason:
        told["REASON"] = reason
    if vm is not None:
        told["SINCE"] = lease.rfc3339(vm.since)
    return told


def _render(runtime: Runtime, functions: Mapping[str, Json], expires: int | None) -> Json:
    body: Json = {"NAME": runtime.name, "ID": runtime.id}
    if runtime.service_id is not None:
        body["SERVICE_ID"] = runtime.service_id
    body |= functions
    if runtime.scheduling:
        body["SCHEDULING"] = dict(runtime.scheduling)
    if runtime.device_info:
        body["DEVICE_INFO"] = dict(runtime.device_info)
    if runtime.lease_seconds is not None:
        ends = {"EXPIRES": lease.rfc3339(expires)} if expires else {}
        body["LEASE"] = {"TTL": runtime.lease_seconds} | ends
    return body
