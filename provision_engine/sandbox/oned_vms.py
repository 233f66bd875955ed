"""The XML-RPC methods of VMs."""

from __future__ import annotations

import math

from provision_engine.sandbox import errors, render, states, store
from provision_engine.sandbox.calls import Call, Value, authorized, parsed, updated
from provision_engine.sandbox.errors import OneError
from provision_engine.sandbox.machines import action_time
from provision_engine.sandbox.permissions import listed
from provision_engine.sandbox.scheduler import has_room
from provision_engine.sandbox.states import position_of, state_name
from provision_engine.sandbox.store import ADMIN, MANAGE, USE, Vm
from provision_engine.sandbox.template import Template

ANY_STATE = -2
"""With this state one.vmpool.info also lists VMs that are DONE; with -1 it does not."""


def _vm(call: Call, operation: int, check_lock: bool = True) -> Vm:
    item: Vm = authorized(call, Vm, operation, check_lock)
    return item


def allocate(call: Call) -> Value:
    asked = parsed(call, 0)
    call.authorization().needs_creation("VM").check()
    return call.world.machines.create(call.user, None, asked, "", call.flag(1)).id


def info(call: Call) -> Value:
    return render.vm(call.world.store, _vm(call, USE, check_lock=False))


def update(call: Call) -> Value:
    vm = _vm(call, MANAGE)
    vm.user_template = updated(vm.user_template, call)
    vm.changed()
    call.world.user_template_changed(vm)
    return vm.id


def action(call: Call) -> Value:
    name, number = call.text(0), call.integer(1)
    operation = ADMIN if name in states.RESCHED_FLAGS else MANAGE
    vm = call.world.store.vms.get(number)
    call.authorization().needs(operation, vm).check()
    if name not in states.ACTIONS and name not in states.RESCHED_FLAGS:
        raise OneError(errors.ACTION, f'Action "{name}" is not supported')
    if name in states.RESCHED_FLAGS:
        _flag(vm, name)
    else:
        call.world.vms.act(vm, name, call.user, call.request_id)
    return number


def _flag(vm: Vm, name: str) -> None:
    if position_of(vm) not in (states.RUNNING, states.POWEROFF, states.UNKNOWN):
        raise OneError(errors.ACTION, states.refusal(name, vm))
    vm.resched = states.RESCHED_FLAGS[name]
    vm.changed()


def recover(call: Call) -> Value:
    vm = _vm(call, ADMIN)
    call.world.vms.recover(vm, call.integer(1), call.user, call.request_id)
    return vm.id


def resize(call: Call) -> Value:
    vm = _vm(call, MANAGE)
    wanted = parsed(call, 1)
    if position_of(vm) not in states.RESIZABLE:
        raise OneError(errors.ACTION, f"Cannot resize a VM in state {state_name(vm)}")
    cpu = _asked(wanted, "CPU", vm.cpu)
    memory_mb = int(_asked(wanted, "MEMORY", vm.memory_mb))
    vcpu = int(_asked(wanted, "VCPU", vm.vcpu))
    if call.flag(2):
        _check_host(call, vm, cpu, memory_mb)
    more = {"CPU": cpu - vm.cpu, "MEMORY": float(memory_mb - vm.memory_mb)}
    running = {f"RUNNING_{name}": amount for name, amount in more.items()}
    call.world.store.owner_of(vm).quotas.check(vm.uid, more | running)
    call.world.vms.resize(vm, cpu, memory_mb, vcpu, call.by)
    return vm.id


def _asked(wanted: Template, name: str, now: float) -> float:
    """A size of one.vm.resize; missing and 0 mean unchanged (scenario update)."""
    text = wanted.text(name)
    try:
        value = float(text) if text else 0.0
    except ValueError:
        value = -1.0
    if not 0 <= value < math.inf:
        kind = "float or integer" if name == "CPU" else "integer"
        raise OneError(errors.ACTION, f"{name} must be a positive {kind} value.")
    return value or now


def _check_host(call: Call, vm: Vm, cpu: float, memory_mb: int) -> None:
    host = call.world.store.host_of(vm)
    if host is None or has_room(host, cpu - vm.cpu, memory_mb - vm.memory_mb):
        return
    percent = host.used_cpu_percent + (cpu - vm.cpu) * 100
    if percent > host.cpu_percent:
        raise OneError(errors.ACTION, f"Not enough CPU: {percent:.0f}/{host.cpu_percent}")
    kilobytes = host.used_memory_kb + (memory_mb - vm.memory_mb) * 1024
    raise OneError(errors.ACTION, f"Not enough memory: {kilobytes}/{host.memory_kb}")


