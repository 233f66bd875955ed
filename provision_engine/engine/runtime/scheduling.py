"""Scheduling expressions: which texts OpenNebula's scheduler can parse, and what it gets of them.

A requirement that does not parse leaves its VM waiting for ever, and on OpenNebula 7 a rank with
a character that the scanner does not know stops the scheduling of the whole cloud. So both are
checked before they are sent. The tokens and the grammar are OpenNebula's own (scenarios
``scheduling-expressions`` and ``rank-that-stops-the-scheduler`` of the recordings).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

MAX_DEPTH = 50
"""Parentheses and signs inside one another; no sensible expression comes near."""

_TOKENS = re.compile(
    r"""(?P<blank>[ \t]+)
      | (?P<float>-?[0-9]+\.[0-9]+)
      | (?P<integer>-?[0-9]+)
      | (?P<name>[A-Za-z][0-9A-Za-z_]*)
      | (?P<string>"[^"]*")
      | (?P<operator>[@!&|=><()*+/^,-])""",
    re.VERBOSE,
)
_ATTRIBUTE = re.compile(r"[A-Za-z][0-9A-Za-z_]*(/[0-9A-Za-z_]+)*")
"""What may stand in a quoted name of an attribute."""
_NUMBERS: tuple[str, ...] = ("integer", "float")


class InvalidExpression(ValueError):
    """A text that the scheduler cannot parse; ``position`` counts characters from 1."""

    def __init__(self, reason: str, position: int) -> None:
        super().__init__(f"character {position}: {reason}")
        self.reason, self.position = reason, position


@dataclass(frozen=True)
class _Token:
    kind: str
    text: str
    position: int

    def __str__(self) -> str:
        return "the end of the expression" if self.kind == "end" else repr(self.text)


def rank(text: str) -> str:
    """Return the rank of a policy: the sum of its expressions, which commas separate.

    Raises InvalidExpression unless each one is an arithmetic expression, or the text is empty.
    """
    return " + ".join(_Parser(text).parts("-", "+-*/", _Parser.operand))


def requirements(text: str) -> str:
    """Return the requirements of a text, in which commas separate what has to hold all together.

    Raises InvalidExpression unless each one is a boolean expression, or the text is empty.
    """
    return all_of(_Parser(text).parts("!", "&|", _Parser.comparison))


def all_of(expressions: Iterable[str]) -> str:
    """Return the requirements that hold where each one of several does; empty ones are left out."""
    several = [expression for expression in expressions if expression.strip()]
    return several[0] if len(several) == 1 else " & ".join(f"({one})" for one in several)


def _tokens(text: str) -> Iterator[_Token]:
    position = 0
    while position < len(text):
        found = _TOKENS.match(text, position)
        if found is None:
            raise InvalidExpression(_unknown(text[position]), position + 1)
        if found.lastgroup != "blank":
            yield _Token(str(found.lastgroup), found[0], position + 1)
        position = found.end()
    yield _Token("end", "", len(text) + 1)


def _unknown(character: str) -> str:
    if character == '"':
        return "the quote is never closed"
    return f"{character!r} is not part of a scheduling expression"


class _Parser:
    """Reads the tokens of one expression, one after the other."""

    def __init__(self, text: str) -> None:
        self._text, self._tokens = text, list(_tokens(text))
        self._next = 0

    def parts(self, sign: str, operators: str, read: Callable[[_Parser], None]) -> list[str]:
        """Return the expressions between commas, each one ``part (operator part)*``.

        A part is read by ``read``, or follows a sign, or is an expression in parentheses.
        """
        if self._token.kind == "end":
            return []
        opened, commas = list[str](), list[int]()
        while True:
            while opening := self._accept(f"{sign}("):
                opened.append(opening)
                if len(opened) > MAX_DEPTH:
                    raise InvalidExpression("nested too deeply", self._token.position)
            read(self)
            while opened and (opened[-1] == sign or self._accept(")")):
                opened.pop()
            position = self._token.position - 1
            if self._accept(operators):
                continue
            if opened:
                raise self._unexpected("')'")
            if self._accept(","):
                commas.append(position)
            elif self._token.kind == "end":
                starts, ends = [0, *(n + 1 for n in commas)], [*commas, None]
                return [self._text[a:b] for a, b in zip(starts, ends, strict=True)]
            else:
                raise self._unexpected("an operator")

    def operand(self) -> None:
        """Read a part of a rank."""
        if self._token.kind in _NUMBERS:
            self._next += 1
        else:
            self._attribute("an attribute, a number or '('")

    def comparison(self) -> None:
        """Read a part of requirements. Only numbers are greater or less."""
        self._attribute("an attribute, '!' or '('")
        kinds, expected = _NUMBERS, "a number"
        if not self._accept("><"):
            kinds, expected = (*_NUMBERS, "name", "string"), "a number or a text"
            self._equality()
        if self._token.kind not in kinds:
            raise self._unexpected(expected)
        if "$" in self._token.text:
            position = self._token.position + self._token.text.index("$")
            raise InvalidExpression("OpenNebula would substitute what follows '$'", position)
        self._next += 1

    def _equality(self) -> None:
        first = self._accept("=!@")
        if not first:
            raise self._unexpected("'=', '!=', '<', '>' or '@>'")
        second = {"!": "=", "@": ">"}.get(first)
        if second and not self._accept(second):
            raise self._unexpected(repr(second))

    def _attribute(self, expected: str) -> None:
        token = self._token
        if token.kind not in ("name", "string"):
            raise self._unexpected(expected)
        if not _ATTRIBUTE.fullmatch(token.text.strip('"')):
            raise InvalidExpression(f"{token.text} is not the name of an attribute", token.position)
        self._next += 1

    @property
    def _token(self) -> _Token:
        return self._tokens[self._next]

    def _accept(self, operators: str) -> str:
        """Return the next token, read, if it is one of the operators; else nothing."""
        token = self._token
        if token.kind != "operator" or token.text not in operators:
            return ""
        self._next += 1
        return token.text

    def _unexpected(self, expected: str) -> InvalidExpression:
        token = self._token
        return InvalidExpression(f"expected {expected}, not {token}", token.position)
