"""oned, over XML-RPC, with pyone. Methods are named as OpenNebula names its own."""

from __future__ import annotations

import functools
import time
import xmlrpc.client
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import takewhile
from typing import Any

import pyone
from lxml import etree
from pyone.server_xrpc import OneServerXRPC

from provision_engine.cloud.enums import DocumentType, VmState
from provision_engine.cloud.errors import from_oned, locked_since
from provision_engine.cloud.http import Exchange, HttpBackend, HttpRequest, HttpResponse
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
from provision_engine.deadline import Deadline
from provision_engine.errors import (
    ActionRefused,
    BackendUnreachable,
    BadGateway,
    Forbidden,
    NotFound,
)

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

Call = tuple[Any, ...]
"""The name of a method, and its parameters without the session."""

_HEADERS = {"Content-Type": "text/xml", "Accept-Encoding": "identity"}
_ANY_URL = "http://oned/RPC2"
"""ServerProxy parses a URL; the transport has the real one."""


class _Xml:
    """A text in a response; pyone binds strings to its own slow objects, and leaves this alone."""

    def __init__(self, source: str) -> None:
        self.source = source


class _Transport(xmlrpc.client.Transport):
    """Sends calls over the backend's connections, and parses responses with lxml."""

    def __init__(self, backend: HttpBackend, deadline: Deadline) -> None:
        super().__init__()
        self._backend, self._deadline = backend, deadline
        self._begun: dict[bytes, Exchange] = {}
        self.repeatable = False

    def request(self, _host: Any, _handler: str, request_body: Any, verbose: bool = False) -> Any:
        sent_at = time.time()
        response = self._begun_response(request_body) or self._sent(request_body)
        self._backend.clock.observe(response.date, sent_at, time.time())
        if response.status_code != 200:
            raise BadGateway(f"oned answered HTTP {response.status_code}")
        return (_result(response.content),)

    def begin(self, request_body: bytes) -> bool:
        """Send a repeatable call, which a later ``request`` completes; False where it cannot be."""
        request = HttpRequest("POST", "", request_body, _HEADERS, is_repeatable=True)
        exchange = self._backend.begin(request, self._deadline)
        if exchange is not None:
            self._begun[request_body] = exchange
        return exchange is not None

    def close_begun(self) -> None:
        """Give up the calls that have been begun and not been completed."""
        while self._begun:
            self._begun.popitem()[1].close()

    def _begun_response(self, request_body: bytes) -> HttpResponse | None:
        exchange = self._begun.pop(request_body, None)
        if exchange is None:
            # Whoever waits for a connection must not occupy another one.
            self.close_begun()
            return None
        try:
            return exchange.response()
        except BackendUnreachable:
            return None

    def _sent(self, request_body: bytes) -> HttpResponse:
        request = HttpRequest("POST", "", request_body, _HEADERS, self.repeatable)
        return self._backend.send(request, self._deadline)


class _Server(OneServerXRPC):  # type: ignore[misc]
    """pyone's server with our transport; it adds the session and raises for refusals."""

    def __init__(self, session: str, transport: _Transport) -> None:
        super().__init__(_ANY_URL, session)
        # pyone accepts no transport; the ServerProxy below it does.
        xmlrpc.client.ServerProxy.__init__(self, _ANY_URL, transport=transport)


