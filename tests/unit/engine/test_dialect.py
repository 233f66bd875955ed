"""A role's VM attributes in both dialects of oneflow, as in recorded creates."""

from __future__ import annotations

import re

import pytest

from provision_engine.engine.runtime.dialect import (
    SEVEN,
    SIX,
    Dialect,
)
from provision_engine.engine.runtime.flow_template import FlowRole, FlowTemplate
from provision_engine.errors import NoFlowTemplate
from tests.unit.engine.samples import FUNCTION_TEMPLATE, attributes
from tests.unit.support import recorded


def parsed(text: str) -> dict:
    """Template syntax without escapes, as in the recorded bodies."""
    found: dict = {}
    for name, vector, quoted, plain in re.findall(
        r'(\w+)=(?:\[(.*?)\]|"([^"]*)"|([^\s,\]]+))', text, re.S
    ):
        found[name] = parsed(vector) if vector else quoted or plain
    return found


def merge(name: str, role_names: list[str], spoken: Dialect, flow_template_id: int) -> dict:
    flow = FlowTemplate(flow_template_id, tuple(FlowRole(role, 0) for role in role_names))
    added = {role: attributes(flow_template_id) for role in role_names}
    return flow.merge_template(spoken, name, added, dict.fromkeys(role_names, FUNCTION_TEMPLATE))


CASES = [
    ("create-faas", ["FAAS"], "Function_rec1"),
    ("create-faas-daas", ["FAAS", "DAAS"], "Function-Data_rec2"),
]


@pytest.mark.parametrize(("scenario", "role_names", "name"), CASES)
def test_the_text_for_release_6_says_what_a_recorded_create_said(
    scenario: str, role_names: list[str], name: str
) -> None:
    sent = recorded("instantiate")["6.8.0"][scenario]["action"]["params"]["merge_template"]
    flow_id = int(parsed(sent["roles"][0]["vm_template_contents"])["FLAVOURS"])
    ours = merge(name, role_names, SIX, flow_id)
    assert (ours["name"], ours["automatic_deletion"]) == (sent["name"], True)
    for mine, theirs in zip(ours["roles"], sent["roles"], strict=True):
        assert mine.keys() == theirs.keys()
        assert mine["name"] == theirs["name"]
        assert parsed(mine["vm_template_contents"]) == parsed(theirs["vm_template_contents"])


@pytest.mark.parametrize(("scenario", "role_names", "name"), CASES)
def test_the_object_for_release_7_says_what_a_recorded_create_said(
    scenario: str, role_names: list[str], name: str
) -> None:
    sent = recorded("instantiate")["7.4.0"][scenario]["action"]["params"]["merge_template"]
    flow_id = int(sent["roles"][0]["template_contents"]["FLAVOURS"])
    ours = merge(name, role_names, SEVEN, flow_id)
    assert ours == sent | {"automatic_deletion": True}


@pytest.mark.parametrize(
    ("version", "spoken"),
    [
        ("5.12.0", SIX),
        ("6.8.0", SIX),
        ("6.10.4", SIX),
        ("7.0.0", SEVEN),
        ("7.4.0", SEVEN),
        ("10.0.0", SEVEN),
    ],
)
def test_the_version_determines_the_dialect(version: str, spoken: Dialect) -> None:
    assert Dialect.from_version(version) is spoken


# ---- what the operator says ---------------------------------------------------------------------


def test_contents_stand_in_place_of_what_the_vm_template_says() -> None:
    vm_template = {"MEMORY": "128", "CONTEXT": {"A": "1", "B": "2"}, "NIC": {"NETWORK": "net"}}
    text = 'MEMORY="512"\nCONTEXT=[B="3"]\nNIC=[NETWORK_ID="$Public"]'
    six = SIX.operators({"vm_template_contents": text}, vm_template)
    assert six == {"MEMORY": "512", "CONTEXT": {"B": "3"}, "NIC": {"NETWORK_ID": "$Public"}}
    contents = {"MEMORY": 512, "CONTEXT": {"B": "3"}, "NIC": [{"NETWORK_ID": "$Public"}]}
    seven = SEVEN.operators({"template_contents": contents}, vm_template)
    assert seven == contents | {"MEMORY": "512", "CONTEXT": {"A": "1", "B": "3"}}


def test_what_is_no_attribute_in_contents_is_left_out_and_never_a_crash() -> None:
    contents = {"A": None, "B": [1, None, {"c": 2}], "D": [], "E": {"f": [1]}, "memory": 5.0}
    read = SEVEN.operators({"template_contents": contents}, {})
    assert read == {"B": ["1", {"c": "2"}], "E": {"f": "[1]"}, "MEMORY": "5.0"}
    for nonsense in (None, 5, [], {}):
        assert SEVEN.operators({"template_contents": nonsense}, {"A": "1"}) == {"A": "1"}
        assert SIX.operators({"vm_template_contents": nonsense}, {"A": "1"}) == {"A": "1"}


def test_release_6_gets_the_operators_contents_with_what_is_added() -> None:
    role = {"vm_template_contents": 'MEMORY="512"\nAPPEND="NIC"\nNOTE="${DAAS.template.memory}"'}
    made = SIX.merged_contents(role, {}, {"MEMORY": "64"})
    assert made == {
        "vm_template_contents": 'MEMORY="64"\nAPPEND="NIC"\nNOTE="${DAAS.template.memory}"'
    }


def test_release_7_gets_what_is_added_and_leaves_texts_of_several_lines_to_opennebula() -> None:
    vm_template = {
        "RAW": {"DATA": "<a>\n</a>"},
        "NOTE": "one\ntwo",
        "CONTEXT": {"START_SCRIPT": "a\nb", "TOKEN": "YES"},
    }
    context = {"START_SCRIPT_BASE64": "YQpi", "TOKEN": "YES"}
    made = SEVEN.merged_contents({}, vm_template, {"CONTEXT": context, "MEMORY": "64"})
    emptied = {"START_SCRIPT": []}
    assert made["template_contents"] == {
        "RAW": [],
        "CONTEXT": context | emptied,
        "MEMORY": "64",
    }


@pytest.mark.parametrize("text", ["MEMORY", "NIC=[NETWORK", 'A="1" B', "A=[=1]", "= 5"])
def test_contents_that_are_no_template_are_refused_with_the_role(text: str) -> None:
    with pytest.raises(NoFlowTemplate, match="Role FAAS of a flow template: character"):
        SIX.operators({"name": "FAAS", "vm_template_contents": text}, {})


@pytest.mark.parametrize("spoken", [SIX, SEVEN])
def test_each_user_input_gets_its_default(spoken: Dialect) -> None:
    body = {spoken.inputs: {"A": "M|text|What| |one|two", "B": "O|text|What", "C": 5}}
    assert spoken.input_values(body) == {spoken.values: {"A": "one|two", "B": ""}}
    assert spoken.input_values({spoken.inputs: []}) == spoken.input_values({}) == {}


@pytest.mark.parametrize("spoken", [SIX, SEVEN])
def test_mandatory_inputs_and_networks_need_a_default(spoken: Dialect) -> None:
    inputs = {"A": "M|text|What| |", "B": "O|text|What| |", "C": "M|text|What| |here", "D": "M|x"}
    networks = {"Public": "M|network|Public| |id:0", "Private": "M|network|Private| |"}
    body = {spoken.inputs: inputs, "networks": networks}
    assert spoken.missing_inputs(body) == ["A", "D", "Private"]
