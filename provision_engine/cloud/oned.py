"""oned, over XML-RPC, with pyone. ``calls`` describes its calls."""

from __future__ import annotations

import functools
import time
import xmlrpc.client
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from typing import Any, Generic, ParamSpec, TypeVar

import pyone
from lxml import etree
from pyone.server_xrpc import OneServerXRPC

from provision_engine.cloud import calls
from provision_engine.cloud.call_log import record
from provision_engine.cloud.calls import ALL, ONEADMIN, USABLE_BY_ME, Call
from provision_engine.cloud.enums import DocumentType
from provision_engine.cloud.errors import from_code, from_oned
from provision_engine.cloud.objects import Document, Vm, parse
from provision_engine.cloud.transport import MAX_RESPONSE_BYTES, Backend, connect
from provision_engine.deadline import Deadline
from provision_engine.errors import BackendUnreachable, BadGateway, EngineError

P = ParamSpec("P")
T = TypeVar("T")

_ANY_URL = "http://oned/RPC2"
"""ServerProxy parses a URL; the transport has the real one."""


class _Text:
    """A text in a response; pyone binds strings to its own slow objects, and leaves this alone."""

    def __init__(self, content: str) -> None:
        self.content = content


class _Transport(xmlrpc.client.Transport):
    """Sends each call on a connection of its own, as oned closes them, and parses with lxml."""

    def __init__(self, backend: Backend, deadline: Deadline) -> None:
        super().__init__()
        self._backend, self._deadline = backend, deadline
        self.is_repeatable = False

    def request(self, _host: Any, _handler: str, request_body: Any, verbose: bool = False) -> Any:
        try:
            content = self._exchange(request_body)
        except BackendUnreachable:
            if not self.is_repeatable or self._deadline.is_over:
                raise
            content = self._exchange(request_body)
        values = parse_response(content)
        if values and values[0] is True and len(values) > 1 and isinstance(values[1], str):
            values[1] = _Text(values[1])
        return (values,)

    def _exchange(self, body: bytes) -> bytes:
        backend, sent_at = self._backend, time.time()
        headers = {"Content-Type": "text/xml", "Accept-Encoding": "identity"}
        with backend.exchanging(self._deadline), closing(HTTPConnection(backend.host)) as http:
            http.sock = connect(backend.host, backend.port, backend.tls)
            http.request("POST", backend.path, body, headers)
            with http.getresponse() as response:
                if response.status != 200:
                    raise BadGateway(f"oned answered HTTP {response.status}")
                content = response.read(MAX_RESPONSE_BYTES + 1)
                if len(content) > MAX_RESPONSE_BYTES:
                    message = f"the response is longer than {MAX_RESPONSE_BYTES} bytes"
                    raise HTTPException(message)
        backend.clock.observe(response.headers.get("Date", ""), sent_at, time.time())
        return content


class _Server(OneServerXRPC):  # type: ignore[misc]
    """pyone's server with our transport; it adds the session and raises for refusals."""

    def __init__(self, session: str, transport: _Transport) -> None:
        super().__init__(_ANY_URL, session)
        # pyone accepts no transport; the ServerProxy below it does.
        xmlrpc.client.ServerProxy.__init__(self, _ANY_URL, transport=transport)


class _Method(Generic[P, T]):
    """A method of Oned that makes the call which a function of ``calls`` describes."""

    def __init__(self, describe: Callable[P, Call[T]]) -> None:
        self._describe = describe

    def __get__(self, oned: Oned, _owner: type) -> Callable[P, T]:
        def method(*args: P.args, **kwargs: P.kwargs) -> T:
            return oned.call(self._describe(*args, **kwargs))

        return method


@dataclass(frozen=True)
class Outcome(Generic[T]):
    """What became of one of several calls."""

    result: T | None = None
    error: EngineError | None = None

    def get(self) -> T:
        """Return the result, or raise the call's error."""
        if self.error is not None:
            raise self.error
        return self.result  # type: ignore[return-value]


