"""Scheduling expressions: which texts OpenNebula's scheduler can parse."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provision_engine.engine.runtime.scheduling import (
    MAX_DEPTH,
    InvalidExpression,
    rank,
    requirements,
)

Check = Callable[[str], str]


def is_accepted(check: Check, text: str) -> bool:
    try:
        check(text)
    except InvalidExpression:
        return False
    return True


# ---- tables -------------------------------------------------------------------------------------


RANKS_OF_TABLE = """
FREE_CPU; free_cpu; 42; -42; 1.5; -A; - -A; A + B; A - 5; A * 2 / 3 - B; (A); -(A + B) * C;
"PCI/0000_01"; "A" + B; A\t+\tB
"""
REQUIREMENTS_OF_TABLE = """
A = 1; A=1; A = -1; A = 1.5; A = B; A = "text"; A = ""; A = "é漢 <&>"; A != B; A ! = B;
CLUSTER @> "100"; A @> 1; A > 1; A < 1.5; !A = 1; !!(A = 1); (A > 1) & (B < 2) | !(C = 3);
A = 1 & B = 2 | C = 3; "PCI/0000" = 1
"""


def test_an_expression_is_empty_or_as_the_grammar_says() -> None:
    for check, table in ((rank, RANKS_OF_TABLE), (requirements, REQUIREMENTS_OF_TABLE)):
        for text in ("", " \t ", *table.replace("\n", "").split(";")):
            check(text)


@pytest.mark.parametrize(
    ("check", "text", "position", "reason"),
    [
        # The scanner reads -5 as one number, so there is no operator.
        (rank, "A -5", 3, "expected an operator, not '-5'"),
        (rank, "A-5", 2, "expected an operator, not '-5'"),
        (rank, "A B", 3, "expected an operator, not 'B'"),
        (rank, "A +", 4, "not the end of the expression"),
        (rank, "+ A", 1, "expected an attribute, a number or '('"),
        (rank, "(A", 3, "expected ')'"),
        (rank, "A)", 2, "expected an operator"),
        (rank, "()", 2, "expected an attribute"),
        (rank, "A = 1", 3, "expected an operator"),
        (rank, "A % 2", 3, "'%' is not part of a scheduling expression"),
        (rank, "A; B", 2, "';' is not part"),
        (rank, "_A", 1, "'_' is not part"),
        (rank, ".5", 1, "'.' is not part"),
        (rank, "1.", 2, "'.' is not part"),
        (rank, "1.5.2", 4, "'.' is not part"),
        (rank, "A\nB", 2, "is not part"),
        (rank, "énergie", 1, "'é' is not part"),
        (rank, '""', 1, "is not the name of an attribute"),
        (rank, '"a b"', 1, "is not the name of an attribute"),
        (rank, '"A', 1, "the quote is never closed"),
        (requirements, "A", 2, "expected '=', '!=', '<', '>' or '@>'"),
        (requirements, "A == 1", 4, "expected a number or a text"),
        (requirements, "A >= 1", 4, "expected a number, not '='"),
        (requirements, "A > B", 5, "expected a number, not 'B'"),
        (requirements, 'A < "1"', 5, "expected a number"),
        (requirements, "A @ 1", 5, "expected '>'"),
        (requirements, "A ! 1", 5, "expected '='"),
        (requirements, "A =", 4, "not the end of the expression"),
        (requirements, "1 = A", 1, "expected an attribute"),
        (requirements, "A = 1 &", 8, "not the end of the expression"),
        (requirements, "A = 1 && B = 2", 8, "expected an attribute"),
        (requirements, "A = 1 AND B = 2", 7, "expected an operator, not 'AND'"),
        (requirements, "(A = 1", 7, "expected ')'"),
        (requirements, "A = 'x'", 5, '"\'" is not part'),
        (requirements, 'A = "x', 5, "the quote is never closed"),
        (requirements, '"" = 1', 1, '"" is not the name of an attribute'),
        (requirements, "A + 1 = 2", 3, "expected '='"),
    ],
)
def test_anything_else_is_refused_with_the_position_and_the_reason(
    check: Check, text: str, position: int, reason: str
) -> None:
    with pytest.raises(InvalidExpression) as caught:
        check(text)
    assert caught.value.position == position
    assert reason in caught.value.reason
    assert str(caught.value) == f"character {position}: {caught.value.reason}"


@pytest.mark.parametrize(
    ("check", "opening", "inner", "closing"),
    [
        (rank, "(", "A", ")"),
        (rank, "- ", "A", ""),
        (requirements, "(", "A = 1", ")"),
        (requirements, "!", "A = 1", ""),
    ],
)
def test_the_nesting_of_an_expression_is_limited(
    check: Check, opening: str, inner: str, closing: str
) -> None:
    check(opening * MAX_DEPTH + inner + closing * MAX_DEPTH)
    for depth in (MAX_DEPTH + 1, 4096):
        with pytest.raises(InvalidExpression, match="nested too deeply"):
            check(opening * depth + inner + closing * depth)


@pytest.mark.parametrize(
    ("check", "text", "expected"),
    [
        (rank, "", ""),
        (rank, "ENERGY", "ENERGY"),
        (rank, "ENERGY,LATENCY", "ENERGY + LATENCY"),
        (rank, "A * 2,-(B)", "A * 2 + -(B)"),
        (requirements, "", ""),
        (requirements, "x > 1", "x > 1"),
        (requirements, "x > 1,y = 2 | z = 3", "(x > 1) & (y = 2 | z = 3)"),
        (requirements, 'NAME = "a,b",x > 1', '(NAME = "a,b") & (x > 1)'),
    ],
)
def test_several_expressions_with_commas_between_become_one(
    check: Check, text: str, expected: str
) -> None:
    assert check(text) == expected


@pytest.mark.parametrize(
    ("check", "text", "position"),
    [
        (rank, "A,", 3),
        (rank, ",A", 1),
        (rank, "A,,B", 3),
        (rank, "(A,B)", 3),
        (requirements, "x > 1,", 7),
        (requirements, "(x > 1, y > 1)", 7),
    ],
)
def test_a_comma_stands_between_expressions(check: Check, text: str, position: int) -> None:
    with pytest.raises(InvalidExpression) as caught:
        check(text)
    assert caught.value.position == position


def test_parentheses_beside_one_another_are_not_nested() -> None:
    rank(" + ".join(["(A)"] * 10 * MAX_DEPTH))
    requirements(" & ".join(["!(A = 1)"] * 10 * MAX_DEPTH))


# ---- for any text -------------------------------------------------------------------------------

SCANNED = re.compile(r"""(?:[ \t0-9A-Za-z_.@!&|=><()*+/^-]|"[^"]*")*""")
"""The characters that the scanner knows; inside quotes, any."""

