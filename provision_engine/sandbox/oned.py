"""oned: the XML-RPC methods, by table.

Each method has a row: the types of its parameters after the session (`i` integer, `s` string,
`b` boolean; lower case must be there, upper case may be left out) and the function that does it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

from provision_engine.sandbox import errors, lifecycle, render, store, template
from provision_engine.sandbox.errors import OneError, RpcFault
from provision_engine.sandbox.lifecycle import RESIZABLE, position_of, state_name
from provision_engine.sandbox.machines import action_time, extended
from provision_engine.sandbox.scheduler import has_room
from provision_engine.sandbox.store import (
    ADMIN,
    MANAGE,
    USE,
    Document,
    Lock,
    Owned,
    Pool,
    User,
    Vm,
    VmTemplate,
)
from provision_engine.sandbox.template import Template, TemplateError
from provision_engine.sandbox.world import World

Parameter = int | str | bool | float
Value = int | str
NOT_DEFINED, WRONG_TYPE = -506, -501
ANY_STATE = -2
"""one.vmpool.info with this state lists VMs that are DONE too, with -1 it does not."""


class Call(NamedTuple):
    """What a method's function gets."""

    world: World
    user: User
    request_id: int
    arguments: list[Parameter]

    def integer(self, position: int, default: int = 0) -> int:
        """The integer at that position after the session."""
        return int(self.arguments[position]) if position < len(self.arguments) else default

    def text(self, position: int, default: str = "") -> str:
        """The string at that position after the session."""
        return str(self.arguments[position]) if position < len(self.arguments) else default

    def flag(self, position: int) -> bool:
        """The boolean at that position after the session."""
        return position < len(self.arguments) and bool(self.arguments[position])

    @property
    def by(self) -> tuple[User, int]:
        """Who did it, by which request; history records keep both."""
        return self.user, self.request_id


class Method(NamedTuple):
    """A row of the table."""

    signature: str
    function: Callable[[Call], Value]


_TYPES: dict[str, tuple[type, ...]] = {"i": (int,), "s": (str,), "b": (bool,)}
_TYPE_NAMES = {"i": "integer", "s": "string", "b": "boolean"}


def call(world: World, method: str, parameters: list[Parameter]) -> list[Value | bool]:
    """The answer array of a call. RpcFault if the call itself is malformed."""
    row = METHODS.get(method)
    if row is None:
        raise RpcFault(NOT_DEFINED, f"Method '{method}' not defined")
    session = _checked(parameters, 0, "s")
    try:
        user = world.store.authenticate(str(session))
        request_id = world.store.begin_request()
        arguments = _arguments(parameters, row.signature)
        return [True, row.function(Call(world, user, request_id, arguments)), 0]
    except OneError as error:
        return [False, f"[{method}] {error.message}", error.code, error.object_id, -1]


def _arguments(parameters: list[Parameter], signature: str) -> list[Parameter]:
    arguments: list[Parameter] = []
    for position, letter in enumerate(signature, start=1):
        if letter.isupper() and position >= len(parameters):
            break
        arguments.append(_checked(parameters, position, letter.lower()))
    return arguments


def _checked(parameters: list[Parameter], position: int, letter: str) -> Parameter:
    if position >= len(parameters):
        raise RpcFault(WRONG_TYPE, "Not enough parameters")
    value = parameters[position]
    is_right = isinstance(value, _TYPES[letter]) and (letter == "b" or not isinstance(value, bool))
    if not is_right:
        name = _TYPE_NAMES[letter]
        raise RpcFault(WRONG_TYPE, f"Parameter that is supposed to be {name} is not")
    return value


def _parsed(text: str, before: str = "") -> Template:
    try:
        return template.parse(text)
    except TemplateError as error:
        raise OneError(errors.INTERNAL, before + str(error)) from None


# ---- what every kind of object can do ------------------------------------------------------------


def _pool(call: Call, kind: type[Owned]) -> Pool[Owned]:
    pools: dict[type[Owned], object] = {
        Document: call.world.store.documents,
        VmTemplate: call.world.store.vm_templates,
        Vm: call.world.store.vms,
    }
    return pools[kind]  # type: ignore[return-value]