def diskresize(call: Call) -> Value:
    vm = _vm(call, MANAGE)
    disk_id, text = call.integer(1), call.text(2)
    disk = next((d for d in vm.template.vectors("DISK") if d["DISK_ID"] == str(disk_id)), None)
    if disk is None:
        raise OneError(errors.ACTION, "VM disk does not exist")
    if not text.isdigit() or int(text) <= int(disk.get("SIZE", "0")):
        raise OneError(errors.ACTION, "New disk size has to be greater than current one")
    if position_of(vm) not in states.DISK_RESIZES:
        raise OneError(
            errors.ACTION,
            f"Could not resize disk for VM {vm.id}, wrong state {state_name(vm)}.",
        )
    more_mb = float(int(text) - int(disk["SIZE"]))
    call.world.store.owner_of(vm).quotas.check(vm.uid, {"SYSTEM_DISK_SIZE": more_mb})
    call.world.vms.resize_disk(vm, disk, int(text), call.by)
    return vm.id if call.world.store.release.diskresize_returns_vm else disk_id


def _sched_vector(call: Call, position: int) -> dict[str, str]:
    vectors = parsed(call, position).vectors("SCHED_ACTION")
    if not vectors:
        raise OneError(errors.INTERNAL, "No SCHED_ACTION in the template")
    return vectors[0]


def schedadd(call: Call) -> Value:
    vm = _vm(call, MANAGE)
    asked = _sched_vector(call, 1)
    _check_action(asked)
    if position_of(vm) == states.DONE and not call.world.store.release.schedules_for_done:
        raise OneError(
            errors.INTERNAL,
            f"Unable to create Scheduled Action for Virtual Machine {vm.id}, it's in DONE state",
            vm.id,
        )
    return call.world.machines.schedule_action(vm, asked).id


def schedupdate(call: Call) -> Value:
    vm = _vm(call, MANAGE)
    number, asked = call.integer(1), _sched_vector(call, 2)
    action = vm.scheduled.get(number)
    if action is None:
        raise OneError(errors.INTERNAL, f"SCHED_ACTION with id = {number} doesn't exist")
    if "ACTION" in asked:
        _check_action(asked)
    action.action = asked.get("ACTION", action.action)
    if "TIME" in asked:
        action.time = action_time(vm, asked["TIME"])
        call.world.machines.plan(action)
    vm.changed()
    return number


def _check_action(asked: dict[str, str]) -> None:
    if asked.get("ACTION") not in states.ACTIONS:
        raise OneError(errors.INTERNAL, f"Action {asked.get('ACTION', '')} is not supported")


def scheddelete(call: Call) -> Value:
    vm = _vm(call, MANAGE)
    number = call.integer(1)
    if vm.scheduled.pop(number, None) is None:
        raise errors.no_such(call.world.store.release.scheduled_action_noun, number)
    vm.scheduled_ids.remove(number)
    vm.changed()
    return vm.id if call.world.store.release.scheddelete_returns_vm else number


def pool(call: Call, is_extended: bool) -> Value:
    filter_flag, start, end, state = (call.integer(i) for i in range(4))
    is_done = state == states.VmState.DONE
    found = [] if is_done else call.world.store.vms.select(call.user, filter_flag, start, end)
    if state == ANY_STATE or is_done:
        found += call.world.store.vms.select(call.user, filter_flag, start, end, store.RETIRED)
        found.sort(key=lambda vm: -vm.id)
    wanted = [vm for vm in found if state < 0 or vm.state == state]
    return _vm_list(call, wanted, is_extended)


def _vm_list(call: Call, vms: list[Vm], is_extended: bool) -> str:
    if is_extended:
        return (
            f"<VM_POOL>{''.join([render.vm_in_pool(call.world.store, v) for v in vms])}</VM_POOL>"
        )
    return f"<VM_POOL>{''.join([render.vm_short(v) for v in vms])}</VM_POOL>"


def infoset(call: Call) -> Value:
    numbers = {int(n) for n in call.text(0).split(",") if n.strip().isdigit()}
    pool = call.world.store.vms
    found = [vm for n in sorted(numbers, reverse=True) if (vm := pool.find(n)) is not None]
    visible = [vm for vm in found if listed(call.user, vm)]
    return _vm_list(call, visible, call.flag(1))
