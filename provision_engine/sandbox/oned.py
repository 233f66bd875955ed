"""oned: the table of XML-RPC methods.

Each row holds the types of a method's parameters after the session (`i` integer, `s` string, `b`
boolean, `a` array; lower case is required, upper case optional) and the function that implements
it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from provision_engine.sandbox import oned_objects, oned_users, oned_vms
from provision_engine.sandbox.calls import (
    Call,
    Value,
    chmod,
    chown,
    lock,
    rename,
    unlock,
)
from provision_engine.sandbox.errors import OneError, RpcFault
from provision_engine.sandbox.rpc import Parameter
from provision_engine.sandbox.store import Document, Vm, VmTemplate
from provision_engine.sandbox.world import World

NOT_DEFINED, WRONG_TYPE = -506, -501


class Method(NamedTuple):
    """A row of the table."""

    signature: str
    function: Callable[[Call], Value]


_TYPES: dict[str, type] = {"i": int, "s": str, "b": bool, "a": list}
_TYPE_NAMES = {"i": "integer", "s": "string", "b": "boolean", "a": "array"}


def call(world: World, method: str, parameters: list[Parameter]) -> list[Value | bool]:
    """The response array of a call. RpcFault if the call itself is malformed."""
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


def _system_version(call: Call) -> Value:
    return call.world.store.release.version


METHODS: dict[str, Method] = {
    "one.system.version": Method("", _system_version),
    "one.user.allocate": Method("sssA", oned_users.user_allocate),
    "one.user.delete": Method("i", oned_users.user_delete),
    "one.user.info": Method("iB", oned_users.user_info),
    "one.user.update": Method("isi", oned_users.user_update),
    "one.user.passwd": Method("is", oned_users.user_passwd),
    "one.user.enable": Method("ib", oned_users.user_enable),
    "one.user.login": Method("ssiI", oned_users.user_login),
    "one.user.quota": Method("is", oned_users.user_quota),
    "one.user.chgrp": Method("ii", oned_users.user_chgrp),
    "one.user.addgroup": Method("ii", oned_users.user_addgroup),
    "one.user.delgroup": Method("ii", oned_users.user_delgroup),
    "one.userpool.info": Method("", oned_users.userpool_info),
    "one.group.allocate": Method("s", oned_users.group_allocate),
    "one.group.info": Method("iB", oned_users.group_info),
    "one.group.delete": Method("i", oned_users.group_delete),
    "one.grouppool.info": Method("", oned_users.grouppool_info),
    "one.acl.addrule": Method("sssS", oned_users.acl_addrule),
    "one.acl.delrule": Method("i", oned_users.acl_delrule),
    "one.document.allocate": Method("si", oned_objects.document_allocate),
    "one.document.info": Method("iB", oned_objects.document_info),
    "one.document.update": Method("isi", oned_objects.document_update),
    "one.document.delete": Method("i", oned_objects.document_delete),
    "one.document.clone": Method("isB", oned_objects.document_clone),
    "one.document.rename": Method("is", rename(Document)),
    "one.document.chmod": Method("iiiiiiiiii", chmod(Document)),
    "one.document.chown": Method("iii", chown(Document)),
    "one.document.lock": Method("iiB", lock(Document)),
    "one.document.unlock": Method("i", unlock(Document)),
    "one.documentpool.info": Method("iiii", oned_objects.documentpool_info),
    "one.template.allocate": Method("s", oned_objects.template_allocate),
    "one.template.info": Method("iBB", oned_objects.template_info),
    "one.template.update": Method("isi", oned_objects.template_update),
    "one.template.delete": Method("iB", oned_objects.template_delete),
    "one.template.clone": Method("isB", oned_objects.template_clone),
    "one.template.rename": Method("is", rename(VmTemplate)),
    "one.template.chmod": Method("iiiiiiiiiiB", chmod(VmTemplate)),
    "one.template.chown": Method("iii", chown(VmTemplate)),
    "one.template.lock": Method("iiB", lock(VmTemplate)),
    "one.template.unlock": Method("i", unlock(VmTemplate)),
    "one.template.instantiate": Method("isbsB", oned_objects.template_instantiate),
    "one.templatepool.info": Method("iii", oned_objects.templatepool_info),
    "one.vm.allocate": Method("sB", oned_vms.allocate),
    "one.vm.info": Method("iB", oned_vms.info),
    "one.vm.update": Method("isi", oned_vms.update),
    "one.vm.action": Method("si", oned_vms.action),
    "one.vm.recover": Method("ii", oned_vms.recover),
    "one.vm.resize": Method("isb", oned_vms.resize),
    "one.vm.diskresize": Method("iis", oned_vms.diskresize),
    "one.vm.rename": Method("is", rename(Vm)),
    "one.vm.chmod": Method("iiiiiiiiii", chmod(Vm)),
    "one.vm.chown": Method("iii", chown(Vm)),
    "one.vm.lock": Method("iiB", lock(Vm)),
    "one.vm.unlock": Method("i", unlock(Vm)),
    "one.vm.schedadd": Method("is", oned_vms.schedadd),
    "one.vm.schedupdate": Method("iis", oned_vms.schedupdate),
    "one.vm.scheddelete": Method("ii", oned_vms.scheddelete),
    "one.vmpool.info": Method("iiiiS", lambda call: oned_vms.pool(call, is_extended=False)),
    "one.vmpool.infoextended": Method("iiiiS", lambda call: oned_vms.pool(call, is_extended=True)),
    "one.vmpool.infoset": Method("sB", oned_vms.infoset),
}