class Oned:
    """oned for one caller and one request."""

    def __init__(self, backend: HttpBackend, session: str, deadline: Deadline) -> None:
        self._session = session
        self._transport = _Transport(backend, deadline)
        self._server = _Server(session, self._transport)

    @contextmanager
    def sending_ahead(self, calls: Sequence[Call]) -> Iterator[int]:
        """Send the requests of these calls at once, as far as connections are free: the first N.

        Within it their methods only wait for the responses. The others, and all of them where
        another method is called first, send their requests as usual.
        """
        try:
            yield self._begin_all(calls)
        finally:
            self._transport.close_begun()

    def version(self) -> str:
        """Of OpenNebula, for example ``7.4.0``. Raises Unauthorized."""
        return self._text("system.version")

    def quota(self) -> Quota:
        """The caller's own."""
        return Quota.from_xml(self._xml("user.info", -1, False))

    def user(self) -> User:
        """Return the caller. Raises Unauthorized."""
        return User.from_xml(self._xml("user.info", -1, False))

    def user_ids(self) -> list[int]:
        """Return the ids of all users. Raises Forbidden unless an administrator asks."""
        pool = self._xml("userpool.info")
        return [number(user, "ID") for user in children(pool, "USER")]

    def group_size(self) -> int:
        """Return how many users have the caller's primary group, or are in it as well."""
        return len(self._xml("group.info", -1, False).findall("USERS/ID"))

    def document(self, document_id: int) -> Document:
        """Raises NotFound, Forbidden."""
        return Document.from_xml(self._xml(*document_call(document_id)))

    def documents(
        self,
        document_type: int,
        whose: int = USABLE_BY_ME,
        *,
        first_id: int = ALL,
        last_id: int = ALL,
    ) -> list[Document]:
        """The documents of a type, or those of them in a range of ids (both ends included).

        ``whose`` is one of the filters above, or the id of a user: then what other users publish
        costs nothing.
        """
        # Without an end, a start is needed to be a range at all.
        is_range = (first_id, last_id) != (ALL, ALL)
        start = max(first_id, 0) if is_range else ALL
        if last_id != ALL and last_id < start:
            return []
        return self._pool(*documents_call(document_type, whose, start, last_id))

    def newest_documents(
        self, document_type: int, count: int, whose: int = USABLE_BY_ME, *, offset: int = 0
    ) -> list[Document]:
        """So many of the newest documents of a type from an offset on, the newest first.

        Where oned lists the oldest first (API_LIST_ORDER), the whole pool is read for it.
        """
        page = self._page(document_type, whose, offset, count)
        # A single document does not tell the order; the first two do.
        is_unsure = len(page) == 1 and offset > 0
        if _is_ascending(self._page(document_type, whose, 0, 2) if is_unsure else page):
            page = sorted(self.documents(document_type, whose), key=_id, reverse=True)[offset:]
        return page[:count]

    def lists_oldest_first(self) -> bool:
        """API_LIST_ORDER in oned.conf, as far as two flow templates of oneadmin show it."""
        return _is_ascending(self._page(DocumentType.FLOW_TEMPLATE, ONEADMIN, 0, 2))

    def _page(self, document_type: int, whose: int, offset: int, count: int) -> list[Document]:
        # A page of one would be taken for "all": two is the least that a page may hold.
        return self._pool("documentpool.info", whose, offset, -max(count, 2), document_type)

    def _pool(self, method: str, *params: Any) -> list[Document]:
        pool = self._xml(method, *params)
        return [Document.from_xml(element) for element in children(pool, "DOCUMENT")]

    def allocate_document(self, template: str, document_type: int) -> int:
        return self._number("document.allocate", template, document_type)

    def update_document(self, document_id: int, template: str) -> None:
        """Replaces the whole template, so that a repetition does no harm."""
        self._number("document.update", document_id, template, REPLACE, repeatable=True)

    def rename_document(self, document_id: int, name: str) -> None:
        self._number("document.rename", document_id, name, repeatable=True)

    def delete_document(self, document_id: int) -> None:
        self._number("document.delete", document_id)

    def chown_document(self, document_id: int, user_id: int) -> None:
        """Give a document to another user. Raises Forbidden unless an administrator asks."""
        self._number("document.chown", document_id, user_id, -1, repeatable=True)

    def lock_document(self, document_id: int) -> int | None:
        """Lock a document; None when that is done, else since when it is locked (Unix time)."""
        try:
            self._number("document.lock", document_id, LOCK_LEVEL_ADMIN, True)
        except ActionRefused as refusal:
            return locked_since(refusal)
        return None

    def unlock_document(self, document_id: int) -> None:
        self._number("document.unlock", document_id, repeatable=True)

    def vm_template(self, template_id: int) -> VmTemplate:
        """Raises NotFound, Forbidden."""
        return VmTemplate.from_xml(self._xml("template.info", template_id, False, False))

    def vm(self, vm_id: int) -> Vm:
        """A VM with what OpenNebula is going to do to it. Raises NotFound, Forbidden."""
        return Vm.from_xml(self._xml("vm.info", vm_id, False))

    def vms(self, vm_ids: Sequence[int], *, with_actions: bool = True) -> dict[int, Vm]:
        """Those of the VMs that are not DONE and that the caller may see, by id, in one call.

        A single VM comes with its scheduled actions, unless they are not needed: oned takes 0.7 ms
        longer for them. Of several VMs a pool does not show them.
        """
        if len(vm_ids) == 1 and with_actions:
            return self._only_vm(vm_ids[0])
        if not vm_ids:
            return {}
        pool = self._xml(*vms_call(vm_ids))
        return {vm.id: vm for vm in map(Vm.from_xml, children(pool, "VM"))}

    def _only_vm(self, vm_id: int) -> dict[int, Vm]:
        """As a pool would show it, which leaves out what is DONE or not the caller's."""
        try:
            vm = self.vm(vm_id)
        except (NotFound, Forbidden):
            return {}
        return {} if vm.state == VmState.DONE else {vm_id: vm}

    def vms_of_user(self, whose: int) -> list[Vm]:
        """The VMs of a user that are not DONE."""
        pool = self._xml("vmpool.infoextended", whose, ALL, ALL, NOT_DONE, "")
        return [Vm.from_xml(element) for element in children(pool, "VM")]

    def owners_of_vms(self) -> set[int]:
        """The users who own a VM that is not DONE, as far as the caller may see it."""
        pool = self._xml("vmpool.info", USABLE_BY_ME, ALL, ALL, NOT_DONE)
        return {number(vm, "UID") for vm in children(pool, "VM")}

    def vm_times(self, vm_id: int) -> VmTimes:
        """When a VM came how far, from its first history record. Raises NotFound, Forbidden."""
        return VmTimes.from_xml(self._xml("vm.info", vm_id, False))

    def act_on_vm(self, vm_id: int, action: str) -> None:
        """One of OpenNebula's actions, such as ``terminate-hard``, ``suspend`` or ``resume``.

        Raises ActionRefused where the state of the VM does not allow it, NotFound, Forbidden.
        """
        self._number("vm.action", action, vm_id)

    def resize_vm(self, vm_id: int, template: str) -> None:
        """Raises CapacityRefused, Locked, Forbidden. Host capacity and quota are enforced."""
        self._number("vm.resize", vm_id, template, True)

    def resize_disk(self, vm_id: int, disk_id: int, size_mb: int) -> None:
        """Raises CapacityRefused where it shrinks, Locked."""
        self._number("vm.diskresize", vm_id, disk_id, str(size_mb))

    def update_vm(self, vm_id: int, template: str) -> None:
        """Appends to the user template: attributes of the same name are replaced."""
        self._number("vm.update", vm_id, template, APPEND, repeatable=True)

    def add_scheduled_action(self, vm_id: int, template: str) -> int:
        """The id of the new action."""
        return self._number("vm.schedadd", vm_id, template)

    def update_scheduled_action(self, vm_id: int, action_id: int, template: str) -> None:
        self._number("vm.schedupdate", vm_id, action_id, template, repeatable=True)

    def delete_scheduled_action(self, vm_id: int, action_id: int) -> None:
        """Raises NotFound where there is no such action."""
        self._number("vm.scheddelete", vm_id, action_id)

    def _xml(self, method: str, *params: Any) -> etree._Element:
        answer = self._call(method, *params, repeatable=True)
        if not isinstance(answer, _Xml):
            raise BadGateway(f"oned: {method} answered no XML")
        return parse(answer.source)

    def _text(self, method: str, *params: Any) -> str:
        answer = self._call(method, *params, repeatable=True)
        if not isinstance(answer, _Xml):
            raise BadGateway(f"oned: {method} answered no text")
        return answer.source

    def _number(self, method: str, *params: Any, repeatable: bool = False) -> int:
        answer = self._call(method, *params, repeatable=repeatable)
        if not isinstance(answer, int):
            raise BadGateway(f"oned: {method} answered no number")
        return answer

    def _begin_all(self, calls: Sequence[Call]) -> int:
        """How many of the calls could be sent, in their order."""
        return sum(1 for _ in takewhile(lambda call: self._begin(*call), calls))

    def _begin(self, method: str, *params: Any) -> bool:
        """Send ahead what ``_call`` will send; a difference would only cost a second request."""
        text = xmlrpc.client.dumps((self._session, *params), f"one.{method}", encoding="utf-8")
        return self._transport.begin(text.encode())

    def _call(self, method: str, *params: Any, repeatable: bool) -> Any:
        self._transport.repeatable = repeatable
        try:
            return functools.reduce(getattr, method.split("."), self._server)(*params)
        except pyone.OneException as error:
            raise from_oned(error) from error