def _authorized(call: Call, kind: type[Owned], operation: int, mind_lock: bool = True) -> Owned:
    pool = _pool(call, kind)
    item = pool.get(call.integer(0))
    call.world.store.authorize(call.user, item, operation, pool.type_name, mind_lock)
    return item


def _rename(kind: type[Owned]) -> Callable[[Call], Value]:
    def rename(call: Call) -> Value:
        item = _authorized(call, kind, MANAGE)
        store.check_name(call.text(1))
        item.name = call.text(1)
        item.changed()
        return item.id

    return rename


_ADMIN_BITS = (2, 5, 8)
"""Who may do admin things: only somebody who may do them himself can change these bits."""


def _chmod(kind: type[Owned]) -> Callable[[Call], Value]:
    def chmod(call: Call) -> Value:
        wanted = [call.integer(i) for i in range(1, 10)]
        item = _authorized(call, kind, MANAGE)
        if any(wanted[i] not in (-1, item.permissions[i]) for i in _ADMIN_BITS):
            item = _authorized(call, kind, ADMIN)
        pairs = zip(item.permissions, wanted, strict=True)
        item.permissions = [old if new == -1 else int(bool(new)) for old, new in pairs]
        item.changed()
        _pool(call, kind).permissions_changed(item)
        return item.id

    return chmod


def _chown(kind: type[Owned]) -> Callable[[Call], Value]:
    def chown(call: Call) -> Value:
        item = _authorized(call, kind, MANAGE)
        if not call.user.is_admin:
            raise store.not_authorized(call.user, MANAGE, "USER", call.integer(1))
        owner = call.world.store.users.get(call.integer(1))
        if owner is None:
            raise errors.no_such("user", call.integer(1))
        _pool(call, kind).owner_changed(item, owner)
        return item.id

    return chown


def _lock(kind: type[Owned]) -> Callable[[Call], Value]:
    def lock(call: Call) -> Value:
        item = _authorized(call, kind, MANAGE, mind_lock=False)
        level, tests = call.integer(1), call.flag(2)
        if level not in (1, 2, 3, 4):
            raise OneError(errors.ACTION, "Wrong lock level specified")
        if item.lock and tests:
            raise OneError(errors.ACTION, str(item.lock.time))
        if item.lock and item.lock.owner != call.user.id and not call.user.is_admin:
            raise OneError(errors.ACTION, "Error trying to lock the resource.")
        now = call.world.store.agenda.seconds()
        item.lock = Lock(level, call.user.id, now, call.request_id)
        item.changed()
        return item.id

    return lock


def _unlock(kind: type[Owned]) -> Callable[[Call], Value]:
    def unlock(call: Call) -> Value:
        item = _authorized(call, kind, MANAGE, mind_lock=False)
        if item.lock and item.lock.owner != call.user.id and not call.user.is_admin:
            raise OneError(errors.ACTION, "Error trying to unlock the resource.")
        item.lock = None
        item.changed()
        return item.id

    return unlock


def _updated(old: Template, call: Call) -> Template:
    new = _parsed(call.text(1), "Cannot update template. ")
    return old.merged(new) if call.integer(2) == 1 else new


# ---- documents -----------------------------------------------------------------------------------


def _document_allocate(call: Call) -> Value:
    body = _parsed(call.text(0))
    name = body.text("NAME")
    if name:
        store.check_name(name)
    return call.world.store.new_document(call.user, call.integer(1), name, body).id


def _document_info(call: Call) -> Value:
    item = _authorized(call, Document, USE, mind_lock=False)
    assert isinstance(item, Document)
    return item.to_xml()


def _document_update(call: Call) -> Value:
    item = _authorized(call, Document, MANAGE)
    item.template = _updated(item.template, call)
    item.changed()
    return item.id


def _document_delete(call: Call) -> Value:
    item = _authorized(call, Document, MANAGE)
    _pool(call, Document).remove(item)
    return item.id


def _document_clone(call: Call) -> Value:
    item = _authorized(call, Document, USE)
    assert isinstance(item, Document)
    store.check_name(call.text(1))
    made = call.world.store.new_document(call.user, item.type, call.text(1), item.template.copy())
    return made.id


