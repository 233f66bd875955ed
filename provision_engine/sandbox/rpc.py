"""XML-RPC without a parser: requests like pyone's are read by one pattern, others by the library.

Responses are formatted like those of oned's library, down to the line endings.
"""

from __future__ import annotations

import re
import xmlrpc.client
from collections.abc import Iterable
from typing import Any
from xml.parsers.expat import ExpatError
from xml.sax.saxutils import unescape

from provision_engine.sandbox.errors import RpcFault
from provision_engine.sandbox.xml import escape

NOT_A_CALL = -503
_EXCERPT_CHARACTERS = 40
MAXIMUM_NUMBER = 2**31 - 1
_MAXIMUM_DIGITS = 20
_METHOD = re.compile(r"<methodName>\s*([^<\s]+)\s*</methodName>")
_PARAM = re.compile(
    r"\s*<param>\s*<value>\s*<(int|i4|boolean|string)>([^<]*)</\1>\s*</value>\s*</param>"
)
_PARAMS = re.compile(r"\s*<params>")
_END = re.compile(r"\s*</params>\s*</methodCall>\s*")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f]")
_BEYOND_BMP = re.compile("[\U00010000-\U0010ffff]")
_ENTITIES = {"&quot;": '"', "&apos;": "'"}

Parameter = int | str | bool | float | list[Any] | dict[str, Any]


class Long(int):
    """A number that the response names an i8."""


def read(body: bytes) -> tuple[str, list[Parameter]]:
    """The method and parameters of a call. RpcFault (-503) if it is malformed."""
    try:
        text = body.decode()
    except UnicodeDecodeError:
        raise _not_a_call("Call is not valid XML.  Invalid XML") from None
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    _check_characters(text)
    return _read_fast(text) or _read_any(text)


def _check_characters(text: str) -> None:
    control = _CONTROL.search(text)
    if control:
        rest = text[control.start() :]
        excerpt = rest[:_EXCERPT_CHARACTERS]
        shown = "".join(_visible(c) for c in excerpt) + ("..." if excerpt != rest else "")
        raise _not_a_call(
            f"Call is not valid XML.  Invalid XML \"content\".  Problem with token at '{shown}':"
            " Invalid token, starting 0 bytes in"
        )
    if not text.isascii() and _BEYOND_BMP.search(text):
        for value in re.findall(r">([^<]*)<", text):
            _check_plane(unescape(value, _ENTITIES))


def _visible(character: str) -> str:
    if character == "\n":
        return "\\n"
    return f"\\x{ord(character):02x}" if ord(character) < 32 else character


def _check_plane(value: str) -> None:
    if _BEYOND_BMP.search(value):
        raise _not_a_call(
            f"{len(value.encode())}-byte supposed UTF-8 string is not valid UTF-8.  UTF-8 string"
            " contains a character not in the Basic Multilingual Plane"
            " (first byte 0xfffffff0)"
        )


def _not_a_call(why: str) -> RpcFault:
    return RpcFault(NOT_A_CALL, f"Call XML not a proper XML-RPC call.  {why}")


def _read_fast(text: str) -> tuple[str, list[Parameter]] | None:
    method = _METHOD.search(text)
    start = _PARAMS.match(text, method.end()) if method else None
    if method is None or start is None:
        return None
    parameters: list[Parameter] = []
    position = start.end()
    while match := _PARAM.match(text, position):
        kind, value = match.groups()
        if "&#" in value:
            return None
        parameters.append(_value(kind, value))
        position = match.end()
    return (method[1], parameters) if _END.fullmatch(text, position) else None


def _value(kind: str, value: str) -> Parameter:
    if kind == "string":
        return unescape(value, _ENTITIES) if "&" in value else value
    return value.strip() == "1" if kind == "boolean" else _integer(value)


def _integer(text: str) -> int:
    """A number of 32 bits; oned's library refuses any other."""
    if not re.fullmatch(r"[+-]?[0-9]+", text):
        raise _not_a_call(f"<int> value '{text}' contains non-numerical junk")
    if len(text) > _MAXIMUM_DIGITS or not -MAXIMUM_NUMBER - 1 <= int(text) <= MAXIMUM_NUMBER:
        limit = f"(maximum is {MAXIMUM_NUMBER})"
        raise _not_a_call(f"<int> value {text} is above the range allowed by XML-RPC {limit}")
    return int(text)


def _read_any(text: str) -> tuple[str, list[Parameter]]:
    try:
        parameters, method = xmlrpc.client.loads(text)
    except (ExpatError, ValueError, TypeError, LookupError, xmlrpc.client.Error):
        raise _not_a_call("Call is not valid XML.  Invalid XML") from None
    if not method:
        raise _not_a_call("XML element should be of type 'methodCall'")
    _check_values(parameters)
    return method, list(parameters)  # type: ignore[arg-type]


def _check_values(values: Iterable[Any]) -> None:
    for value in values:
        if isinstance(value, str):
            _check_plane(value)
        elif isinstance(value, int):
            _integer(str(int(value)))
        elif isinstance(value, list | dict):
            _check_values(value.values() if isinstance(value, dict) else value)


def result(value: object) -> bytes:
    """The response with a result."""
    inner = written(value)
    return _response(f"<params>\r\n<param>{inner}</param>\r\n</params>\r\n".encode())


def results(elements: list[bytes]) -> bytes:
    """The response with an array, whose elements are `written` already."""
    return _response(
        b"<params>\r\n<param><value><array><data>\r\n%b</data></array></value></param>\r\n"
        b"</params>\r\n" % b"".join(element + b"\r\n" for element in elements)
    )


def fault(error: RpcFault) -> bytes:
    """The response with a fault."""
    return _response(f"<fault>\r\n{written(error)}\r\n</fault>\r\n".encode())


def written(value: object) -> str:
    """A value: a number, a string, a boolean, an array of them, or the struct of a fault."""
    if isinstance(value, RpcFault):
        return (
            "<value><struct>\r\n"
            f"<member><name>faultCode</name>\r\n{written(value.code)}</member>\r\n"
            f"<member><name>faultString</name>\r\n{written(value.text)}</member>\r\n"
            "</struct></value>"
        )
    if isinstance(value, list):
        elements = "".join([f"{written(element)}\r\n" for element in value])
        return f"<value><array><data>\r\n{elements}</data></array></value>"
    if isinstance(value, bool):
        return f"<value><boolean>{int(value)}</boolean></value>"
    if isinstance(value, int):
        kind = "i8" if isinstance(value, Long) else "i4"
        return f"<value><{kind}>{value}</{kind}></value>"
    return f"<value><string>{escape(str(value))}</string></value>"


def _response(inner: bytes) -> bytes:
    return (
        b'<?xml version="1.0" encoding="UTF-8"?>\r\n'
        b"<methodResponse>\r\n%b</methodResponse>\r\n" % inner
    )
