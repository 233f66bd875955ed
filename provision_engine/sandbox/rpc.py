"""XML-RPC without a parser: requests like pyone's are read by one pattern, others by the library.

Responses are formatted like those of oned's library, down to the line endings.
"""

from __future__ import annotations

import re
import xmlrpc.client
from collections.abc import Sequence
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

Parameter = int | str | bool | float | list[int]


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
    for value in parameters:
        if isinstance(value, str):
            _check_plane(value)
        elif isinstance(value, int):
            _integer(str(int(value)))
    return method, list(parameters)  # type: ignore[arg-type]


def result(values: Sequence[int | str | bool]) -> bytes:
    """The response with the result array."""
    inner = "".join([f"<value>{_written(value)}</value>\r\n" for value in values])
    return _response(
        f"<params>\r\n<param><value><array><data>\r\n{inner}</data></array></value></param>\r\n"
        "</params>\r\n"
    )


def fault(error: RpcFault) -> bytes:
    """The response with a fault."""
    return _response(
        "<fault>\r\n<value><struct>\r\n<member><name>faultCode</name>\r\n"
        f"<value><i4>{error.code}</i4></value></member>\r\n"
        "<member><name>faultString</name>\r\n"
        f"<value><string>{escape(error.text)}</string></value></member>\r\n"
        "</struct></value>\r\n</fault>\r\n"
    )


def _written(value: int | str | bool) -> str:
    if isinstance(value, bool):
        return f"<boolean>{int(value)}</boolean>"
    if isinstance(value, int):
        return f"<i4>{value}</i4>"
    return f"<string>{escape(value)}</string>"


def _response(inner: str) -> bytes:
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\r\n'
        f"<methodResponse>\r\n{inner}</methodResponse>\r\n"
    ).encode()