def _documentpool_info(call: Call) -> Value:
    who, start, end, kind = (call.integer(i) for i in range(4))
    found = call.world.store.documents.select(call.user, who, start, end, kind)
    return f"<DOCUMENT_POOL>{''.join([d.to_xml() for d in found])}</DOCUMENT_POOL>"


# ---- VM templates --------------------------------------------------------------------------------


def _template_allocate(call: Call) -> Value:
    body = _parsed(call.text(0))
    name = body.text("NAME")
    if name:
        store.check_name(name)
    body.remove("NAME")
    cloud = call.world.store
    number = cloud.vm_templates.new_id()
    user = call.user
    made = VmTemplate(
        number, user.id, user.gid, user.name, user.group_name, name or f"template-{number}",
        template=body, registration_time=cloud.agenda.seconds(),
    )  # fmt: skip
    cloud.vm_templates.add(made)
    return number


def _template_info(call: Call) -> Value:
    item = _authorized(call, VmTemplate, USE, mind_lock=False)
    assert isinstance(item, VmTemplate)
    full = extended(call.world.store, item.template) if call.flag(1) else None
    return item.to_xml(full)


def _template_update(call: Call) -> Value:
    item = _authorized(call, VmTemplate, MANAGE)
    item.template = _updated(item.template, call)
    return item.id


def _template_delete(call: Call) -> Value:
    item = _authorized(call, VmTemplate, MANAGE)
    _pool(call, VmTemplate).remove(item)
    return item.id


def _template_instantiate(call: Call) -> Value:
    item = _authorized(call, VmTemplate, USE)
    assert isinstance(item, VmTemplate)
    extra = _parsed(call.text(3))
    return call.world.machines.create(call.user, item, extra, call.text(1), call.flag(2)).id


def _templatepool_info(call: Call) -> Value:
    found = call.world.store.vm_templates.select(call.user, *(call.integer(i) for i in range(3)))
    return f"<VMTEMPLATE_POOL>{''.join([t.to_xml() for t in found])}</VMTEMPLATE_POOL>"


# ---- VMs -----------------------------------------------------------------------------------------


def _vm(call: Call, operation: int, mind_lock: bool = True) -> Vm:
    item = _authorized(call, Vm, operation, mind_lock)
    assert isinstance(item, Vm)
    return item


def _vm_info(call: Call) -> Value:
    return render.vm(call.world.store, _vm(call, USE, mind_lock=False))


def _vm_update(call: Call) -> Value:
    vm = _vm(call, MANAGE)
    vm.user_template = _updated(vm.user_template, call)
    vm.changed()
    call.world.user_template_changed(vm)
    return vm.id


def _vm_action(call: Call) -> Value:
    name, number = call.text(0), call.integer(1)
    operation = ADMIN if name in lifecycle.RESCHED_FLAGS else MANAGE
    vm = call.world.store.vms.get(number)
    call.world.store.authorize(call.user, vm, operation, "VM")
    if name in lifecycle.RESCHED_FLAGS:
        _flag(vm, name)
    else:
        call.world.vms.act(vm, name, call.user, call.request_id)
    return number


def _flag(vm: Vm, name: str) -> None:
    if position_of(vm) not in (lifecycle.RUNNING, lifecycle.POWEROFF, lifecycle.UNKNOWN):
        raise OneError(
            errors.ACTION,
            f'Error performing action "{name}": Could not set rescheduling flag for VM {vm.id},'
            f" wrong state {state_name(vm)}.",
        )
    vm.resched = lifecycle.RESCHED_FLAGS[name]
    vm.changed()


def _vm_recover(call: Call) -> Value:
    vm = _vm(call, ADMIN)
    call.world.vms.recover(vm, call.integer(1), call.user, call.request_id)
    return vm.id


