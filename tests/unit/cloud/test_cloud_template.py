"""Template syntax, compared with what real installations stored."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provision_engine.cloud import template
from provision_engine.cloud.objects import attributes, parse
from provision_engine.cloud.template import render, why_not
from tests.unit.support import recorded

THROUGH = recorded("through_oneflow")
SYNTAX = recorded("syntax")


def location(contents: str | dict) -> str:
    """GEOGRAPHIC_LOCATION as it was sent, without escapes."""
    if isinstance(contents, dict):
        return contents["DEVICE_INFO"]["GEOGRAPHIC_LOCATION"]
    written = re.search(r'GEOGRAPHIC_LOCATION="(.*)"\]\nFLAVOURS', contents, re.S)
    assert written
    return written[1].replace('\\"', '"')


def arrivals() -> dict[str, set[bool]]:
    """Each text that was sent through oneflow, and whether it arrived unchanged."""
    found: dict[str, set[bool]] = {}
    for case in THROUGH:
        sent = location(case["contents"])
        found.setdefault(sent, set()).add(case["arrived"] == sent)
    return found


@pytest.mark.parametrize(("text", "arrived"), arrivals().items(), ids=lambda x: repr(x)[:40])
def test_exactly_what_arrived_unchanged_on_both_releases_is_accepted(
    text: str, arrived: set[bool]
) -> None:
    assert (why_not(text) is None) is (arrived == {True})


def recorded_lines() -> list[tuple[str, str | None]]:
    """Each text that was written to oned as ``A="..."`` the way we write, and what it stored."""
    found = []
    for case in SYNTAX:
        line = case["template"].split("\n", 1)[-1]
        written = re.fullmatch(r'A="(.*)"', line, re.S)
        if written is None:
            continue
        text = written[1].replace('\\"', '"')
        if render({"A": text}) == line:
            stored = attributes(parse(case["stored"])).get("A") if case["accepted"] else None
            found.append((text, stored if isinstance(stored, str) or stored is None else None))
    return found


CARRIED_LINES = [(text, stored) for text, stored in recorded_lines() if why_not(text) is None]


@pytest.mark.parametrize(("text", "stored"), CARRIED_LINES, ids=lambda x: repr(x)[:40])
def test_accepted_text_is_stored_unchanged_by_oned(text: str, stored: str | None) -> None:
    assert stored == text


def test_the_recordings_cover_our_way_of_quoting() -> None:
    assert len(CARRIED_LINES) > 20


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("a\nb", "U+000A"),
        ("a\rb", "U+000D"),
        ("a\tb", "U+0009"),
        ("nul\x00", "U+0000"),
        ("del\x7f", "U+007F"),
        ("c1\x85", "U+0085"),
        ("ends \\", "backslash"),
        ("a]]>b", "]]>"),
        ("a${NAME}", "${"),
        ("smile 🙂", "U+1F642"),
        ("lone \ud800", "U+D800"),
        ("no character \uffff", "U+FFFF"),
    ],
)
def test_rejected_text_names_the_character_and_its_position(text: str, named: str) -> None:
    reason = why_not(text)
    assert reason is not None
    assert named in reason


@pytest.mark.parametrize(
    "text",
    [
        "",
        'quote " and \\" escaped',
        "[brackets] (and) {braces}",
        "a,b=c#d",
        "it's <b>&amp;",
        "é漢\u0101\ufffd",
        "$NAME $USER[X]",
        "] ]> ]]",
        "\\ first",
        "{'city': \"Madrid\", 'at': [1.5, 2]}",
        " blanks ",
    ],
)
def test_everything_else_is_accepted(text: str) -> None:
    assert why_not(text) is None


CARRIED = st.text(max_size=60).filter(lambda text: why_not(text) is None)


@given(CARRIED, CARRIED)
def test_no_accepted_text_ends_its_quotes(first: str, second: str) -> None:
    """oned knows one escape, a quote after a backslash; a string ends at the next quote."""
    written = render({"A": {"B": first, "C": second}})
    strings = re.findall(r'"((?:\\"|[^"])*)"', written)
    assert [text.replace('\\"', '"') for text in strings] == [first, second]
    assert re.sub(r'"(?:\\"|[^"])*"', "", written) == "A=[B=,C=]"


def test_a_repeated_name_is_written_several_times() -> None:
    assert render({"DISK": [{"A": "1"}, {"A": "2"}]}) == 'DISK=[A="1"]\nDISK=[A="2"]'


def test_a_documents_template_is_xml_in_which_a_name_is_escaped() -> None:
    made = parse(template.document('a <b> & "c" é', '{"x": "<&>"}'))
    assert made.findtext("NAME") == 'a <b> & "c" é'
    assert made.findtext("BODY") == '{"x": "<&>"}'


def test_a_body_that_would_end_its_cdata_section_is_refused() -> None:
    with pytest.raises(ValueError, match="CDATA"):
        template.document_body("]]>")


# ---- reading what operators write ---------------------------------------------------------------

NAMES = st.from_regex(r"[A-Z][A-Z0-9_]{0,8}", fullmatch=True)
TEXTS = st.text(max_size=20).filter(lambda text: why_not(text) is None)
VECTORS = st.dictionaries(NAMES, TEXTS, min_size=1, max_size=3)
VALUES = TEXTS | VECTORS | st.lists(TEXTS | VECTORS, min_size=2, max_size=3)


@given(st.dictionaries(NAMES, VALUES, max_size=4))
def test_what_is_rendered_is_read_back(written: dict) -> None:
    assert template.parse(render(written)) == written


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", {}),
        ("# only a comment\n\n", {}),
        ('memory = 512 \n\nCPU="0.1"', {"MEMORY": "512", "CPU": "0.1"}),
        ("# a comment\nA=1 # kept as it is\nB=2", {"A": "1 # kept as it is", "B": "2"}),
        (
            'NIC = [ NETWORK_ID = "$Public",\n  NAME = _NIC0 ]',
            {"NIC": {"NETWORK_ID": "$Public", "NAME": "_NIC0"}},
        ),
        ('A=[B="]",C="a,b=c"]', {"A": {"B": "]", "C": "a,b=c"}}),
        ('A="say \\"hi\\"\nto all"B="2"', {"A": 'say "hi"\nto all', "B": "2"}),
        ("A=\nB=1", {"A": "", "B": "1"}),
        ("A=1\nA=2", {"A": ["1", "2"]}),
    ],
)
def test_what_operators_write_is_read(text: str, expected: dict) -> None:
    assert template.parse(text) == expected


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("A", 1),
        ("A=1\nB", 5),
        ('A="x', 3),
        ("A=[B", 3),
        ("A=[B]", 4),
        ('A=[B="1" C="2"]', 4),
        ("<A/>", 1),
    ],
)
def test_what_is_no_template_is_refused_with_the_place(text: str, place: int) -> None:
    with pytest.raises(ValueError, match=f"character {place} "):
        template.parse(text)
