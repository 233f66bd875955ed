"""oned: the table of XML-RPC methods.

Each row holds the types of a method's parameters after the session (`i` integer, `s` string, `b`
boolean, `a` array; lower case is required, upper case optional; `F` is the flag of an info method,
which 6.x does not look at) and the function that implements it.
"""

from __future__ import annotations

import xmlrpc.client
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from provision_engine.sandbox import oned_objects, oned_resources, oned_users, oned_vms
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
from provision_engine.sandbox.rpc import Long, Parameter
from provision_engine.sandbox.store import Document, Image, Network, Vm, VmGroup, VmTemplate
from provision_engine.sandbox.world import World

INCOMPLETE, WRONG_TYPE, NO_MEMBER, NOT_A_CALL, NOT_DEFINED, RECURSIVE = (
    -500, -501, -502, -503, -506, -507,
)  # fmt: skip
MULTICALL = "system.multicall"


class Method(NamedTuple):
    """A row of the table."""

    signature: str
    function: Callable[[Call], Value]


_TYPES: dict[str, type] = {"i": int, "s": str, "b": bool, "a": list}
_TYPE_NAMES = {"i": "integer", "s": "a string", "b": "boolean", "a": "an array"}
_MULTICALL_TAKES = (
    "system.multicall takes one parameter, which is an array, each element describing one RPC."
)
_MULTICALL_SHOULD = (
    "system.multicall's parameter should be an array, each element describing one RPC."
)
_RPC_TYPES: dict[type, tuple[int, str]] = {
    bool: (1, "BOOL"),
    int: (0, "INT"),
    float: (2, "DOUBLE"),
    xmlrpc.client.DateTime: (3, "DATETIME"),
    str: (4, "STRING"),
    xmlrpc.client.Binary: (5, "BASE64"),
    list: (6, "ARRAY"),
    dict: (7, "STRUCT"),
    type(None): (9, "NIL"),
}
_NO_SESSION = (
    "Unexpected error executing code for particular method, detected by Xmlrpc-c method registry"
    " code.  Method did not fail; rather, it did not complete at all.  Subscript of"
    " xmlrpc_c::paramList out of bounds"
)


def call(world: World, method: str, parameters: list[Parameter]) -> list[Value | bool]:
    """The response array of a call. RpcFault if the call itself is malformed."""
    row = METHODS.get(method)
    if row is None:
        raise RpcFault(NOT_DEFINED, f"Method '{method}' not defined")
    release = world.store.release
    session = _session(parameters, release.takes_any_session)
    try:
        user = world.store.authenticate(session)
        request_id = world.store.begin_request()
        arguments = _arguments(parameters, row.signature, release.checks_info_flags)
        made = Call(world, user, request_id, arguments)
        if method in RIGHTS_FIRST and made.integer(0) < 0:
            made.authorization().needs_admin(RIGHTS_FIRST[method]).check()
        return [True, row.function(made), 0]
    except OneError as error:
        return [False, f"[{method}] {error.message}", error.code, error.object_id, Long(-1)]


def _session(parameters: list[Parameter], takes_any: bool) -> str:
    if not takes_any:
        return str(_checked(parameters, 0, "s"))
    if not parameters:
        raise RpcFault(INCOMPLETE, _NO_SESSION)
    return parameters[0] if isinstance(parameters[0], str) else ""


def _arguments(
    parameters: list[Parameter], signature: str, checks_info_flags: bool
) -> list[Parameter]:
    arguments: list[Parameter] = []
    for position, letter in enumerate(signature, start=1):
        is_ignored = letter == "F" and not checks_info_flags
        if is_ignored or (letter.isupper() and position >= len(parameters)):
            break
        kind = "b" if letter == "F" else letter.lower()
        arguments.append(_checked(parameters, position, kind))
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


def parts(parameters: list[Parameter]) -> Iterator[tuple[str, list[Parameter]]]:
    """The methods and parameters of a multicall, one after the other.

    RpcFault where it is malformed: the calls before that place have been done by then.
    """
    if len(parameters) != 1:
        raise RpcFault(NOT_A_CALL, f"{_MULTICALL_TAKES}  You supplied {len(parameters)} arguments")
    (calls,) = parameters
    if not isinstance(calls, list):
        number, _ = _type_of(calls)
        raise RpcFault(WRONG_TYPE, f"{_MULTICALL_SHOULD}  But it is type {number} instead.")
    for call in calls:
        if not isinstance(call, dict):
            text = f"An element of the multicall array is type {_type_of(call)[0]}, but should be a"
            raise RpcFault(WRONG_TYPE, f"{text} struct (with members 'methodName' and 'params')")
        for key in ("methodName", "params"):
            if key not in call:
                raise RpcFault(NO_MEMBER, f"No member of struct has key '{key}'")
        yield _part(call["methodName"], call["params"])


