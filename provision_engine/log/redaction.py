"""The request that a thread handles, and what no line may contain: its secrets, and line breaks."""

from __future__ import annotations

import json
import re
import urllib.parse
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from types import MappingProxyType

from provision_engine.text import one_line as escaped

LINE_CHARACTERS = 65_536
LABEL_CHARACTERS = 64

_HIDDEN = "***"
_PLAIN = re.compile(r"[\w.:@+-]+")
"""What needs no quotes behind a label."""
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
labels: ContextVar[Mapping[str, str]] = ContextVar("labels", default=MappingProxyType({}))
"""Who and what this request is about: client, user and runtime, without secrets."""


@contextmanager
def request(identifier: str) -> Iterator[None]:
    """Name this request in every line within it, and forget its secrets at the end."""
    named, hidden, known = request_id.set(identifier), secrets.set(()), labels.set({})
    try:
        yield
    finally:
        labels.reset(known)
        secrets.reset(hidden)
        request_id.reset(named)


def secret(*values: str) -> None:
    """Replace these values by *** in every later line of this request.

    A thread that is started without a copy of the caller's context does not know them.
    """
    secrets.set((*secrets.get(), *(value for value in values if value)))


def label(name: str, value: object) -> None:
    """Say who or what this request is about; the value may be a stranger's text of any length.

    Secrets have to be known before.
    """
    labels.set({**labels.get(), name: label_text(value)})


def label_text(value: object) -> str:
    """Return a value as it is logged as a label: short, on one line."""
    text = escaped(redact(str(value)))
    return text if len(text) <= LABEL_CHARACTERS else f"{text[:LABEL_CHARACTERS]}…"


def labelled() -> str:
    """Return all labels as the end of a line, quoted where they could be mistaken for others."""
    shown = [f"{name}={_quoted(value)}" for name, value in labels.get().items()]
    return f" ({' '.join(shown)})" if shown else ""


def _quoted(text: str) -> str:
    return text if _PLAIN.fullmatch(text) else json.dumps(text, ensure_ascii=False)


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
