"""The calls in a request to oned or oneflow, each with its name, also those inside a multicall."""

from __future__ import annotations

import copy
import re
import xmlrpc.client
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from lxml import etree

INTERNAL_ERROR, PARAMETER_FAULT = 0x2000, -501
MULTICALL = "system.multicall"
CHANGING = (
    "allocate", "update", "rename", "delete", "lock", "unlock", "resize", "diskresize",
    "action", "schedadd", "schedupdate", "scheddelete",
)  # fmt: skip
"""The last parts of the names of oned's methods that change something."""


class Call(NamedTuple):
    backend: str
    """``oned`` or ``oneflow``."""
    name: str
    place: int = 1
    """In its multicall, counted from 1."""

    @property
    def is_change(self) -> bool:
        """May it change something in OpenNebula?"""
        is_of_oneflow = self.name.startswith(("POST", "PUT", "DELETE"))
        return is_of_oneflow or self.name.rpartition(".")[2] in CHANGING


HttpResponse = tuple[int, list[tuple[str, str]], bytes]


@dataclass
class Request:
    """One HTTP request, with the calls in it."""

    calls: tuple[Call, ...]
    body: bytes
    multicall: etree._Element | None = None
    """The parsed body of a multicall."""

    @classmethod
    def of_oneflow(cls, method: str, path: str, body: bytes) -> Request:
        parts = [p for p in urlsplit(path).path.split("/") if p and not p.isdigit()]
        return cls((Call("oneflow", f"{method} {'/'.join(parts)}"),), body)

    @classmethod
    def of_oned(cls, body: bytes) -> Request:
        found = re.search(rb"<methodName>\s*(?:one\.)?([\w.]+)", body)
        name = found[1].decode() if found else ""
        multicall = _parsed(body) if name == MULTICALL else None
        if multicall is None:
            return cls((Call("oned", name),), body)
        names = [
            value.xpath("string(struct/member[name='methodName']/value)").strip()
            for value in _list_of(multicall)
        ]
        calls = (Call("oned", n.removeprefix("one."), i) for i, n in enumerate(names, 1))
        return cls(tuple(calls), body, multicall)

    @property
    def backend(self) -> str:
        return self.calls[0].backend

    def bodies(self) -> list[bytes]:
        """A body for each call: those of a multicall as a multicall with this call alone."""
        if self.multicall is None:
            return [self.body]
        return [_with_list(self.multicall, [call]) for call in _list_of(self.multicall)]

    def refusal(self, call: Call, kind: str) -> HttpResponse:
        """The response of an oned that refuses a call."""
        text = f"[one.{call.name}] refused by the proxy"
        result: Any = [[False, text, INTERNAL_ERROR, -1]]
        if kind == "fault":
            result = {"faultCode": PARAMETER_FAULT, "faultString": text}
        if self.multicall is None:
            result = xmlrpc.client.Fault(*result.values()) if kind == "fault" else tuple(result)
        else:
            result = ([result],)
        content = xmlrpc.client.dumps(result, methodresponse=True)
        return 200, [("Content-Type", "text/xml")], content.encode()


def _parsed(content: bytes) -> etree._Element | None:
    """A multicall or its response; None if it has no list of calls or results."""
    message = etree.fromstring(content, etree.XMLParser(huge_tree=True))
    has_list = _list_of(message) is not None and len(_list_of(message)) > 0
    return message if has_list else None


def _list_of(message: etree._Element) -> etree._Element:
    """The calls of a multicall, or the results in its response."""
    return message.find("params/param/value/array/data")


def _with_list(message: etree._Element, elements: Sequence[etree._Element]) -> bytes:
    """The same message with these calls or results."""
    changed = copy.deepcopy(message)
    _list_of(changed)[:] = [copy.deepcopy(element) for element in elements]
    return etree.tostring(changed, xml_declaration=True, encoding="UTF-8")


def joined(responses: Sequence[HttpResponse]) -> HttpResponse:
    """One response to a multicall from those to its calls; the first that is no list of results."""
    if len(responses) == 1:
        return responses[0]
    messages = []
    for response in responses:
        message = _parsed(response[2]) if response[0] == 200 else None
        if message is None:
            return response
        messages.append(message)
    results = [result for message in messages for result in _list_of(message)]
    return (*responses[0][:2], _with_list(messages[0], results))
