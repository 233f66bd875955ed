"""A specification and a VM template as a role's VM attributes."""

from __future__ import annotations

import base64

import pytest

from provision_engine.cloud.client import Credentials
from provision_engine.cloud.template import render
from provision_engine.engine.runtime.attributes import role_attributes, texts_of_several_lines
from provision_engine.engine.runtime.specification import Specification
from tests.unit.engine.samples import FUNCTION_TEMPLATE, ME, attributes
from tests.unit.support import configuration, function

CAPACITY = configuration().capacity


def test_every_value_of_the_object_is_text_vector_or_list_of_vectors() -> None:
    for name, value in attributes(0, lease_seconds=60).items():
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
    made = role_attributes(
        function("f", 2, 100, 10), {}, Specification(), 1, configuration(text).capacity, None
    )
    assert (made["VCPU_MAX"], made["MEMORY_MAX"]) == ("6", "500")
    assert made["MEMORY_RESIZE_MODE"] == "HOTPLUG"


def test_scheduling_is_upper_cased_and_the_rank_is_the_policy() -> None:
    made = attributes(0, scheduling={"POLICY": "energy", "REQUIREMENTS": 'name = "é"'})
    assert made["SCHED_RANK"] == "ENERGY"
    assert made["SCHED_REQUIREMENTS"] == 'NAME = "É"'


def test_empty_scheduling_makes_no_attribute() -> None:
    made = attributes(0, scheduling={}, device_info={})
    assert not {"SCHED_RANK", "SCHED_REQUIREMENTS", "DEVICE_INFO"} & made.keys()


def test_a_lease_is_an_action_of_opennebula_itself() -> None:
    made = attributes(0, lease_seconds=3600)
    assert made["SCHED_ACTION"] == {"ACTION": "terminate-hard", "TIME": "+3600"}
    assert "SCHED_ACTION" not in attributes(0)


def test_the_first_disk_gets_the_size_and_the_others_stay() -> None:
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


def test_the_context_of_the_vm_template_stays() -> None:
    context = {"NETWORK": "YES", "SSH_PUBLIC_KEY": "$USER[SSH_PUBLIC_KEY]", "REPORT_READY": "YES"}
    made = attributes(0, {"CONTEXT": context})
    assert made["CONTEXT"] == {**context, "SR_AUTH": ME.token}


def test_a_script_of_several_lines_survives_as_base64() -> None:
    made = attributes(0, {"CONTEXT": {"START_SCRIPT": "#!/bin/sh\necho 1\n"}})["CONTEXT"]
    assert "START_SCRIPT" not in made
    assert base64.b64decode(made["START_SCRIPT_BASE64"]) == b"#!/bin/sh\necho 1\n"


def test_other_texts_of_several_lines_in_the_context_are_named() -> None:
    """oneflow 7 puts a comma before each newline, whatever we do."""
    context = {"USER_DATA": "#cloud-config\nruncmd: []\n", "START_SCRIPT": "a\nb", "ONE": "1"}
    assert texts_of_several_lines(attributes(0, {"CONTEXT": context})) == ["USER_DATA"]


def test_sr_auth_is_the_base64_of_user_and_password() -> None:
    token = Credentials("jürgen", "a:b:ç").token
    assert base64.b64decode(token).decode() == "jürgen:a:b:ç"
    assert attributes(0)["CONTEXT"]["SR_AUTH"] == ME.token


def test_sr_auth_can_be_turned_off() -> None:
    made = role_attributes(
        function("f", 1, 1, 1), FUNCTION_TEMPLATE, Specification(), 1, CAPACITY, None
    )
    assert made["CONTEXT"] == FUNCTION_TEMPLATE["CONTEXT"]


def test_nothing_but_the_attributes_of_the_contract_is_set() -> None:
    assert set(attributes(0)) == {
        *("CPU", "VCPU", "MEMORY", "VCPU_MAX", "MEMORY_MAX", "MEMORY_RESIZE_MODE", "HOT_RESIZE"),
        *("DISK", "CONTEXT", "SCHED_REQUIREMENTS", "SCHED_RANK", "DEVICE_INFO", "FLAVOURS"),
    }


@pytest.mark.parametrize(
    ("value", "text"), [(1, "1"), (0, "0"), (0.36, "0.36"), ('x"y', 'x"y'), (-1.5, "-1.5")]
)
def test_device_info_is_stored_as_text(value: object, text: str) -> None:
    assert attributes(0, device_info={"A": value})["DEVICE_INFO"] == {"A": text}


def test_the_text_of_a_vector_is_one_the_recordings_show() -> None:
    assert render({"DEVICE_INFO": {"A": "1", "B": 'x"y'}}) == 'DEVICE_INFO=[A="1",B="x\\"y"]'
