"""OpenNebula's template syntax: ``NAME="value"`` and ``NAME=[A="1", B="2"]``.

The scanner behaves like oned's, quirks included, because they determine what untrusted text can
break or inject (scenarios template-syntax and hostile-values-through-oneflow):

* ``\\"`` is the only escape. A backslash right before the closing quote therefore swallows it,
  unless no further quote follows: the scanner takes the longest string it can find.
* An unexpected character is skipped silently, but counts in the columns of error messages.
* Comments exist only at the beginning of a line.
* Names are converted to upper case, and one that begins with a digit gets the prefix ``ONE_``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple
from xml.etree import ElementTree

from provision_engine.sandbox import xml

Value = str | dict[str, str]

_COMMENT = re.compile(r"[ \t]*#[^\n]*\n?")
_NAME_STATE = re.compile(
    r"(?P<EQUAL_EMPTY>=[ \t]*\n)|(?P<EQUAL>=)|(?P<COMMA>,[ \t]*)|(?P<CBRACKET>\])"
    r"|(?P<VARIABLE>[A-Za-z0-9_]+)|(?P<skip>[\s\S])"
)
_VALUE_STATE = re.compile(
    r'(?P<OBRACKET>\[)|(?P<STRING>"(?:\\"|[^"])*")|(?P<CCDATA><!\[CDATA\[[\s\S]*?\]\]>)'
    r'|(?P<word>[^\s"\[\],]+)|(?P<skip>[\s\S])'
)
_CDATA_EDGES = len("<![CDATA["), len("]]>")


class TemplateError(ValueError):
    """A syntax error; the message is oned's own."""


class _Token(NamedTuple):
    kind: str
    text: str
    line: int
    start: int
    end: int


class Template:
    """Attributes in their original order; a name may occur several times."""

    __slots__ = ("items",)

    def __init__(self, items: Iterable[tuple[str, Value]] = ()) -> None:
        self.items: list[tuple[str, Value]] = list(items)

    def get(self, name: str) -> Value | None:
        """The first value of that name."""
        return next((value for key, value in self.items if key == name), None)

    def text(self, name: str) -> str | None:
        """The first plain value of that name."""
        value = self.get(name)
        return value if isinstance(value, str) else None

    def vectors(self, name: str) -> list[dict[str, str]]:
        """All vectors of that name; they may be changed in place."""
        return [v for key, v in self.items if key == name and isinstance(v, dict)]

    def values(self, name: str, member: str | None = None) -> list[Value]:
        """All values of that name, or those of a member of its vectors."""
        if member is None:
            return [value for key, value in self.items if key == name]
        return [vector[member] for vector in self.vectors(name) if member in vector]

    def set(self, name: str, value: Value) -> None:
        """Replaces all attributes of that name by one."""
        self.remove(name)
        self.items.append((name, value))

    def remove(self, name: str) -> None:
        """Removes all attributes of that name."""
        self.items = [item for item in self.items if item[0] != name]

    def merged(self, other: Template) -> Template:
        """A template in which the attributes of `other` replace those of the same name."""
        replaced = {name for name, _ in other.items}
        kept = [item for item in self.items if item[0] not in replaced]
        return Template([*kept, *other.items])

    def change_values(self, change: Callable[[str], str]) -> None:
        """Changes each text, also those in vectors."""
        for index, (name, value) in enumerate(self.items):
            if isinstance(value, dict):
                self.items[index] = name, {k: change(v) for k, v in value.items()}
            else:
                self.items[index] = name, change(value)

    def copy(self) -> Template:
        """A copy that shares no vectors."""
        return Template((k, dict(v) if isinstance(v, dict) else v) for k, v in self.items)

    def to_text(self) -> str:
        """The attributes in template syntax."""
        return "\n".join([f"{name}={_written(value)}" for name, value in self.items])

    def to_xml(self, root: str = "TEMPLATE") -> str:
        """The XML that oned writes: sorted by name, equal names in their original order."""
        ordered = sorted(self.items, key=lambda item: item[0])
        inner = "".join(
            [
                xml.cdata(name, value) if isinstance(value, str) else xml.vector(name, value)
                for name, value in ordered
            ]
        )
        return f"<{root}>{inner}</{root}>"


def _written(value: Value) -> str:
    if isinstance(value, dict):
        return f"[{','.join([f'{name}={_written(text)}' for name, text in value.items()])}]"
    return '"' + value.replace('"', '\\"') + '"'


