"""oned: a table of its calls that the engine makes, and who makes them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, ParamSpec, Self, TypeVar, overload

import pyone
from lxml import etree

from provision_engine.cloud.call_log import record
from provision_engine.cloud.enums import DocumentType, VmState
from provision_engine.cloud.errors import from_oned, locked_since
from provision_engine.cloud.objects import (
    Document,
    Quota,
    User,
    Vm,
    VmTemplate,
    VmTimes,
    number,
    parse,
    text,
)
from provision_engine.cloud.transport import Backend
from provision_engine.cloud.xml_rpc import XmlRpc
from provision_engine.deadline import Deadline
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
TEXT, XML, NUMBER = (str, "text"), (str, "XML"), (int, "a number")
"""What calls return."""
LOCK_LEVEL_ADMIN = 3
"""The only level at which the owner can still update the document that he has locked."""

P = ParamSpec("P")
T = TypeVar("T")


def _raise(error: EngineError) -> Any:
    raise error


# ---- calls, and what becomes of them ------------------------------------------------------------


@dataclass(frozen=True)
class Call(Generic[T]):
    """One call of oned."""

    method: Method[..., T]
    arguments: tuple[Any, ...]


@dataclass(frozen=True)
class Outcome(Generic[T]):
    """What became of one call."""

    result: T | None = None
    error: EngineError | None = None

    def get(self) -> T:
        """Return the result, or raise the call's error."""
        if self.error is not None:
            raise self.error
        return self.result  # type: ignore[return-value]


