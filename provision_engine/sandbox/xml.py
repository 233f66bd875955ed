"""XML as strings: building trees would be the slowest part of a read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from xml.sax.saxutils import escape as _escape

PERMISSION_NAMES = (
    "OWNER_U", "OWNER_M", "OWNER_A",
    "GROUP_U", "GROUP_M", "GROUP_A",
    "OTHER_U", "OTHER_M", "OTHER_A",
)  # fmt: skip


def escape(text: str) -> str:
    """Escapes text between tags."""
    if "&" in text or "<" in text or ">" in text:
        return _escape(text)
    return text


def cdata(name: str, value: object) -> str:
    """An element in CDATA form, as oned writes values chosen by users."""
    return f"<{name}><![CDATA[{value}]]></{name}>"


def plain(name: str, value: object) -> str:
    """An element in plain form, as oned writes values of its own; nothing is escaped."""
    return f"<{name}>{value}</{name}>"


def plains(pairs: Iterable[tuple[str, object]]) -> str:
    """Several plain elements in order."""
    return "".join([f"<{name}>{value}</{name}>" for name, value in pairs])


def vector(name: str, members: Mapping[str, object]) -> str:
    """A vector attribute, with its members in alphabetical order."""
    inner = "".join([cdata(key, members[key]) for key in sorted(members)])
    return f"<{name}>{inner}</{name}>"


def permissions(bits: Iterable[int]) -> str:
    """The nine permission bits."""
    inner = "".join([f"<{n}>{b}</{n}>" for n, b in zip(PERMISSION_NAMES, bits, strict=True)])
    return f"<PERMISSIONS>{inner}</PERMISSIONS>"
