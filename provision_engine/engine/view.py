"""Pure: a runtime and the fresh states of its VMs become what the caller sees."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from typing import Any

from provision_engine.cloud.objects import Vm
from provision_engine.engine import lease, states
from provision_engine.engine.document import Phase, Runtime, StoredFunction
from provision_engine.engine.specification import ROLES
from provision_engine.engine.states import Condition, State

REASON_BYTES = 1500
"""A reason is cut here, because a small device reads an answer into 30,000 bytes, and there may
be four of them: ERROR and REASON of two functions."""
ADDRESSES = ("EXTERNAL_IP", "IP6", "IP")
"""The attributes of a NIC that tell where the VM answers; the first one that exists."""

Json = dict[str, Any]


def newborn(runtime: Runtime) -> Json:
    """The answer to a create: every function is PENDING."""
    functions = {role: _unborn(runtime, f) for role, f in runtime.functions.items()}
    return _render(runtime, functions, runtime.lease_ends_at)


def render(runtime: Runtime, vms: Mapping[int, Vm], service: Mapping[str, Any] | None) -> Json:
    """A runtime with fresh states.

    The service's body, where it exists, explains functions that have no VM.
    """
    if runtime.phase is Phase.CREATING:
        return newborn(runtime)
    functions = {
        role: _seen(function, None if function.vm_id is None else vms.get(function.vm_id), service)
        for role, function in runtime.functions.items()
    }
    return _render(runtime, functions, lease.ends_at(vms.values()) or runtime.lease_ends_at)


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


def _unborn(runtime: Runtime, function: StoredFunction) -> Json:
    born = Condition(State.PENDING, "VM was just ordered")
    return _function(function, None, born, runtime.created_at)


def _seen(function: StoredFunction, vm: Vm | None, service: Mapping[str, Any] | None) -> Json:
    if vm is not None:
        return _function(function, vm, states.of_vm(vm), vm.since)
    condition = states.of_missing_vm(service, had_vm=function.vm_id is not None)
    return _function(function, None, condition, states.last_entry_at(service))


def _function(
    function: StoredFunction, vm: Vm | None, condition: Condition, since: int | None
) -> Json:
    body = function.as_json()
    if vm is not None:
        body |= {"CPU": cores(vm), "MEMORY": vm.memory_mb}
        if vm.disk_size_mb is not None:
            body["DISK_SIZE"] = vm.disk_size_mb
    body |= {"STATE": str(condition.state), "ENDPOINT": endpoint(vm.nic) if vm else ""}
    if reason := _cut(condition.reason):
        body |= {"ERROR": reason} if condition.state is State.ERROR else {}
        body["REASON"] = reason
    return body | ({"SINCE": lease.rfc3339(since)} if since else {})


def _cut(reason: str) -> str:
    """A text that takes REASON_BYTES at most where it is told, in JSON and UTF-8."""
    if len(_told(reason)) <= REASON_BYTES:
        return reason
    while len(_told(reason)) > REASON_BYTES:
        reason = reason[: len(reason) * REASON_BYTES // (len(_told(reason)) + 1)]
    return f"{reason}…"


def _told(text: str) -> bytes:
    return json.dumps(text, ensure_ascii=False).encode(errors="backslashreplace")


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