def _vm_resize(call: Call) -> Value:
    vm = _vm(call, MANAGE)
    wanted = _parsed(call.text(1))
    if position_of(vm) not in RESIZABLE:
        raise OneError(errors.ACTION, f"Cannot resize a VM in state {state_name(vm)}")
    cpu = _asked(wanted, "CPU", vm.cpu)
    memory_mb = int(_asked(wanted, "MEMORY", vm.memory_mb))
    vcpu = int(_asked(wanted, "VCPU", vm.vcpu))
    if call.flag(2):
        _check_host(call, vm, cpu, memory_mb)
    more = {"CPU": cpu - vm.cpu, "MEMORY": float(memory_mb - vm.memory_mb)}
    running = {f"RUNNING_{name}": amount for name, amount in more.items()}
    call.world.store.users[vm.uid].quotas.check(vm.uid, more | running)
    call.world.vms.resize(vm, cpu, memory_mb, vcpu, call.by)
    return vm.id


def _asked(wanted: Template, name: str, now: float) -> float:
    """A size of one.vm.resize; none and 0 mean unchanged (scenario update)."""
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


def _vm_diskresize(call: Call) -> Value:
    vm = _vm(call, MANAGE)
    disk_id, text = call.integer(1), call.text(2)
    disk = next((d for d in vm.template.vectors("DISK") if d["DISK_ID"] == str(disk_id)), None)
    if disk is None:
        raise OneError(errors.ACTION, "VM disk does not exist")
    if not text.isdigit() or int(text) <= int(disk.get("SIZE", "0")):
        raise OneError(errors.ACTION, "New disk size has to be greater than current one")
    if position_of(vm) not in lifecycle.DISK_RESIZES:
        raise OneError(
            errors.ACTION,
            f"Could not resize disk for VM {vm.id}, wrong state {state_name(vm)}.",
        )
    more_mb = float(int(text) - int(disk["SIZE"]))
    call.world.store.users[vm.uid].quotas.check(vm.uid, {"SYSTEM_DISK_SIZE": more_mb})
    call.world.vms.resize_disk(vm, disk, int(text), call.by)
    return vm.id if call.world.store.release.diskresize_answers_vm else disk_id


def _sched_vector(call: Call, position: int) -> dict[str, str]:
    vectors = _parsed(call.text(position)).vectors("SCHED_ACTION")
    if not vectors:
        raise OneError(errors.INTERNAL, "No SCHED_ACTION in the template")
    return vectors[0]


def _vm_schedadd(call: Call) -> Value:
    vm = _vm(call, MANAGE)
    asked = _sched_vector(call, 1)
    _check_action(asked)
    return call.world.machines.schedule_action(vm, asked).id


def _vm_schedupdate(call: Call) -> Value:
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
    if asked.get("ACTION") not in lifecycle.ACTIONS:
        raise OneError(errors.INTERNAL, f"Action {asked.get('ACTION', '')} is not supported")


def _vm_scheddelete(call: Call) -> Value:
    vm = _vm(call, MANAGE)
    number = call.integer(1)
    if vm.scheduled.pop(number, None) is None:
        raise errors.no_such("-", number)
    vm.scheduled_ids.remove(number)
    vm.changed()
    return number


def _vmpool(call: Call, is_extended: bool) -> Value:
    who, start, end, state = (call.integer(i) for i in range(4))
    is_done = state == lifecycle.VmState.DONE
    found = [] if is_done else call.world.store.vms.select(call.user, who, start, end)
    if state == ANY_STATE or is_done:
        found += call.world.store.vms.select(call.user, who, start, end, store.RETIRED)
        found.sort(key=lambda vm: -vm.id)
    wanted = [vm for vm in found if state < 0 or vm.state == state]
    return _vm_list(call, wanted, is_extended)


def _vm_list(call: Call, vms: list[Vm], is_extended: bool) -> str:
    if is_extended:
        return f"<VM_POOL>{''.join([render.vm(call.world.store, v) for v in vms])}</VM_POOL>"
    return f"<VM_POOL>{''.join([render.vm_short(v) for v in vms])}</VM_POOL>"


def _vmpool_infoset(call: Call) -> Value:
    numbers = {int(n) for n in call.text(0).split(",") if n.strip().isdigit()}
    pool = call.world.store.vms
    found = [vm for n in sorted(numbers, reverse=True) if (vm := pool.find(n)) is not None]
    visible = [vm for vm in found if store.allowed(call.user, vm, USE)]
    return _vm_list(call, visible, call.flag(1))


