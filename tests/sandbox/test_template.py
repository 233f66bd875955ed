"""Template syntax, beyond what the replay compares."""

from __future__ import annotations

import pytest

from provision_engine.sandbox.template import Template, TemplateError, parse


@pytest.mark.parametrize(
    ("text", "items"),
    [
        ("", []),
        ("a=1", [("A", "1")]),
        ("A = 1\nB = 2", [("A", "1"), ("B", "2")]),
        ("A=1 B=2", [("A", "1"), ("B", "2")]),
        ('A="x y"B="z"', [("A", "x y"), ("B", "z")]),
        ("A=\nB=1", [("A", ""), ("B", "1")]),
        ("V=[A=1,B=2]", [("V", {"A": "1", "B": "2"})]),
        ("V=[\n  A = 1,\n  B = 2 ]\n", [("V", {"A": "1", "B": "2"})]),
        ("V=[A=1,A=2]", [("V", {"A": "2"})]),
        ("V=[]", []),
        ('A=<![CDATA[x"]y]]>', [("A", 'x"]y')]),
        ("  # only a comment\nA=1", [("A", "1")]),
        (r'A="x\"]\nB=\"1"', [("A", 'x"]\\nB="1')]),
        ("<T><A>1</A><V><B>2</B></V></T>", [("A", "1"), ("V", {"B": "2"})]),
        ("<T><a>1</a><E/></T>", [("A", "1"), ("E", "")]),
    ],
)
def test_reads(text: str, items: list[tuple[str, object]]) -> None:
    assert parse(text).items == items


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("=", "unexpected EQUAL, expecting $end at line 0, columns 1:2"),
        ("A", "unexpected $end, expecting EQUAL or EQUAL_EMPTY at line 0, columns 1:2"),
        ("A=1 B", "unexpected $end, expecting EQUAL or EQUAL_EMPTY at line 0, columns 5:6"),
        ("V=[A=1", "unexpected $end, expecting COMMA or CBRACKET at line 0, columns 6:7"),
        ("V=[A=1,]", "unexpected CBRACKET, expecting VARIABLE at line 0, columns 8:9"),
        ("A=1\nV=[=]", "unexpected EQUAL, expecting CBRACKET or VARIABLE at line 1, columns 8:9"),
        ('A="é" B', "unexpected $end, expecting EQUAL or EQUAL_EMPTY at line 0, columns 8:9"),
        ("<T><A></T>", "XML Template malformed."),
    ],
)
def test_refuses(text: str, message: str) -> None:
    with pytest.raises(TemplateError) as error:
        parse(text)
    assert str(error.value).endswith(message)


def test_an_unescaped_quote_allows_injection() -> None:
    """What a careless caller would write for the value `x"] MEMORY="4096`."""
    injected = parse('INFO=[PLACE="x"]\nMEMORY="4096"\nINJ=[A="1"]')
    assert injected.text("MEMORY") == "4096"


def test_a_trailing_backslash_swallows_the_quote() -> None:
    with pytest.raises(TemplateError, match="unexpected VARIABLE"):
        parse('INFO=[PLACE="x\\"]\nNAME="y"\n')


@pytest.mark.parametrize("text", ['A="]]>"', 'V=[A="]]>"]', 'A="<![CDATA[x]]>"'])
def test_the_end_of_a_cdata_section_is_rejected(text: str) -> None:
    with pytest.raises(TemplateError, match=r"^Parse error\.$"):
        parse(text)


def test_merging_replaces_whole_vectors() -> None:
    old = parse("V=[A=1,B=2]\nV=[A=3]\nX=1")
    assert old.merged(parse("V=[B=9]")).items == [("X", "1"), ("V", {"B": "9"})]


def test_xml_is_in_alphabetical_order() -> None:
    template = Template([("B", "2"), ("V", {"Z": "1", "A": "<&"}), ("A", "1"), ("B", "0")])
    assert template.to_xml() == (
        "<TEMPLATE><A><![CDATA[1]]></A><B><![CDATA[2]]></B><B><![CDATA[0]]></B>"
        "<V><A><![CDATA[<&]]></A><Z><![CDATA[1]]></Z></V></TEMPLATE>"
    )
