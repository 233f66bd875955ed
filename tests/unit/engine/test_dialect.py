"""A role's VM attributes in both dialects of oneflow, as in recorded creates."""

from __future__ import annotations

import re

import pytest

from provision_engine.engine.runtime.dialect import SEVEN, SIX, Dialect, FlowRole, assign_roles
from tests.unit.engine.samples import attributes
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
    flow = [FlowRole(role, 0) for role in role_names]
    by_role = {role: attributes(flow_template_id) for role in role_names}
    return spoken.merge_template(name, flow, by_role)


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


@pytest.mark.parametrize(
    ("body", "dialects"),
    [
        ({"vm_template": 5}, (SIX,)),
        ({"template_id": 5}, (SEVEN,)),
        ({"vm_template": 5, "template_id": 5}, (SEVEN, SIX)),
    ],
)
def test_a_role_tells_in_which_dialects_it_names_its_vm_template(
    body: dict[str, int], dialects: tuple[Dialect, ...]
) -> None:
    assert FlowRole.from_body({"name": "A"} | body) == FlowRole("A", 5, dialects)


def test_roles_have_the_order_of_the_flow_template_since_release_6_merges_by_position() -> None:
    flow = [FlowRole("Other", 1), FlowRole("DAAS", 1), FlowRole("FAAS", 0)]
    made = SIX.merge_template("n", flow, {"FAAS": {"CPU": "1"}})
    assert made["roles"] == [
        {"name": "Other"},
        {"name": "DAAS"},
        {"name": "FAAS", "vm_template_contents": 'CPU="1"'},
    ]


@pytest.mark.parametrize(
    ("flavours", "names", "indexes"),
    [
        ({"FAAS": "nature"}, ["FAAS"], {"FAAS": 0}),
        ({"FAAS": "nature", "DAAS": "s3"}, ["daas", "faas"], {"FAAS": 1, "DAAS": 0}),
        ({"FAAS": "nature", "DAAS": "s3"}, ["S3", "Nature"], {"FAAS": 1, "DAAS": 0}),
        ({"FAAS": "a", "DAAS": "b"}, ["first", "second"], {"FAAS": 0, "DAAS": 1}),
        ({"FAAS": "nature", "DAAS": "nature"}, ["nature", "other"], {"FAAS": 0, "DAAS": 1}),
        ({"FAAS": "a", "DAAS": "b"}, ["DAAS", "worker"], {"FAAS": 1, "DAAS": 0}),
        ({"FAAS": "a", "DAAS": "b"}, ["only"], {"FAAS": 0}),
        ({"FAAS": "a"}, [], {}),
    ],
)
def test_roles_are_found_by_name_then_flavour_then_position(
    flavours: dict[str, str], names: list[str], indexes: dict[str, int]
) -> None:
    assert assign_roles(flavours, names) == indexes
