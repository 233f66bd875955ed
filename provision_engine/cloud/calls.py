"""The calls of oned that the engine makes: method, parameters, and how the response is read."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, ParamSpec, TypeVar

from lxml import etree

from provision_engine.cloud.enums import VmState
from provision_engine.cloud.errors import locked_since
from provision_engine.cloud.objects import (
    Document,
    Quota,
    User,
    Vm,
    VmTemplate,
    VmTimes,
    children,
    number,
    parse,
)
from provision_engine.errors import ActionRefused, BadGateway, EngineError, Forbidden, NotFound

NOT_DONE = -1
"""State filter of VM pools: every state but DONE."""
USABLE_BY_ME = -2
"""Pool filter: everything that the user may use, whoever owns it."""
ONEADMIN = 0
"""Pool filter: what belongs to OpenNebula's first user."""
MINE = -3
"""Pool filter: what belongs to the user."""
ALL = -1
"""Neither end of a range of ids."""
REPLACE, APPEND = 0, 1
LOCK_LEVEL_ADMIN = 3
"""The only level at which the owner can still update the document that he has locked."""

P = ParamSpec("P")
T = TypeVar("T")


def _raise(error: EngineError) -> Any:
    raise error


@dataclass(frozen=True)
class Call(Generic[T]):
    """One call of oned."""

    method: str
    """As OpenNebula names it, without its prefix."""
    params: tuple[Any, ...]
    """Without the session."""
    read: Callable[[Any], T]
    """Reads the value of a response. Raises BadGateway."""
    is_repeatable: bool = True
    """Whether it may be sent once more when the connection breaks."""
    instead: Callable[[EngineError], T] = _raise
    """Returns what an error stands for, or raises it."""
    name: str = ""
    arguments: tuple[Any, ...] = ()
    """Name and arguments in logs and metrics."""


def _named(describe: Callable[P, Call[T]]) -> Callable[P, Call[T]]:
    """Let calls carry the name of their function, for logs and metrics."""

    @functools.wraps(describe)
    def named(*args: P.args, **kwargs: P.kwargs) -> Call[T]:
        return replace(describe(*args, **kwargs), name=describe.__name__, arguments=args)

    return named


def _read(to_object: Callable[[etree._Element], T], method: str, *params: Any) -> Call[T]:
    """Describe a call that returns XML."""

    def read(value: Any) -> T:
        if not isinstance(value, str):
            raise BadGateway(f"oned: {method} did not return XML")
        return to_object(parse(value))

    return Call(method, params, read)


