"""The roles of a flow template: their dialect, their order, and which one plays what."""

from __future__ import annotations

import pytest

from provision_engine.engine.runtime.dialect import SEVEN, SIX, Dialect
from provision_engine.engine.runtime.flow_template import FlowRole, FlowTemplate, assign_roles
from provision_engine.engine.runtime.specification import Specification
from provision_engine.errors import BadRequest


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
    sent = {"name": "A"} | body
    assert FlowRole.from_body(sent) == FlowRole("A", 5, dialects, sent)


def test_roles_have_the_order_of_the_flow_template_since_release_6_merges_by_position() -> None:
    flow = (FlowRole("Other", 1), FlowRole("DAAS", 1), FlowRole("FAAS", 0))
    made = FlowTemplate(0, flow).merge_template(SIX, "n", {"FAAS": {"CPU": "1"}}, {"FAAS": {}})
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


@pytest.mark.parametrize(("spoken", "is_refused"), [(SIX, True), (SEVEN, False)])
def test_a_text_in_which_release_6_would_replace_a_name_is_refused(
    spoken: Dialect, is_refused: bool
) -> None:
    role = FlowRole("FAAS", 0, body={spoken.inputs: {"GREETING": "O|text|What"}})
    flow = FlowTemplate(0, (role,), body={"networks": {"Public": "M|network|What| |id:0"}})
    flow.check_texts(spoken, Specification(device_info={"NOTE": "$OTHER and Public"}))
    for text in ("say $GREETING", "in $Public"):
        sent = Specification(device_info={"NOTE": text})
        if not is_refused:
            flow.check_texts(spoken, sent)
            continue
        with pytest.raises(BadRequest, match=r"DEVICE_INFO\.NOTE: OpenNebula would replace \$"):
            flow.check_texts(spoken, sent)