def _part(method: Any, arguments: Any) -> tuple[str, list[Parameter]]:
    if not isinstance(method, str):
        text = f"Value of type {_type_of(method)[1]} supplied where string type was expected."
        raise RpcFault(WRONG_TYPE, text)
    if not isinstance(arguments, list):
        text = f"Value to be decomposed is of type {_type_of(arguments)[1]}, but the 'A' specifier"
        raise RpcFault(WRONG_TYPE, f"{text} requires type ARRAY")
    if method == MULTICALL:
        raise RpcFault(RECURSIVE, "Recursive system.multicall forbidden")
    return method, arguments


def _type_of(value: object) -> tuple[int, str]:
    """The number and name of a value's type in oned's XML-RPC library."""
    return next(kind for python, kind in _RPC_TYPES.items() if isinstance(value, python))


def _system_version(call: Call) -> Value:
    return call.world.store.release.version


RIGHTS_FIRST = {
    f"one.{kind}.{method}": f"{right} {kind.upper()}"
    for kind, method, right in (
        ("document", "info", "USE"), ("vm", "info", "USE"),
        *[(kind, "update", "MANAGE") for kind in ("document", "template", "vm", "user")],
        *[(kind, "lock", "MANAGE") for kind in ("document", "template", "vm")],
        *[(kind, "unlock", "MANAGE") for kind in ("document", "template", "vm")],
        *[("vm", name, "MANAGE") for name in ("schedadd", "schedupdate", "scheddelete")],
    )
}  # fmt: skip
"""Methods that check a right before they look for the object, which shows with ids below zero."""

METHODS: dict[str, Method] = {
    "one.system.version": Method("", _system_version),
    "one.user.allocate": Method("sssA", oned_users.user_allocate),
    "one.user.delete": Method("i", oned_users.user_delete),
    "one.user.info": Method("iF", oned_users.user_info),
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
    "one.group.info": Method("iF", oned_users.group_info),
    "one.group.delete": Method("i", oned_users.group_delete),
    "one.grouppool.info": Method("", oned_users.grouppool_info),
    "one.acl.addrule": Method("sssS", oned_users.acl_addrule),
    "one.acl.delrule": Method("i", oned_users.acl_delrule),
    "one.document.allocate": Method("si", oned_objects.document_allocate),
    "one.document.info": Method("iF", oned_objects.document_info),
    "one.document.update": Method("isi", oned_objects.document_update),
    "one.document.delete": Method("i", oned_objects.document_delete),
    "one.document.clone": Method("isB", oned_objects.document_clone),
    "one.document.rename": Method("is", rename(Document)),
    "one.document.chmod": Method("iiiiiiiiii", chmod(Document)),
    "one.document.chown": Method("iii", chown(Document)),
    "one.document.lock": Method("iiB", lock(Document)),
    "one.document.unlock": Method("i", unlock(Document)),
    "one.documentpool.info": Method("iiii", oned_objects.documentpool_info),
    "one.vn.allocate": Method("si", oned_resources.network_allocate),
    "one.vn.delete": Method("i", oned_resources.delete(Network)),
    "one.vn.chmod": Method("iiiiiiiiii", chmod(Network)),
    "one.image.allocate": Method("siB", oned_resources.image_allocate),
    "one.image.delete": Method("i", oned_resources.delete(Image)),
    "one.image.chmod": Method("iiiiiiiiii", chmod(Image)),
    "one.vmgroup.allocate": Method("s", oned_resources.vm_group_allocate),
    "one.vmgroup.delete": Method("i", oned_resources.delete(VmGroup)),
    "one.vmgroup.chmod": Method("iiiiiiiiii", chmod(VmGroup)),
    "one.template.allocate": Method("s", oned_objects.template_allocate),
    "one.template.info": Method("iBF", oned_objects.template_info),
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
    "one.vm.info": Method("iF", oned_vms.info),
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
