"""The request that a thread handles, and what no line may contain: its secrets, and line breaks."""

from __future__ import annotations

import json
import re
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from provision_engine.text import one_line as escaped

LINE_CHARACTERS = 65_536

_HIDDEN = "***"
_QUOTE = r"(?:\\*[\"']|&quot;|&#34;)"
_SR_AUTH = re.compile(
    rf"(SR_AUTH(?:>(?:<!\[CDATA\[)?|{_QUOTE}?\s*[=:]\s*b?{_QUOTE}?))[A-Za-z0-9+/_-]+=*"
)
_AUTHORIZATION = re.compile(
    r"(authorization[\"']?\s*[:=]\s*[b\"']{0,2}(?:[a-z]+\s+)?)[A-Za-z0-9+/_.~-]+=*", re.IGNORECASE
)


request_id: ContextVar[str] = ContextVar("request_id", default="")
"""Every line of engine.log and CloudClient.log names it."""
secrets: ContextVar[tuple[str, ...]] = ContextVar("secrets", default=())
"""Replaced by *** in every line of this request."""


@contextmanager
def request(identifier: str) -> Iterator[None]:
    """Name this request in every line within it, and forget its secrets at the end."""
    named, hidden = request_id.set(identifier), secrets.set(())
    try:
        yield
    finally:
        secrets.reset(hidden)
        request_id.reset(named)


def secret(*values: str) -> None:
    """Replace these values by *** in every later line of this request.

    A thread that is started without a copy of the caller's context does not know them.
    """
    secrets.set((*secrets.get(), *(value for value in values if value)))


def redact(text: str) -> str:
    """Return the text with *** for SR_AUTH, Authorization and this request's secrets."""
    # The longest first: a short secret may be part of a longer one.
    for value in sorted(_spellings(secrets.get()), key=len, reverse=True):
        text = text.replace(value, _HIDDEN)
    if "SR_AUTH" in text:
        text = _SR_AUTH.sub(rf"\1{_HIDDEN}", text)
    if "uthorization" in text or "UTHORIZATION" in text:
        text = _AUTHORIZATION.sub(rf"\1{_HIDDEN}", text)
    return text


def _spellings(values: tuple[str, ...]) -> set[str]:
    """Return the values as they look when quoted for JSON, Python, XML, URLs or templates."""
    spellings = set(values)
    for value in values:
        if value.isascii() and value.isalnum():
            continue
        spellings |= {
            json.dumps(value)[1:-1],
            json.dumps(value, ensure_ascii=False)[1:-1],
            repr(value)[1:-1],
            value.replace('"', '\\"'),
            urllib.parse.quote(value, safe="", errors="replace"),
            value.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;"),
        }
    return spellings


def one_line(text: str) -> str:
    """Return the text as at most LINE_CHARACTERS on one line."""
    if len(text) > LINE_CHARACTERS:
        text = f"{text[:LINE_CHARACTERS]}… ({len(text)} characters)"
    return escaped(text)