def _id(document: Document) -> int:
    return document.id


def _is_ascending(documents: Sequence[Document]) -> bool:
    return len(documents) > 1 and documents[0].id < documents[-1].id


def document_call(document_id: int) -> Call:
    """What ``Oned.document`` calls."""
    return "document.info", document_id, False


def documents_call(document_type: int, whose: int, first_id: int, last_id: int) -> Call:
    """What ``Oned.documents`` calls."""
    return "documentpool.info", whose, first_id, last_id, int(document_type)


def vms_call(vm_ids: Sequence[int]) -> Call:
    """What ``Oned.vms`` calls, unless it reads a single VM with its actions."""
    return "vmpool.infoset", ",".join(map(str, vm_ids)), True


def _result(content: bytes) -> list[Any]:
    """Return success, value and code, as pyone takes them. Raises as parse_response does."""
    values = parse_response(content)
    if len(values) < 3:
        raise BadGateway("oned: the response is not an array of three")
    if values[0] and isinstance(values[1], str):
        values[1] = _Xml(values[1])
    return values


def parse_response(content: bytes) -> list[Any]:
    """Return the array in an XML-RPC response. Raises xmlrpc.client.Fault or BadGateway.

    The standard library calls back for every escaped character, and a response of oned is XML
    inside XML: lxml parses it many times faster.
    """
    root = parse(content)
    values = [_scalar(value) for value in root.iterfind("params/param/value/array/data/value")]
    if not values:
        raise _fault(root)
    return values


def _fault(root: etree._Element) -> Exception:
    code = root.findtext("fault/value/struct/member[name='faultCode']/value/i4")
    explanation = root.findtext("fault/value/struct/member[name='faultString']/value/string")
    if code is None:
        return BadGateway("oned: the response is neither an array nor a fault")
    return xmlrpc.client.Fault(int(code), explanation or "")


def _scalar(value: etree._Element) -> bool | int | str:
    kind = value[0].tag if len(value) else "string"
    content = (value[0].text if len(value) else value.text) or ""
    try:
        if kind == "boolean":
            return content.strip() == "1"
        return int(content) if kind in ("i4", "int", "i8") else content
    except ValueError as error:
        raise BadGateway(f"oned: {content[:40]!r} is not of type {kind}") from error
