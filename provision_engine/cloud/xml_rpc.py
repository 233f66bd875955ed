"""XML-RPC with oned: single calls by pyone, several in one ``system.multicall``."""

from __future__ import annotations

import functools
import time
import xmlrpc.client
from collections.abc import Sequence
from contextlib import closing
from http.client import HTTPConnection, HTTPException
from typing import Any

import pyone
from lxml import etree
from pyone.server_xrpc import OneServerXRPC

from provision_engine.cloud.errors import from_code
from provision_engine.cloud.objects import parse
from provision_engine.cloud.transport import MAX_RESPONSE_BYTES, Backend, connect
from provision_engine.deadline import Deadline
from provision_engine.errors import BackendUnreachable, BadGateway

Request = tuple[str, tuple[Any, ...]]
"""The name of a method, without its prefix, and its parameters, without the session."""

_ANY_URL = "http://oned/RPC2"
"""ServerProxy parses a URL; the transport has the real one."""


class XmlRpc:
    """oned for one session, within one deadline."""

    def __init__(self, backend: Backend, session: str, deadline: Deadline) -> None:
        self._session, self._transport = session, _Transport(backend, deadline)

    @functools.cached_property
    def _server(self) -> _Server:
        """Made for the first single call: a read needs none."""
        return _Server(self._session, self._transport)

    def send(self, requests: Sequence[Request], *, is_repeatable: bool) -> list[Any]:
        """Send calls in one request, which are made in their order, whether some fail or not.

        Returns the value of each, or the OneException or BadGateway that it stands for. Raises
        what the backend raises; a request that ``is_repeatable`` is sent once more before.
        """
        self._transport.is_repeatable = is_repeatable
        if len(requests) == 1:
            return [self._single(*requests[0])]
        batch = xmlrpc.client.MultiCall(
            xmlrpc.client.ServerProxy(_ANY_URL, transport=self._transport)
        )
        for method, params in requests:
            functools.reduce(getattr, method.split("."), batch.one)(self._session, *params)
        try:
            results = batch().results
        except xmlrpc.client.Fault as fault:
            raise BadGateway(f"oned: {fault.faultString}") from fault
        if len(results) != len(requests):
            raise BadGateway(f"oned: {len(results)} responses to {len(requests)} calls")
        return [_value_of(result) for result in results]

    def _single(self, method: str, params: tuple[Any, ...]) -> Any:
        try:
            value = functools.reduce(getattr, method.split("."), self._server)(*params)
        except pyone.OneException as error:
            return error
        except (IndexError, TypeError) as error:
            raise BadGateway("oned: the response is not an array of three") from error
        return value.content if isinstance(value, _Text) else value


def _value_of(result: Any) -> Any:
    """Return what one result of a multicall is: a fault, or an array of an array of three."""
    if isinstance(result, dict):
        return pyone.OneException(result.get("faultString", result))
    try:
        is_success, value, code = result[0][:3]
    except (IndexError, TypeError, ValueError):
        return BadGateway("oned: the response is not an array of three")
    return value if is_success else from_code(code, value)


class _Text:
    """A text in a response; pyone binds strings to its own slow objects, and leaves this alone."""

    def __init__(self, content: str) -> None:
        self.content = content


class _Server(OneServerXRPC):  # type: ignore[misc]
    """pyone's server with our transport; it adds the session and raises for refusals."""

    def __init__(self, session: str, transport: _Transport) -> None:
        super().__init__(_ANY_URL, session)
        # pyone accepts no transport; the ServerProxy below it does.
        xmlrpc.client.ServerProxy.__init__(self, _ANY_URL, transport=transport)


class _Transport(xmlrpc.client.Transport):
    """Sends each request on a connection of its own, as oned closes them; parses with lxml."""

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


def parse_response(content: bytes) -> list[Any]:
    """Return the array in an XML-RPC response. Raises xmlrpc.client.Fault or BadGateway.

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
    """Return what a ``value`` holds. Raises ValueError, TypeError, IndexError."""
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
    if kind not in ("i4", "int", "i8"):
        return content
    if not content.strip().lstrip("-").isdecimal():
        raise ValueError(f"{content[:40]!r} is not of type {kind}")
    return int(content)
