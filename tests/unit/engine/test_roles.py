"""A specification and a VM template as a role's VM attributes, in both dialects."""

from __future__ import annotations

import base64
import re

import pytest
from provision_engine.engine.roles import Dialect, FlowRole

from provision_engine.cloud.client import Credentials
from provision_engine.cloud.template import render
from provision_engine.engine import roles
from provision_engine.engine.document import StoredFunction
from provision_engine.engine.specification import Function, Specification
from tests.unit.support import configuration, recorded

CAPACITY = configuration().capacity
FUNCTION_TEMPLATE = {  # VM template 0 of the recordings
    "CONTEXT": {"NETWORK": "YES", "TOKEN": "YES"},
    "CPU": "1",
    "DISK": {"IMAGE": "img", "IMAGE_UNAME": "oneadmin"},
    "MEMORY": "128",
    "NIC": {"NETWORK": "net", "NETWORK_UNAME": "oneadmin"},
    "VCPU": "1",
}
SR_AUTH = roles.sr_auth(Credentials("devuser", "devpass"))
DEVICE = {
    "SCHEDULING": {"REQUIREMENTS": "free_cpu > 1", "POLICY": "free_cpu"},
    "DEVICE_INFO": {"LATENCY_TO_PE": 0.36, "GEOGRAPHIC_LOCATION": "Madrid"},
}


def attributes(flow_template_id: int, template: dict | None = None, **sent: object) -> dict:
    specification = Specification.of({"FAAS": {"FLAVOUR": "Function"}, **DEVICE, **sent})
    function = StoredFunction("Function", cpu=2, memory_mb=256, disk_size_mb=1025)
    return roles.role_attributes(
        function,
        FUNCTION_TEMPLATE if template is None else template,
        specification,
        flow_template_id,
        CAPACITY,
        SR_AUTH,
    )


def parsed(text: str) -> dict:
    """Template syntax without any escapes, as the recorded bodies have it."""
    found: dict = {}
    for name, vector, quoted, plain in re.findall(
        r'(\w+)=(?:\[(.*?)\]|"([^"]*)"|([^\s,\]]+))', text, re.S
    ):
        found[name] = parsed(vector) if vector else quoted or plain
    return found


def merge(name: str, role_names: list[str], dialect: Dialect, flow_template_id: int) -> dict:
    flow = [FlowRole(role, 0) for role in role_names]
    by_role = {role: attributes(flow_template_id) for role in role_names}
    return roles.merge_template(name, flow, by_role, dialect)


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
    ours = merge(name, role_names, Dialect.SIX, flow_id)
    assert ours["name"] == sent["name"]
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
    assert merge(name, role_names, Dialect.SEVEN, flow_id) == sent


@pytest.mark.parametrize(
    ("version", "dialect"),
    [
        ("5.12.0", Dialect.SIX),
        ("6.8.0", Dialect.SIX),
        ("6.10.4", Dialect.SIX),
        ("7.0.0", Dialect.SEVEN),
        ("7.4.0", Dialect.SEVEN),
        ("10.0.0", Dialect.SEVEN),
    ],
)
def test_the_version_tells_the_dialect(version: str, dialect: Dialect) -> None:
    assert Dialect.of(version) is dialect


def test_roles_stand_in_the_order_of_the_flow_template_since_release_6_merges_by_position() -> None:
    flow = [FlowRole("Other", 1), FlowRole("DAAS", 1), FlowRole("FAAS", 0)]
    made = roles.merge_template("n", flow, {"FAAS": {"CPU": "1"}}, Dialect.SIX)
    assert made["roles"] == [
        {"name": "Other"},
        {"name": "DAAS"},
        {"name": "FAAS", "vm_template_contents": 'CPU="1"'},
    ]


def test_every_value_of_the_object_is_text_vector_or_list_of_vectors() -> None:
    for name, value in attributes(0).items():
        for one in value if isinstance(value, list) else [value]:
            texts = one.values() if isinstance(one, dict) else [one]
            assert all(isinstance(text, str) for text in texts), name


def test_capacity_comes_with_its_maxima_and_the_flags_for_hot_resize() -> None:
    made = attributes(3)
    assert made["VCPU"] == made["CPU"] == "2"
    assert (made["VCPU_MAX"], made["MEMORY"], made["MEMORY_MAX"]) == ("4", "256", "512")
    assert made["MEMORY_RESIZE_MODE"] == "BALLOONING"
    assert made["HOT_RESIZE"] == {"CPU_HOT_ADD_ENABLED": "YES", "MEMORY_HOT_ADD_ENABLED": "YES"}


def test_the_multipliers_and_the_resize_mode_are_those_of_the_configuration() -> None:
    text = "capacity:\n  cpu: {mult: 3}\n  memory: {mult: 5, resize_mode: HOTPLUG}\n"
    made = roles.role_attributes(
        StoredFunction("f", 2, 100, 10),
        {},
        Specification.of({}),
        1,
        configuration(text).capacity,
        None,
    )
    assert (made["VCPU_MAX"], made["MEMORY_MAX"]) == ("6", "500")
    assert made["MEMORY_RESIZE_MODE"] == "HOTPLUG"