def _write(method: str, *params: Any, is_repeatable: bool = False) -> Call[int]:
    """Describe a call that returns a number: an id, as a rule."""

    def read(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise BadGateway(f"oned: {method} did not return a number")
        return value

    return Call(method, params, read, is_repeatable)


# ---- the installation and its users -------------------------------------------------------------


@_named
def version() -> Call[str]:
    """Return OpenNebula's version, for example ``7.4.0``. Raises Unauthorized."""

    def read(value: Any) -> str:
        if not isinstance(value, str):
            raise BadGateway("oned: system.version did not return text")
        return value

    return Call("system.version", (), read)


@_named
def quota() -> Call[Quota]:
    """Return the caller's own quota."""
    return _read(Quota.from_xml, "user.info", -1, False)


@_named
def user() -> Call[User]:
    """Return the caller. Raises Unauthorized."""
    return _read(User.from_xml, "user.info", -1, False)


@_named
def user_ids() -> Call[list[int]]:
    """Return the ids of all users. Raises Forbidden unless an administrator asks."""
    return _read(
        lambda pool: [number(user, "ID") for user in children(pool, "USER")], "userpool.info"
    )


@_named
def group_size() -> Call[int]:
    """Return how many users have the caller's primary group, or are in it as well."""
    return _read(lambda group: len(group.findall("USERS/ID")), "group.info", -1, False)


# ---- documents ----------------------------------------------------------------------------------


@_named
def document(document_id: int) -> Call[Document]:
    """Return a document. Raises NotFound, Forbidden."""
    return _read(Document.from_xml, "document.info", document_id, False)


@_named
def document_pool(document_type: int, whose: int, first: int, last: int) -> Call[list[Document]]:
    """Return documents: those of a range of ids, or a page (an offset, and a size below 0)."""

    def read(pool: etree._Element) -> list[Document]:
        return [Document.from_xml(element) for element in children(pool, "DOCUMENT")]

    return _read(read, "documentpool.info", whose, first, last, int(document_type))


@_named
def allocate_document(template: str, document_type: int) -> Call[int]:
    """Create a document. Returns its id."""
    return _write("document.allocate", template, int(document_type))


@_named
def update_document(document_id: int, template: str) -> Call[int]:
    """Replace the whole template, so that a repetition does no harm."""
    return _write("document.update", document_id, template, REPLACE, is_repeatable=True)


@_named
def rename_document(document_id: int, name: str) -> Call[int]:
    """Give a document another name."""
    return _write("document.rename", document_id, name, is_repeatable=True)


@_named
def delete_document(document_id: int) -> Call[int]:
    """Delete a document. Raises NotFound."""
    return _write("document.delete", document_id)


@_named
def chown_document(document_id: int, user_id: int) -> Call[int]:
    """Give a document to another user. Raises Forbidden unless an administrator asks."""
    return _write("document.chown", document_id, user_id, -1, is_repeatable=True)


@_named
def lock_document(document_id: int) -> Call[int | None]:
    """Lock a document. Returns None, or since when another request has locked it (Unix time)."""

    def since(error: EngineError) -> int:
        return locked_since(error) if isinstance(error, ActionRefused) else _raise(error)

    locking = _write("document.lock", document_id, LOCK_LEVEL_ADMIN, True)
    return Call(locking.method, locking.params, lambda _: None, False, since)


@_named
def unlock_document(document_id: int) -> Call[int]:
    """Give a document's lock back."""
    return _write("document.unlock", document_id, is_repeatable=True)


# ---- VMs ----------------------------------------------------------------------------------------


@_named
def vm_template(template_id: int) -> Call[VmTemplate]:
    """Return a VM template. Raises NotFound, Forbidden."""
    return _read(VmTemplate.from_xml, "template.info", template_id, False, False)


@_named
def vm(vm_id: int) -> Call[Vm]:
    """Return a VM with its scheduled actions. Raises NotFound, Forbidden."""
    return _read(Vm.from_xml, "vm.info", vm_id, False)


@_named
def vms(vm_ids: Sequence[int], with_actions: bool = True) -> Call[dict[int, Vm]]:
    """Return those of the VMs that are not DONE and that the caller may see, by id.

    A single VM comes with its scheduled actions, unless they are not needed: oned takes 0.7 ms
    longer for them. Of several VMs a pool does not show them.
    """
    if len(vm_ids) == 1 and with_actions:
        return replace(_read(_if_alive, "vm.info", vm_ids[0], False), instead=_none_if_hidden)
    return _read(_vms_by_id, "vmpool.infoset", ",".join(map(str, vm_ids)), True)


@_named
def vms_of_user(whose: int) -> Call[list[Vm]]:
    """Return the VMs of a user that are not DONE."""
    params = (whose, ALL, ALL, NOT_DONE, "")
    return _read(lambda pool: [*_vms_by_id(pool).values()], "vmpool.infoextended", *params)


@_named
def owners_of_vms() -> Call[set[int]]:
    """Return the users who own a VM that is not DONE, as far as the caller may see it."""
    params = (USABLE_BY_ME, ALL, ALL, NOT_DONE)
    return _read(
        lambda pool: {number(vm, "UID") for vm in children(pool, "VM")}, "vmpool.info", *params
    )


@_named
def vm_times(vm_id: int) -> Call[VmTimes]:
    """Return when a VM came how far, from its history. Raises NotFound, Forbidden."""
    return _read(VmTimes.from_xml, "vm.info", vm_id, False)


@_named
def act_on_vm(vm_id: int, action: str) -> Call[int]:
    """Do one of OpenNebula's actions, such as ``terminate-hard``, ``suspend`` or ``resume``.

    Raises ActionRefused where the state of the VM does not allow it, NotFound, Forbidden.
    """
    return _write("vm.action", action, vm_id)


@_named
def resize_vm(vm_id: int, template: str) -> Call[int]:
    """Resize a VM; host capacity and quota are enforced. Raises CapacityRefused, Locked."""
    return _write("vm.resize", vm_id, template, True)


@_named
def resize_disk(vm_id: int, disk_id: int, size_mb: int) -> Call[int]:
    """Grow a disk. Raises CapacityRefused where it would shrink, Locked."""
    return _write("vm.diskresize", vm_id, disk_id, str(size_mb))


@_named
def update_vm(vm_id: int, template: str) -> Call[int]:
    """Append to the user template: attributes of the same name are replaced."""
    return _write("vm.update", vm_id, template, APPEND, is_repeatable=True)


@_named
def add_scheduled_action(vm_id: int, template: str) -> Call[int]:
    """Add a scheduled action. Returns its id."""
    return _write("vm.schedadd", vm_id, template)


@_named
def update_scheduled_action(vm_id: int, action_id: int, template: str) -> Call[int]:
    """Replace a scheduled action."""
    return _write("vm.schedupdate", vm_id, action_id, template, is_repeatable=True)


@_named
def delete_scheduled_action(vm_id: int, action_id: int) -> Call[int]:
    """Delete a scheduled action. Raises NotFound where there is no such action."""
    return _write("vm.scheddelete", vm_id, action_id)


def _vms_by_id(pool: etree._Element) -> dict[int, Vm]:
    return {vm.id: vm for vm in map(Vm.from_xml, children(pool, "VM"))}


def _if_alive(element: etree._Element) -> dict[int, Vm]:
    """Read a single VM as a pool would show it, which leaves out those that are DONE."""
    vm = Vm.from_xml(element)
    return {} if vm.state == VmState.DONE else {vm.id: vm}


def _none_if_hidden(error: EngineError) -> dict[int, Vm]:
    return {} if isinstance(error, NotFound | Forbidden) else _raise(error)
