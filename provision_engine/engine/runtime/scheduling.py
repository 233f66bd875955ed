"""Scheduling expressions: which texts OpenNebula's scheduler can parse.

A requirement that does not parse leaves its VM waiting for ever, and on OpenNebula 7 a rank with
a character that the scanner does not know stops the scheduling of the whole cloud. So both are
checked before they are sent. The tokens and the grammar are OpenNebula's own (scenarios
``scheduling-expressions`` and ``rank-that-stops-the-scheduler`` of the recordings).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

MAX_DEPTH = 50
"""Parentheses and signs inside one another; no sensible expression comes near."""

_TOKENS = re.compile(
    r"""(?P<blank>[ \t]+)
      | (?P<float>-?[0-9]+\.[0-9]+)
      | (?P<integer>-?[0-9]+)
      | (?P<name>[A-Za-z][0-9A-Za-z_]*)
      | (?P<string>"[^"]*")
      | (?P<operator>[@!&|=><()*+/^-])""",
    re.VERBOSE,
)
_ATTRIBUTE = re.compile(r"[A-Za-z][0-9A-Za-z_]*(/[0-9A-Za-z_]+)*")
"""What may stand in a quoted name of an attribute."""
_NUMBERS = ("integer", "float")


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


def check_rank(text: str) -> None:
    """Raise InvalidExpression unless the text is an arithmetic expression, or empty."""
    _Parser(text).parse(_Parser.arithmetic)


def check_requirements(text: str) -> None:
    """Raise InvalidExpression unless the text is a boolean expression, or empty."""
    _Parser(text).parse(_Parser.boolean)


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
    """A recursive descent over the tokens of one expression."""

    def __init__(self, text: str) -> None:
        self._tokens = list(_tokens(text))
        self._next = 0
        self._depth = 0

    def parse(self, expression: Callable[[_Parser], None]) -> None:
        if self._token.kind == "end":
            return
        expression(self)
        if self._token.kind != "end":
            raise self._unexpected("an operator")

    # ---- rank ----------------------------------------------------------------------------

    def arithmetic(self) -> None:
        """Read ``operand (("+" | "-" | "*" | "/") operand)*``"""
        self._operand()
        while self._accept("+", "-", "*", "/"):
            self._operand()

    def _operand(self) -> None:
        if self._accept("-"):
            self._nested(self._operand)
        elif self._accept("("):
            self._nested(self.arithmetic)
            self._expect(")")
        elif self._token.kind in _NUMBERS:
            self._advance()
        else:
            self._attribute("an attribute, a number or '('")

    # ---- requirements ----------------------------------------------------------------------

    def boolean(self) -> None:
        """Read ``condition (("&" | "|") condition)*``"""
        self._condition()
        while self._accept("&", "|"):
            self._condition()

    def _condition(self) -> None:
        if self._accept("!"):
            self._nested(self._condition)
        elif self._accept("("):
            self._nested(self.boolean)
            self._expect(")")
        else:
            self._comparison()

    def _comparison(self) -> None:
        self._attribute("an attribute, '!' or '('")
        takes_text = self._comparator()
        kinds = (*_NUMBERS, "name", "string") if takes_text else _NUMBERS
        if self._token.kind not in kinds:
            raise self._unexpected("a number or a text" if takes_text else "a number")
        if "$" in self._token.text:
            position = self._token.position + self._token.text.index("$")
            raise InvalidExpression("OpenNebula would substitute what follows '$'", position)
        self._advance()

    def _comparator(self) -> bool:
        """Return whether what follows may be a text: only numbers are greater or less."""
        if self._accept("!"):
            self._expect("=")
            return True
        if self._accept("@"):
            self._expect(">")
            return True
        if self._accept("="):
            return True
        if self._accept(">", "<"):
            return False
        raise self._unexpected("'=', '!=', '<', '>' or '@>'")

    # ---- tokens ------------------------------------------------------------------------------

    @property
    def _token(self) -> _Token:
        return self._tokens[self._next]

    def _attribute(self, expected: str) -> None:
        token = self._token
        if token.kind not in ("name", "string"):
            raise self._unexpected(expected)
        if not _ATTRIBUTE.fullmatch(token.text.strip('"')):
            raise InvalidExpression(f"{token.text} is not the name of an attribute", token.position)
        self._advance()

    def _accept(self, *operators: str) -> bool:
        if self._token.kind == "operator" and self._token.text in operators:
            self._advance()
            return True
        return False

    def _expect(self, operator: str) -> None:
        if not self._accept(operator):
            raise self._unexpected(repr(operator))

    def _advance(self) -> None:
        self._next += 1

    def _nested(self, rule: Callable[[], None]) -> None:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise InvalidExpression("nested too deeply", self._token.position)
        rule()
        self._depth -= 1

    def _unexpected(self, expected: str) -> InvalidExpression:
        token = self._token
        return InvalidExpression(f"expected {expected}, not {token}", token.position)