class Oned:
    """oned for one caller and one request."""

    version = _Method(calls.version)
    quota = _Method(calls.quota)
    user = _Method(calls.user)
    user_ids = _Method(calls.user_ids)
    group_size = _Method(calls.group_size)
    document = _Method(calls.document)
    allocate_document = _Method(calls.allocate_document)
    update_document = _Method(calls.update_document)
    rename_document = _Method(calls.rename_document)
    delete_document = _Method(calls.delete_document)
    chown_document = _Method(calls.chown_document)
    lock_document = _Method(calls.lock_document)
    unlock_document = _Method(calls.unlock_document)
    vm_template = _Method(calls.vm_template)
    vm = _Method(calls.vm)
    vms_of_user = _Method(calls.vms_of_user)
    owners_of_vms = _Method(calls.owners_of_vms)
    vm_times = _Method(calls.vm_times)
    act_on_vm = _Method(calls.act_on_vm)
    resize_vm = _Method(calls.resize_vm)
    resize_disk = _Method(calls.resize_disk)
    update_vm = _Method(calls.update_vm)
    add_scheduled_action = _Method(calls.add_scheduled_action)
    update_scheduled_action = _Method(calls.update_scheduled_action)
    delete_scheduled_action = _Method(calls.delete_scheduled_action)
    _document_pool = _Method(calls.document_pool)

    def __init__(self, backend: Backend, session: str, deadline: Deadline) -> None:
        self._session = session
        self._transport = _Transport(backend, deadline)
        self._server = _Server(session, self._transport)

    def call(self, call: Call[T]) -> T:
        """Make a call. Raises what its description says, and what the backend raises."""
        outcome: Outcome[T] = self.together(call)[0]
        return outcome.get()

    def together(self, *several: Call[Any]) -> list[Outcome[Any]]:
        """Make calls in one request, in their order; the failure of one does not stop the next.

        Returns their outcomes. The request is sent once more only if all calls are repeatable.
        """
        started_at = time.perf_counter()
        self._transport.is_repeatable = all(call.is_repeatable for call in several)
        try:
            outcomes = self._batch(several) if len(several) > 1 else [self._single(several[0])]
        except EngineError as error:
            outcomes = [Outcome(error=error)] * len(several)
        for call, outcome in zip(several, outcomes, strict=True):
            record("oned", call.name, call.arguments, started_at, outcome.error)
        return outcomes

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
        return self._document_pool(document_type, whose, start, last_id)

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

    def vms(self, vm_ids: Sequence[int], *, with_actions: bool = True) -> dict[int, Vm]:
        """Return those of the VMs that are alive, by id, as ``calls.vms`` describes."""
        return self.call(calls.vms(vm_ids, with_actions)) if vm_ids else {}

    def _page(self, document_type: int, whose: int, offset: int, count: int) -> list[Document]:
        # A page of one would be taken for "all": two is the least that a page may hold.
        return self._document_pool(document_type, whose, offset, -max(count, 2))

    def _single(self, call: Call[T]) -> Outcome[T]:
        try:
            method = functools.reduce(getattr, call.method.split("."), self._server)
            value = method(*call.params)
        except pyone.OneException as error:
            return _failure(call, error)
        except (IndexError, TypeError) as error:
            raise BadGateway("oned: the response is not an array of three") from error
        return _success(call, value.content if isinstance(value, _Text) else value)

    def _batch(self, several: Sequence[Call[Any]]) -> list[Outcome[Any]]:
        server = xmlrpc.client.ServerProxy(_ANY_URL, transport=self._transport)
        batch = xmlrpc.client.MultiCall(server)
        for call in several:
            functools.reduce(getattr, call.method.split("."), batch.one)(
                self._session, *call.params
            )
        try:
            results = batch().results
        except xmlrpc.client.Fault as fault:
            raise BadGateway(f"oned: {fault.faultString}") from fault
        if len(results) != len(several):
            raise BadGateway(f"oned: {len(results)} responses to {len(several)} calls")
        return [_outcome(call, result) for call, result in zip(several, results, strict=True)]


def _outcome(call: Call[T], result: Any) -> Outcome[T]:
    """Return what became of one call of a batch: a fault, or an array of an array of three."""
    if isinstance(result, dict) and "faultString" in result:
        return _failure(call, pyone.OneException(result["faultString"]))
    if not (isinstance(result, list) and result and isinstance(result[0], list)):
        return Outcome(error=BadGateway("oned: a response is neither an array nor a fault"))
    if len(result[0]) < 3:
        return Outcome(error=BadGateway("oned: the response is not an array of three"))
    is_success, value, code = result[0][:3]
    return _success(call, value) if is_success else _failure(call, from_code(code, value))


def _success(call: Call[T], value: Any) -> Outcome[T]:
    try:
        return Outcome(call.read(value))
    except EngineError as error:
        return Outcome(error=error)


def _failure(call: Call[T], error: Exception) -> Outcome[T]:
    try:
        return Outcome(call.instead(from_oned(error)))
    except EngineError as refusal:
        return Outcome(error=refusal)


def _is_ascending(documents: Sequence[Document]) -> bool:
    return len(documents) > 1 and documents[0].id < documents[-1].id


def parse_response(content: bytes) -> Any:
    """Return the value in an XML-RPC response. Raises xmlrpc.client.Fault or BadGateway.

    The standard library calls back for every escaped character, and a response of oned is XML
    inside XML: lxml parses it many times faster.
    """
    root = parse(content)
    fault, value = root.find("fault/value"), root.find("params/param/value")
    try:
        if fault is not None:
            raise xmlrpc.client.Fault(**_value(fault))
        if value is not None and isinstance(result := _value(value), list):
            return result
    except (ValueError, TypeError, IndexError, RecursionError) as error:
        raise BadGateway(f"oned: {error}") from error
    raise BadGateway("oned: the response is neither an array nor a fault")


def _value(element: etree._Element) -> Any:
    """Return what a ``value`` holds. Raises ValueError, TypeError."""
    if not len(element):
        return element.text or ""
    kind, content = element[0].tag, element[0].text or ""
    if kind == "array":
        return [_value(item) for item in element[0].iterfind("data/value")]
    if kind == "struct":
        members = element[0].iterfind("member")
        return {member.findtext("name"): _value(member[1]) for member in members}
    if kind == "boolean":
        return content.strip() == "1"
    if kind in ("i4", "int", "i8"):
        try:
            return int(content)
        except ValueError:
            raise ValueError(f"{content[:40]!r} is not of type {kind}") from None
    return content
