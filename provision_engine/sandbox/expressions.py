"""``SCHED_REQUIREMENTS`` and ``SCHED_RANK``: their scanner, grammar and evaluation.

Requirements are comparisons like ``FREE_CPU > 10 & !(NAME = "host00")``; ranks are arithmetic.
Error messages are those of oned's parsers (scenario scheduling-expressions). The scanner skips and
echoes characters that it does not know; on 7.x that echo stops the scheduler (scenario
rank-that-stops-the-scheduler).
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from fnmatch import fnmatchcase
from typing import NamedTuple

Attributes = dict[str, str]
Test = Callable[[Attributes], bool]
Rank = Callable[[Attributes], float]

_TOKEN = re.compile(
    r'(?P<STRING>[A-Za-z][0-9A-Za-z_]*|"[^"]*")|(?P<FLOAT>-?[0-9]+\.[0-9]+)|(?P<INTEGER>-?[0-9]+)'
    r"|(?P<sign>[@!&|=><()*+/^-])|(?P<blank>[ \t]+)|(?P<unknown>[\s\S])"
)
_ORDER = (
    "'!'",
    "'&'",
    "'|'",
    "INTEGER",
    "STRING",
    "FLOAT",
    "'='",
    "'>'",
    "'<'",
    "'@'",
    "'('",
    "')'",
)
_MOST_EXPECTED = 4
"""An error message lists the expected tokens only if there are no more than that."""
_END = "end of file"


class Token(NamedTuple):
    """A token of an expression; the kind of a sign is the sign in single quotes."""

    kind: str
    text: str
    column: int


class ExpressionError(ValueError):
    """A syntax error; the message is oned's own, without the line."""


def scan(text: str) -> tuple[list[Token], list[str]]:
    """The tokens of an expression, and the characters unknown to the scanner."""
    tokens, unknown = [], []
    for match in _TOKEN.finditer(text):
        kind = match.lastgroup
        if kind == "unknown":
            unknown.append(match[0])
        elif kind != "blank":
            shown = f"'{match[0]}'" if kind == "sign" else str(kind)
            tokens.append(Token(shown, match[0].strip('"'), match.start() + 1))
    tokens.append(Token(_END, "", len(text) + 1))
    return tokens, unknown


def unknown_characters(text: str) -> list[str]:
    """The characters of an expression that are unknown to the scanner."""
    return scan(text)[1]


class _Reader:
    """Reads tokens one by one and raises the error for an unexpected one."""

    def __init__(self, text: str) -> None:
        self._tokens, _ = scan(text)

    @property
    def kind(self) -> str:
        return self._tokens[0].kind

    def take(self, *expected: str) -> Token:
        if self.kind not in expected:
            raise self._error(expected)
        token = self._tokens[0]
        if token.kind != _END:
            del self._tokens[0]
        return token

    def _error(self, expected: tuple[str, ...]) -> ExpressionError:
        token = self._tokens[0]
        named = sorted(expected, key=lambda kind: _ORDER.index(kind) if kind in _ORDER else -1)
        hint = f", expecting {' or '.join(named)}" if len(named) <= _MOST_EXPECTED else ""
        columns = f"columns {token.column}:{token.column + len(token.text)}"
        return ExpressionError(f"syntax error, unexpected {token.kind}{hint} at line 1, {columns}")


def compile_requirements(expression: str) -> Test:
    """Compiles requirements to a test of a host's attributes; ExpressionError if they are wrong."""
    reader = _Reader(expression)
    if reader.kind == _END:
        return lambda _: True
    test = _requirement(reader, _END)
    reader.take(_END)
    return test


def _requirement(reader: _Reader, closing: str) -> Test:
    """Comparisons joined by `&` and `|`, which have equal precedence and are left-associative."""
    left = _term(reader)
    while reader.kind != closing:
        sign = reader.take("'&'", "'|'", closing)
        left = _joined(left, sign.text, _term(reader))
    return left


def _joined(left: Test, sign: str, right: Test) -> Test:
    if sign == "&":
        return lambda host: left(host) and right(host)
    return lambda host: left(host) or right(host)


def _term(reader: _Reader) -> Test:
    token = reader.take("'!'", "STRING", "'('")
    if token.kind == "'!'":
        inner = _term(reader)
        return lambda host: not inner(host)
    if token.kind == "'('":
        inner = _requirement(reader, "')'")
        reader.take("')'")
        return inner
    return _comparison(reader, token.text.upper())


_VALUES = ("INTEGER", "STRING", "FLOAT")
_SIGNS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "'='": ((), _VALUES),
    "'!'": (("'='",), _VALUES),
    "'@'": (("'>'",), _VALUES),
    "'>'": ((), ("INTEGER", "FLOAT")),
    "'<'": ((), ("INTEGER", "FLOAT")),
}
"""By the first character of a comparison operator: the rest of it, and the kinds of values."""


def _comparison(reader: _Reader, name: str) -> Test:
    first = reader.take(*_SIGNS)
    rest, values = _SIGNS[first.kind]
    sign = first.text + (reader.take(*rest).text if rest else "")
    value = reader.take(*values)
    return lambda host: name in host and _compare(host[name], sign, value)


_NUMERIC: dict[str, Callable[[float, float], bool]] = {
    "=": operator.eq, "!=": operator.ne, "<": operator.lt, ">": operator.gt,
}  # fmt: skip


def _compare(found: str, sign: str, wanted: Token) -> bool:
    if sign == "@>":
        return wanted.text in found.split(",")
    if wanted.kind == "STRING":
        return fnmatchcase(found, wanted.text) == (sign == "=")
    try:
        return _NUMERIC[sign](float(found), float(wanted.text))
    except ValueError:
        return False


def compile_rank(expression: str) -> Rank:
    """Compiles a rank to a function of a host's attributes; ExpressionError if it is wrong."""
    reader = _Reader(expression)
    if reader.kind == _END:
        return lambda _: 0.0
    rank = _sum(reader)
    reader.take(_END)
    return rank


_ARITHMETIC: dict[str, Callable[[float, float], float]] = {
    "+": operator.add, "-": operator.sub, "*": operator.mul,
    "/": lambda left, right: left / right if right else 0.0,
}  # fmt: skip


def _sum(reader: _Reader) -> Rank:
    left = _product(reader)
    while reader.kind in ("'+'", "'-'"):
        left = _calculated(left, reader.take("'+'", "'-'").text, _product(reader))
    return left


def _product(reader: _Reader) -> Rank:
    left = _factor(reader)
    while reader.kind in ("'*'", "'/'"):
        left = _calculated(left, reader.take("'*'", "'/'").text, _factor(reader))
    return left


def _calculated(left: Rank, sign: str, right: Rank) -> Rank:
    return lambda host: _ARITHMETIC[sign](left(host), right(host))


def _factor(reader: _Reader) -> Rank:
    token = reader.take("INTEGER", "STRING", "FLOAT", "'-'", "'('")
    if token.kind == "'-'":
        inner = _factor(reader)
        return lambda host: -inner(host)
    if token.kind == "'('":
        inner = _sum(reader)
        reader.take("')'")
        return inner
    if token.kind == "STRING":
        return lambda host: _number(host.get(token.text.upper(), "0"))
    return lambda _: float(token.text)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0