def test_scheduling_is_upper_cased_and_the_rank_is_the_policy() -> None:
    made = attributes(0, SCHEDULING={"POLICY": "energy", "REQUIREMENTS": 'name = "é"'})
    assert made["SCHED_RANK"] == "ENERGY"
    assert made["SCHED_REQUIREMENTS"] == 'NAME = "É"'


@pytest.mark.parametrize("nothing", [{}, {"POLICY": "", "REQUIREMENTS": ""}])
def test_empty_scheduling_makes_no_attribute(nothing: dict) -> None:
    made = attributes(0, SCHEDULING=nothing, DEVICE_INFO={"GEOGRAPHIC_LOCATION": ""})
    assert not {"SCHED_RANK", "SCHED_REQUIREMENTS", "DEVICE_INFO"} & made.keys()


def test_the_first_disk_gets_the_size_and_the_others_are_kept() -> None:
    disks = [
        {"IMAGE": "a", "SIZE": "10", "DEV_PREFIX": "vd"},
        {"IMAGE": "b", "SIZE": "77"},
        {"FORMAT": "raw"},
    ]
    made = attributes(0, {"DISK": disks})
    assert made["DISK"] == [{"IMAGE": "a", "SIZE": "1025", "DEV_PREFIX": "vd"}, *disks[1:]]
    assert disks[0]["SIZE"] == "10", "the template, which is remembered, must not change"


def test_a_vm_template_without_disk_gets_none() -> None:
    assert "DISK" not in attributes(0, {"CPU": "1"})


def test_the_context_of_the_vm_template_is_kept() -> None:
    context = {"NETWORK": "YES", "SSH_PUBLIC_KEY": "$USER[SSH_PUBLIC_KEY]", "REPORT_READY": "YES"}
    made = attributes(0, {"CONTEXT": context})
    assert made["CONTEXT"] == {**context, "SR_AUTH": SR_AUTH}


def test_a_script_of_several_lines_survives_as_base64() -> None:
    made = attributes(0, {"CONTEXT": {"START_SCRIPT": "#!/bin/sh\necho 1\n"}})["CONTEXT"]
    assert "START_SCRIPT" not in made
    assert base64.b64decode(made["START_SCRIPT_BASE64"]) == b"#!/bin/sh\necho 1\n"


def test_other_texts_of_several_lines_in_the_context_are_told_of() -> None:
    """oneflow 7 puts a comma before each newline (opennebula.md), whatever we do."""
    context = {"USER_DATA": "#cloud-config\nruncmd: []\n", "START_SCRIPT": "a\nb", "ONE": "1"}
    made = attributes(0, {"CONTEXT": context})
    assert roles.texts_of_several_lines(made) == ["USER_DATA"]


def test_sr_auth_is_the_base64_of_user_and_password() -> None:
    made = roles.sr_auth(Credentials("jürgen", "a:b:ç"))
    assert base64.b64decode(made).decode() == "jürgen:a:b:ç"


def test_sr_auth_can_be_turned_off() -> None:
    made = roles.role_attributes(
        StoredFunction("f", 1, 1, 1), FUNCTION_TEMPLATE, Specification.of({}), 1, CAPACITY, None
    )
    assert made["CONTEXT"] == FUNCTION_TEMPLATE["CONTEXT"]


def test_nothing_but_the_attributes_of_the_contract_is_set() -> None:
    assert set(attributes(0)) == {
        *("CPU", "VCPU", "MEMORY", "VCPU_MAX", "MEMORY_MAX", "MEMORY_RESIZE_MODE", "HOT_RESIZE"),
        *("DISK", "CONTEXT", "SCHED_REQUIREMENTS", "SCHED_RANK", "DEVICE_INFO", "FLAVOURS"),
    }


@pytest.mark.parametrize(
    ("asked", "template", "made"),
    [
        ((3, 300, 3000), {"CPU": "8", "MEMORY": "800", "DISK": {"SIZE": "80"}}, (3, 300, 3000)),
        ((None,) * 3, {"CPU": "8", "MEMORY": "800", "DISK": {"SIZE": "80"}}, (8, 800, 80)),
        ((None,) * 3, {"CPU": "0.5", "DISK": {"IMAGE": "i"}}, (1, 1024, 1024)),
        ((None,) * 3, {}, (2, 1024, 1024)),
        ((None,) * 3, {"CPU": "x", "MEMORY": "", "DISK": [{"SIZE": "5"}, {}]}, (2, 1024, 5)),
        ((None, 1, None), {"CPU": "4"}, (4, 1, 1024)),
    ],
)
def test_capacity_is_as_asked_else_of_the_vm_template_else_of_the_configuration(
    asked: tuple, template: dict, made: tuple
) -> None:
    size = roles.size(Function("f", *asked), template, CAPACITY)
    assert (size.cpu, size.memory_mb, size.disk_size_mb) == made
    assert size.flavour == "f"


def test_the_text_of_a_vector_is_one_the_recordings_show() -> None:
    assert render({"DEVICE_INFO": {"A": "1", "B": 'x"y'}}) == 'DEVICE_INFO=[A="1",B="x\\"y"]'


@pytest.mark.parametrize(
    ("flavours", "names", "places"),
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
def test_roles_are_found_by_name_else_flavour_else_position_and_play_one_part(
    flavours: dict[str, str], names: list[str], places: dict[str, int]
) -> None:
    assert roles.assign_roles(flavours, names) == places
