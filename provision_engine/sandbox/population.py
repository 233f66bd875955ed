"""Adds many users, runtimes and flow templates to a sandbox, for measurements."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from provision_engine.sandbox import seeds, states
from provision_engine.sandbox.service_body import ServiceState, compact, node_of
from provision_engine.sandbox.store import (
    HOST_CPU_PERCENT,
    RUNTIME,
    SERVICE,
    SERVICE_TEMPLATE,
    Document,
    History,
    Host,
    User,
    Vm,
)
from provision_engine.sandbox.template import Template
from provision_engine.sandbox.world import World

RuntimeBody = Callable[[str, int, int], str]
"""Makes the BODY of a runtime's document from its name, service id and VM id."""

_FLOW_TEMPLATE = "Function"


def plain_body(name: str, service_id: int, vm_id: int) -> str:
    """A runtime with only a FAAS, as the engine stores it."""
    faas = {"FLAVOUR": _FLOW_TEMPLATE, "CPU": 1, "MEMORY": 128, "DISK_SIZE": 1024, "VM_ID": vm_id}
    return json.dumps({"NAME": name, "SERVICE_ID": service_id, "FAAS": faas})


def populate(
    world: World, users: int, runtimes: int, flow_templates: int, body: RuntimeBody = plain_body
) -> None:
    """Adds that many of each; the runtimes are running and owned by the users in turn.

    The users are user0, user1 … with the passwords pass0, pass1 …
    """
    cloud = world.store
    with world.moment():
        people = [cloud.add_user(f"user{i}", f"pass{i}") for i in range(users)]
        admin = cloud.users.get(0)
        for number in range(flow_templates):
            seeds.add_flow(cloud, admin, f"flavour{number}", [seeds.role(cloud, "FAAS", 0)])
        base = _flow_body(world)
        for number in range(runtimes):
            owner = people[number % users] if people else admin
            _add_runtime(world, owner, f"runtime{number}", base, body)


def _flow_body(world: World) -> dict[str, Any]:
    for document in world.store.documents.all(SERVICE_TEMPLATE):
        if document.name == _FLOW_TEMPLATE:
            found: dict[str, Any] = json.loads(document.template.text("BODY") or "{}")
            return found
    raise LookupError(f"there is no flow template {_FLOW_TEMPLATE}")


def _add_runtime(
    world: World, owner: User, name: str, base: dict[str, Any], body: RuntimeBody
) -> Document:
    cloud = world.store
    service = cloud.new_document(owner, SERVICE, name, Template())
    role_name = base["roles"][0]["name"]
    vm = _add_vm(world, owner, f"{role_name}_0_(service_{service.id})", role_name, service.id)
    service.template.set("BODY", compact(_service_body(world, base, name, vm)))
    content = Template([("BODY", body(name, service.id, vm.id))])
    return cloud.new_document(owner, RUNTIME, name, content)


def _service_body(world: World, base: dict[str, Any], name: str, vm: Vm) -> dict[str, Any]:
    now = world.store.agenda.seconds()
    role = base["roles"][0] | {
        "state": int(ServiceState.RUNNING),
        "nodes": [node_of(vm)],
        "on_hold": False,
        "last_vmname": 1,
    }
    log = [{"timestamp": now, "severity": "I", "message": "New state: RUNNING"}]
    state = {"state": int(ServiceState.RUNNING), "start_time": now, "log": log}
    return base | {"name": name, "roles": [role]} | state


def _add_vm(world: World, owner: User, name: str, role_name: str, service_id: int) -> Vm:
    """Adds a running VM on a host with enough free capacity."""
    extra = Template([("ROLE_NAME", role_name), ("SERVICE_ID", str(service_id))])
    vm = world.machines.create(owner, world.store.vm_templates.get(0), extra, name)
    vm.service_id = None  # so that its service does not react to the changes of state
    host = world.store.hosts[-1] if world.store.hosts else None
    if host is None or host.used_cpu_percent + vm.cpu * 100 > HOST_CPU_PERCENT:
        number = len(world.store.hosts)
        host = Host(number, f"host{number:02}")
        world.store.hosts.append(host)
    host.take(vm.cpu, vm.memory_mb)
    now = world.store.agenda.seconds()
    vm.host_id = host.id
    vm.history.append(History(0, host.id, host.name, now, pstime=now, petime=now, rstime=now))
    vm.deploy_id = f"{host.name}:{name}:dummy"
    vm.template.set("TM_MAD_SYSTEM", "dummy")
    world.vms.enter(vm, states.RUNNING)
    vm.service_id = service_id
    return vm