PIECES = ["A", "b_1", "-", "5", "1.5", '"', '""', '"x"', "é", "%", "\n", ".", "_", " "]
TEXTS = st.text(max_size=30) | st.lists(
    st.sampled_from([*PIECES, *"@!&|=><()*+/^,"]), max_size=12
).map("".join)
NAMES = st.from_regex(r"[A-Za-z][0-9A-Za-z_]{0,5}", fullmatch=True)
ATTRIBUTES = NAMES | st.from_regex(
    r'"[A-Za-z][0-9A-Za-z_]{0,3}(/[0-9A-Za-z_]{1,3}){0,2}"', fullmatch=True
)
NUMBERS = st.from_regex(r"-?[0-9]{1,4}(\.[0-9]{1,3})?", fullmatch=True)
QUOTED = st.text(st.characters(exclude_characters='"$'), max_size=8).map('"{}"'.format)


def joined(parts: st.SearchStrategy[str], operators: str) -> st.SearchStrategy[str]:
    """Two parts with an operator between."""
    return st.builds(
        lambda left, operator, right: f"{left} {operator} {right}",
        parts,
        st.sampled_from(operators),
        parts,
    )


RANKS = st.recursive(
    ATTRIBUTES | NUMBERS,
    lambda inner: joined(inner, "+-*/") | inner.map("({})".format) | inner.map("- ({})".format),
    max_leaves=8,
)
COMPARISONS = st.builds(
    " ".join,
    st.tuples(ATTRIBUTES, st.sampled_from(["=", "!=", "@>"]), NUMBERS | NAMES | QUOTED)
    | st.tuples(ATTRIBUTES, st.sampled_from([">", "<"]), NUMBERS),
)
REQUIREMENTS = st.recursive(
    COMPARISONS,
    lambda inner: joined(inner, "&|") | inner.map("({})".format) | inner.map("!({})".format),
    max_leaves=8,
)


@given(RANKS, REQUIREMENTS)
def test_every_expression_of_the_grammar_is_accepted(of_policy: str, required: str) -> None:
    rank(of_policy)
    requirements(required)


@pytest.mark.parametrize("check", [rank, requirements])
@given(text=TEXTS | RANKS | REQUIREMENTS)
def test_the_scheduler_gets_only_characters_that_its_scanner_knows_in_upper_case_too(
    check: Check, text: str
) -> None:
    if is_accepted(check, text):
        assert SCANNED.fullmatch(check(text)), text
        assert is_accepted(check, check(text))
        assert is_accepted(check, text.upper())


@pytest.mark.parametrize("check", [rank, requirements])
@given(text=TEXTS)
def test_the_position_of_an_error_is_in_the_text_or_at_its_end(check: Check, text: str) -> None:
    if not is_accepted(check, text):
        with pytest.raises(InvalidExpression) as caught:
            check(text)
        assert 1 <= caught.value.position <= len(text) + 1