class Method(Generic[P, T]):
    """A row of the table of calls, which is a method of Oned; ``call`` only describes its call."""

    def __init__(
        self,
        one_name: str,
        read: Callable[[Any], T],
        *constants: Any,
        returns: tuple[type, str] = NUMBER,
        is_repeatable: bool = False,
        arrange: Callable[..., tuple[Any, ...]] = lambda *args: args,
        instead: Callable[[EngineError], T] = _raise,
    ) -> None:
        """``one_name`` is OpenNebula's without its prefix; its parameters are the ``arrange``d
        arguments and the ``constants``. ``read`` reads the value of a response, which is of the
        type in ``returns``; ``instead`` returns what an error stands for.
        """
        self.one_name, self.is_repeatable, self._returns = one_name, is_repeatable, returns
        self._arrange, self._constants = arrange, constants
        self._read, self._instead = read, instead

    def __set_name__(self, _owner: type, name: str) -> None:
        self.name = name

    def call(self, *args: P.args, **kwargs: P.kwargs) -> Call[T]:
        """Return the call with these arguments."""
        return Call(self, args)

    def params(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """Return OpenNebula's parameters, without the session."""
        return (*self._arrange(*args), *self._constants)

    def outcome(self, value: Any) -> Outcome[T]:
        """Return what became of a call, from its value or the error that it stands for."""
        kind, kind_name = self._returns
        try:
            if isinstance(value, pyone.OneException):
                return Outcome(self._instead(from_oned(value)))
            if isinstance(value, EngineError):
                raise value
            if type(value) is not kind:  # a bool is an int
                raise BadGateway(f"oned: {self.one_name} did not return {kind_name}")
            return Outcome(self._read(value))
        except EngineError as error:
            return Outcome(error=error)

    @overload
    def __get__(self, oned: None, _owner: type) -> Self: ...
    @overload
    def __get__(self, oned: Oned, _owner: type) -> Callable[P, T]: ...
    def __get__(self, oned: Oned | None, _owner: type) -> Any:
        return self if oned is None else lambda *args: oned.together(Call(self, args))[0].get()


class Reading(Method[P, T]):
    """A call that returns XML."""

    def __init__(
        self,
        one_name: str,
        to_object: Callable[[etree._Element], T],
        *constants: Any,
        **options: Any,
    ) -> None:
        options |= {"returns": XML, "is_repeatable": True}
        super().__init__(one_name, lambda xml: to_object(parse(xml)), *constants, **options)


class Writing(Method[P, int]):
    """A call that changes something, and returns an id as a rule."""

    def __init__(self, one_name: str, *constants: Any, **options: Any) -> None:
        super().__init__(one_name, int, *constants, **options)


# ---- how responses are read ----------------------------------------------------------------


def _each(tag: str, to_object: Callable[[etree._Element], T]) -> Callable[[Any], list[T]]:
    return lambda pool: [to_object(element) for element in pool.iterfind(tag)]


def _id_and_name(element: etree._Element) -> tuple[int, str]:
    return number(element, "ID"), text(element, "NAME")


def _alive_by_id(element: etree._Element) -> dict[int, Vm]:
    """Read a single VM, or the VMs of a pool. Only a single one may be DONE."""
    found = map(Vm.from_xml, [element] if element.tag == "VM" else element.iterfind("VM"))
    return {vm.id: vm for vm in found if vm.state != VmState.DONE}


def _none_if_hidden(error: EngineError) -> dict[int, Vm]:
    return {} if isinstance(error, NotFound | Forbidden) else _raise(error)


def _locked_since(error: EngineError) -> int | None:
    return locked_since(error) if isinstance(error, ActionRefused) else _raise(error)


class Oned:
    """oned for one caller and one request. Its methods raise what the backend raises as well."""

    version = Method[[], str]("system.version", str, returns=TEXT, is_repeatable=True)
    """Return OpenNebula's version, for example ``7.4.0``. Raises Unauthorized."""
    quota = Reading[[], Quota]("user.info", Quota.from_xml, -1, False)
    """Return the caller's own quota."""
    user = Reading[[], User]("user.info", User.from_xml, -1, False)
    """Return the caller. Raises Unauthorized."""
    user_ids = Reading[[], list[int]]("userpool.info", _each("USER", lambda u: number(u, "ID")))
    """Return the ids of all users. Raises Forbidden unless an administrator asks."""
    user_names = Reading[[], dict[int, str]](
        "userpool.info", lambda pool: dict(_each("USER", _id_and_name)(pool))
    )
    """Return the names of all users by id. Raises Forbidden unless an administrator asks."""
    group_size = Reading[[], int](
        "group.info", lambda group: len(group.findall("USERS/ID")), -1, False
    )
    """Return how many users have the caller's primary group, or are in it as well."""

    document = Reading[[int], Document]("document.info", Document.from_xml, False)
    """Return a document. Raises NotFound, Forbidden."""
    _document_pool = Reading[[int, int, int, int], list[Document]](
        "documentpool.info", _each("DOCUMENT", Document.from_xml)
    )
    """Return documents of a range of ids, or of a page: an offset, and a size below 0."""
    allocate_document = Writing[[str, int]]("document.allocate")
    """Create a document. Returns its id."""
    update_document = Writing[[int, str]]("document.update", REPLACE, is_repeatable=True)
    """Replace the whole template of a document, so that a repetition does no harm."""
    rename_document = Writing[[int, str]]("document.rename", is_repeatable=True)
    """Give a document another name."""
    delete_document = Writing[[int]]("document.delete")
    """Delete a document. Raises NotFound."""
    chown_document = Writing[[int, int]]("document.chown", -1, is_repeatable=True)
    """Give a document to another user. Raises Forbidden unless an administrator asks."""
    lock_document = Method[[int], int | None](
        "document.lock", lambda _: None, LOCK_LEVEL_ADMIN, True, instead=_locked_since
    )
    """Lock a document. Returns None, or since when another request has locked it (Unix time)."""
    unlock_document = Writing[[int]]("document.unlock", is_repeatable=True)
    """Give a document's lock back."""

    vm_template = Reading[[int], VmTemplate]("template.info", VmTemplate.from_xml, False, False)
    """Return a VM template. Raises NotFound, Forbidden."""
    vm = Reading[[int], Vm]("vm.info", Vm.from_xml, False)
    """Return a VM with its scheduled actions. Raises NotFound, Forbidden."""
    vm_times = Reading[[int], VmTimes]("vm.info", VmTimes.from_xml, False)
    """Return when a VM came how far, from its history. Raises NotFound, Forbidden."""
    _only_vm = Reading[[int], dict[int, Vm]](
        "vm.info", _alive_by_id, False, instead=_none_if_hidden
    )
    _several_vms = Reading[[Sequence[int]], dict[int, Vm]](
        "vmpool.infoset", _alive_by_id, True, arrange=lambda ids: (",".join(map(str, ids)),)
    )
    vms_of_user = Reading[[int], list[Vm]](
        "vmpool.infoextended", _each("VM", Vm.from_xml), ALL, ALL, NOT_DONE, ""
    )
    """Return the VMs of a user that are not DONE."""
    owners_of_vms = Reading[[], list[int]](
        "vmpool.info", _each("VM", lambda vm: number(vm, "UID")), USABLE_BY_ME, ALL, ALL, NOT_DONE
    )
    """Return who owns the VMs that are not DONE, as far as the caller may see them."""
    act_on_vm = Writing[[int, str]]("vm.action", arrange=lambda id_, action: (action, id_))
    """Do one of OpenNebula's actions, such as ``terminate-hard``, ``suspend`` or ``resume``.
    Raises ActionRefused where the state of the VM does not allow it, NotFound, Forbidden.
    """
    resize_vm = Writing[[int, str]]("vm.resize", True)
    """Resize a VM; host capacity and quota are enforced. Raises CapacityRefused, Locked."""
    resize_disk = Writing[[int, int, int]](
        "vm.diskresize", arrange=lambda id_, disk_id, size_mb: (id_, disk_id, str(size_mb))
    )
    """Grow a disk. Raises CapacityRefused where it would shrink, Locked."""
    update_vm = Writing[[int, str]]("vm.update", APPEND, is_repeatable=True)
    """Append to a user template: attributes of the same name are replaced."""
    add_scheduled_action = Writing[[int, str]]("vm.schedadd")
    """Add a scheduled action. Returns its id."""
    update_scheduled_action = Writing[[int, int, str]]("vm.schedupdate", is_repeatable=True)
    """Replace a scheduled action."""
    delete_scheduled_action = Writing[[int, int]]("vm.scheddelete")
    """Delete a scheduled action. Raises NotFound where there is no such action."""

    def __init__(self, backend: Backend, session: str, deadline: Deadline) -> None:
        self._xml_rpc = XmlRpc(backend, session, deadline)

    def together(self, *several: Call[Any]) -> list[Outcome[Any]]:
        """Make calls in one request, in their order; the failure of one does not stop the next.

        Returns their outcomes. The request is sent once more only if all calls are repeatable.
        """
        started_at = time.perf_counter()
        requests = [(call.method.one_name, call.method.params(call.arguments)) for call in several]
        is_repeatable = all(call.method.is_repeatable for call in several)
        try:
            values = self._xml_rpc.send(requests, is_repeatable=is_repeatable)
        except EngineError as error:
            values = [error] * len(several)
        outcomes = [call.method.outcome(value) for call, value in zip(several, values, strict=True)]
        for call, outcome in zip(several, outcomes, strict=True):
            record("oned", call.method.name, call.arguments, started_at, outcome.error)
        return outcomes

    @classmethod
    def vms_call(cls, ids: Sequence[int], *, with_actions: bool = True) -> Call[dict[int, Vm]]:
        """Return the call for those of the VMs that are not DONE and that the caller may see.

        A single VM comes with its scheduled actions, unless they are not needed: oned takes 0.7 ms
        longer for them. Of several VMs a pool does not show them.
        """
        if len(ids) == 1 and with_actions:
            return cls._only_vm.call(ids[0])
        return cls._several_vms.call(ids)

    def vms(self, ids: Sequence[int]) -> dict[int, Vm]:
        """Return those of the VMs that are not DONE and that the caller may see, by id."""
        return self.together(self.vms_call(ids))[0].get() if ids else {}

    def documents(
        self,
        document_type: int,
        whose: int = USABLE_BY_ME,
        *,
        first_id: int = ALL,
        last_id: int = ALL,
    ) -> list[Document]:
        """Return the documents of a type, or those of them in a range of ids, ends included.

        ``whose`` is one of the pool filters, or the id of a user: then what other users publish
        costs nothing.
        """
        # Without an end, a start is needed to be a range at all.
        is_range = (first_id, last_id) != (ALL, ALL)
        start = max(first_id, 0) if is_range else ALL
        if last_id != ALL and last_id < start:
            return []
        return self._document_pool(whose, start, last_id, int(document_type))

    def newest_documents(
        self, document_type: int, count: int, whose: int = USABLE_BY_ME, *, offset: int = 0
    ) -> list[Document]:
        """Return so many of the newest documents of a type from an offset on, the newest first.

        Where oned lists the oldest first (API_LIST_ORDER), the whole pool is read for it.
        """
        page = self._page(document_type, whose, offset, count)
        # A single document does not tell the order; the first two do.
        is_unsure = len(page) == 1 and offset > 0
        if _is_ascending(self._page(document_type, whose, 0, 2) if is_unsure else page):
            pool = self.documents(document_type, whose)
            page = sorted(pool, key=lambda document: document.id, reverse=True)[offset:]
        return page[:count]

    def lists_oldest_first(self) -> bool:
        """Return API_LIST_ORDER of oned.conf, as far as oneadmin's flow templates show it."""
        return _is_ascending(self._page(DocumentType.FLOW_TEMPLATE, ONEADMIN, 0, 2))

    def _page(self, document_type: int, whose: int, offset: int, count: int) -> list[Document]:
        # A page of one would be taken for "all": two is the least that a page may hold.
        return self._document_pool(whose, offset, -max(count, 2), int(document_type))


def _is_ascending(documents: Sequence[Document]) -> bool:
    return len(documents) > 1 and documents[0].id < documents[-1].id