# ---- users and the rest --------------------------------------------------------------------------


def _person(call: Call) -> User:
    number = call.integer(0)
    person = call.user if number == -1 else call.world.store.users.get(number)
    if person is None:
        raise errors.no_such("user", number)
    return person


def _user_info(call: Call) -> Value:
    person = _person(call)
    if person is not call.user and not call.user.is_admin:
        raise store.not_authorized(call.user, USE, "USER", person.id)
    return render.user(call.world.store, person)


def _user_update(call: Call) -> Value:
    person = _person(call)
    if person is not call.user and not call.user.is_admin:
        raise store.not_authorized(call.user, MANAGE, "USER", person.id)
    person.template = _updated(person.template, call)
    return person.id


def _user_quota(call: Call) -> Value:
    person = _person(call)
    if not call.user.is_admin:
        raise store.not_authorized(call.user, ADMIN, "USER", person.id)
    for limits in _parsed(call.text(1)).vectors("VM"):
        try:
            person.quotas.set_limits(limits)
        except ValueError:
            raise OneError(errors.INTERNAL, "Wrong quota value") from None
    return person.id


def _system_version(call: Call) -> Value:
    return call.world.store.release.version


METHODS: dict[str, Method] = {
    "one.system.version": Method("", _system_version),
    "one.user.info": Method("iB", _user_info),
    "one.user.update": Method("isi", _user_update),
    "one.user.quota": Method("is", _user_quota),
    "one.document.allocate": Method("si", _document_allocate),
    "one.document.info": Method("iB", _document_info),
    "one.document.update": Method("isi", _document_update),
    "one.document.delete": Method("i", _document_delete),
    "one.document.clone": Method("isB", _document_clone),
    "one.document.rename": Method("is", _rename(Document)),
    "one.document.chmod": Method("iiiiiiiiii", _chmod(Document)),
    "one.document.chown": Method("iii", _chown(Document)),
    "one.document.lock": Method("iiB", _lock(Document)),
    "one.document.unlock": Method("i", _unlock(Document)),
    "one.documentpool.info": Method("iiii", _documentpool_info),
    "one.template.allocate": Method("s", _template_allocate),
    "one.template.info": Method("iBB", _template_info),
    "one.template.update": Method("isi", _template_update),
    "one.template.delete": Method("iB", _template_delete),
    "one.template.rename": Method("is", _rename(VmTemplate)),
    "one.template.chmod": Method("iiiiiiiiii", _chmod(VmTemplate)),
    "one.template.lock": Method("iiB", _lock(VmTemplate)),
    "one.template.unlock": Method("i", _unlock(VmTemplate)),
    "one.template.instantiate": Method("isbsB", _template_instantiate),
    "one.templatepool.info": Method("iii", _templatepool_info),
    "one.vm.info": Method("iB", _vm_info),
    "one.vm.update": Method("isi", _vm_update),
    "one.vm.action": Method("si", _vm_action),
    "one.vm.recover": Method("ii", _vm_recover),
    "one.vm.resize": Method("isb", _vm_resize),
    "one.vm.diskresize": Method("iis", _vm_diskresize),
    "one.vm.rename": Method("is", _rename(Vm)),
    "one.vm.chmod": Method("iiiiiiiiii", _chmod(Vm)),
    "one.vm.lock": Method("iiB", _lock(Vm)),
    "one.vm.unlock": Method("i", _unlock(Vm)),
    "one.vm.schedadd": Method("is", _vm_schedadd),
    "one.vm.schedupdate": Method("iis", _vm_schedupdate),
    "one.vm.scheddelete": Method("ii", _vm_scheddelete),
    "one.vmpool.info": Method("iiiiS", lambda call: _vmpool(call, is_extended=False)),
    "one.vmpool.infoextended": Method("iiiiS", lambda call: _vmpool(call, is_extended=True)),
    "one.vmpool.infoset": Method("sB", _vmpool_infoset),
}