def parse(text: str) -> Template:
    """Parses a template in template syntax or XML. TemplateError if it is malformed."""
    if text.lstrip().startswith("<"):
        return _parse_xml(text)
    template = Template(_Parser(text).attributes())
    for _, value in template.items:
        values = value.values() if isinstance(value, dict) else (value,)
        if any("]]>" in single for single in values):
            raise TemplateError("Parse error.")
    return template


def _parse_xml(text: str) -> Template:
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError:
        raise TemplateError("Parse error: XML Template malformed.") from None
    items: list[tuple[str, Value]] = []
    for child in root:
        if len(child):
            items.append((child.tag.upper(), {c.tag.upper(): c.text or "" for c in child}))
        else:
            items.append((child.tag.upper(), child.text or ""))
    return Template(items)


class _Parser:
    """A recursive-descent parser with the error messages of oned's."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._position = 0
        self._in_value = False
        self._last = (0, 0)

    def attributes(self) -> Iterator[tuple[str, Value]]:
        while True:
            token = self._next()
            if token.kind == "$end":
                return
            if token.kind != "VARIABLE":
                raise self._unexpected(token, "$end")
            name = _attribute_name(token.text)
            value = self._value()
            if value != {}:
                yield name, value

    def _value(self) -> Value:
        token = self._expect("EQUAL or EQUAL_EMPTY", "EQUAL", "EQUAL_EMPTY")
        if token.kind == "EQUAL_EMPTY":
            return ""
        token = self._expect("OBRACKET or CCDATA or STRING", "OBRACKET", "CCDATA", "STRING")
        return self._vector() if token.kind == "OBRACKET" else _unquote(token)

    def _vector(self) -> dict[str, str]:
        members: dict[str, str] = {}
        token = self._expect("CBRACKET or VARIABLE", "CBRACKET", "VARIABLE")
        while token.kind == "VARIABLE":
            equal = self._expect("EQUAL or EQUAL_EMPTY", "EQUAL", "EQUAL_EMPTY")
            value = ""
            if equal.kind == "EQUAL":
                value = _unquote(self._expect("STRING", "CCDATA", "STRING"))
            members[_attribute_name(token.text)] = value
            token = self._expect("COMMA or CBRACKET", "COMMA", "CBRACKET")
            if token.kind == "COMMA":
                token = self._expect("VARIABLE", "VARIABLE")
        return members

    def _expect(self, named: str, *kinds: str) -> _Token:
        token = self._next()
        if token.kind not in kinds:
            raise self._unexpected(token, named)
        return token

    def _next(self) -> _Token:
        while self._position < len(self._text):
            kind, text = self._scan()
            if kind != "skip":
                self._in_value = kind == "EQUAL"
                kind = "STRING" if kind == "word" else kind
                return _Token(kind, text, self._line(), *self._last)
        return _Token("$end", "", self._line(), *self._last)

    def _scan(self) -> tuple[str, str]:
        start = self._position
        state = _VALUE_STATE if self._in_value else _NAME_STATE
        at_line_start = start == 0 or self._text[start - 1] == "\n"
        match = _COMMENT.match(self._text, start) if at_line_start else None
        kind = "skip"
        if match is None or self._in_value:
            match = state.match(self._text, start)
            assert match is not None  # the last alternative takes any character
            kind = match.lastgroup or "skip"
        self._position = match.end()
        self._last = (start, self._position)
        return kind, match[0]

    def _line(self) -> int:
        return self._text.count("\n", 0, self._position)

    def _unexpected(self, token: _Token, named: str) -> TemplateError:
        columns = [len(self._text[:edge].encode()) + 1 for edge in (token.start, token.end)]
        return TemplateError(
            f"Parse error: syntax error, unexpected {token.kind}, expecting {named}"
            f" at line {token.line}, columns {columns[0]}:{columns[1]}"
        )


def _attribute_name(text: str) -> str:
    name = text.upper()
    return f"ONE_{name}" if name[0].isdigit() else name


def _unquote(token: _Token) -> str:
    if token.kind == "CCDATA":
        return token.text[_CDATA_EDGES[0] : -_CDATA_EDGES[1]]
    if token.text.startswith('"'):
        return token.text[1:-1].replace('\\"', '"')
    return token.text
