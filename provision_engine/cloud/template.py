"""OpenNebula's template syntax, and which texts it can carry.

Source: the scenarios template-syntax and hostile-values-through-oneflow of the recordings.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Any
from xml.sax.saxutils import escape

from provision_engine.cloud.objects import Attributes

_FORBIDDEN_SEQUENCES = {
    "]]>": "it ends a CDATA section in OpenNebula's XML",
    "${": "OpenNebula substitutes what follows",
}


def why_not(text: str) -> str | None:
    """Return why OpenNebula cannot carry a text unchanged in both dialects; None where it can."""
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
    """Return attributes in template syntax, one a line. A quote has to be escaped."""
    return "\n".join(
        _attribute(name, value)
        for name, values in attributes.items()
        for value in (values if isinstance(values, list) else [values])
    )


def _attribute(name: str, value: str | Attributes) -> str:
    if isinstance(value, dict):
        return f"{name}=[{','.join(_attribute(key, item) for key, item in value.items())}]"
    return f"{name}={quoted(value)}"


_TEXT = r'"(?:[^"\\]|\\"?+)*+"'
"""Only a quote can be escaped: any other backslash is itself."""
_QUOTED = rf"(?P<quoted>{_TEXT})"
_BLANK = re.compile(r"(?:\s|\#[^\n]*)*")
_ATTRIBUTE = re.compile(
    rf"""(?P<name>\w+)\s*=[ \t]*(?:{_QUOTED}
    |\[(?P<vector>(?:[^\]"]|{_TEXT})*)\]|(?P<plain>[^\n"\[]*))""",
    re.DOTALL | re.VERBOSE,
)
_MEMBER = re.compile(
    rf"\s*(?P<name>\w+)\s*=\s*(?:{_QUOTED}|(?P<plain>[^\",]*))\s*(?:,|\Z)", re.DOTALL
)


def parse(text: str) -> Attributes:
    """Return the attributes of a template. Raises ValueError where the text is none."""
    found: dict[str, list[Any]] = {}
    position = _end_of_blank(text, 0)
    while position < len(text):
        match = _ATTRIBUTE.match(text, position)
        if match is None:
            raise ValueError(f"character {position + 1} begins no attribute of a template")
        vector = match["vector"]
        found.setdefault(match["name"].upper(), []).append(
            _text(match) if vector is None else _members(vector, match.start("vector"))
        )
        position = _end_of_blank(text, match.end())
    return {name: several if len(several) > 1 else several[0] for name, several in found.items()}


def _members(vector: str, start: int) -> dict[str, str]:
    members, position = {}, 0
    vector = vector.rstrip()
    while position < len(vector):
        match = _MEMBER.match(vector, position)
        if match is None:
            place = start + position + 1
            raise ValueError(f"character {place} begins no member of a vector of a template")
        members[match["name"].upper()] = _text(match)
        position = match.end()
    return members


def _end_of_blank(text: str, position: int) -> int:
    match = _BLANK.match(text, position)
    return match.end() if match else position


def _text(match: re.Match[str]) -> str:
    if (quoted := match["quoted"]) is not None:
        return quoted[1:-1].replace('\\"', '"')
    return str(match["plain"]).strip()


def check(attributes: Attributes) -> None:
    """Raise ValueError where a text ends in a backslash, which would swallow the closing quote."""
    for name, value in attributes.items():
        for one in value if isinstance(value, list) else [value]:
            texts = one.values() if isinstance(one, dict) else [one]
            if any(text.endswith("\\") for text in texts):
                raise ValueError(f"{name} ends in a backslash")


def quoted(text: str) -> str:
    return '"' + text.replace('"', '\\"') + '"'


def document(name: str, body: str) -> str:
    """Return the template of a new document: XML, where a body needs no escaping."""
    return f"<TEMPLATE><NAME>{escape(name)}</NAME>{_body(body)}</TEMPLATE>"


def document_body(body: str) -> str:
    """Return the template that replaces a document's body."""
    return f"<TEMPLATE>{_body(body)}</TEMPLATE>"


def _body(body: str) -> str:
    if "]]>" in body:
        raise ValueError("a body with ]]> would end its CDATA section")
    return f"<BODY><![CDATA[{body}]]></BODY>"
