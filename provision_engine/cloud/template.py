"""OpenNebula's template syntax, and which texts it can carry.

Source: the scenarios template-syntax and hostile-values-through-oneflow of the recordings.
"""

from __future__ import annotations

import unicodedata
from xml.sax.saxutils import escape

from provision_engine.cloud.objects import Attributes

_FORBIDDEN_SEQUENCES = {
    "]]>": "it ends a CDATA section in OpenNebula's XML",
    "${": "OpenNebula substitutes what follows",
}


def why_not(text: str) -> str | None:
    """Why OpenNebula cannot carry a text unchanged in both dialects; None where it can."""
    for place, character in enumerate(text):
        if (reason := _why_not_character(character)) is not None:
            return f"character {place + 1} is {reason}"
    for sequence, reason in _FORBIDDEN_SEQUENCES.items():
        if sequence in text:
            return f"character {text.index(sequence) + 1} begins {sequence!r}: {reason}"
    if text.endswith("\\"):
        return "the last character is a backslash, which would swallow the closing quote"
    return None


def _why_not_character(character: str) -> str | None:
    point = ord(character)
    if 32 <= point < 127:
        return None
    name = f"U+{point:04X}"
    if point > 0xFFFF:
        return f"{name}, beyond U+FFFF"
    if unicodedata.category(character) == "Cc":
        return f"the control character {name}"
    if 0xD800 <= point <= 0xDFFF or point >= 0xFFFE:
        return f"{name}, which no XML can hold"
    return None


def render(attributes: Attributes) -> str:
    """Attributes in template syntax, one a line. Only a quote can be escaped, and has to be."""
    return "\n".join(
        _attribute(name, value)
        for name, values in attributes.items()
        for value in (values if isinstance(values, list) else [values])
    )


def _attribute(name: str, value: str | Attributes) -> str:
    if isinstance(value, dict):
        return f"{name}=[{','.join(_attribute(key, item) for key, item in value.items())}]"
    return f"{name}={quoted(value)}"


def quoted(text: str) -> str:
    return '"' + text.replace('"', '\\"') + '"'


def document(name: str, body: str) -> str:
    """The template of a new document: XML, where a body needs no escaping but of its ``]]>``."""
    return f"<TEMPLATE><NAME>{escape(name)}</NAME>{_body(body)}</TEMPLATE>"


def document_body(body: str) -> str:
    """The template that replaces a document's body."""
    return f"<TEMPLATE>{_body(body)}</TEMPLATE>"


def _body(body: str) -> str:
    if "]]>" in body:
        raise ValueError("a body with ]]> would end its CDATA section")
    return f"<BODY><![CDATA[{body}]]></BODY>"
