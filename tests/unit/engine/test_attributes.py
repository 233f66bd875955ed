"""A specification and a VM template as a role's VM attributes."""

from __future__ import annotations

import base64

import pytest

from provision_engine.cloud.client import Credentials
from provision_engine.engine.runtime.attributes import (
    role_attributes,
    texts_of_several_lines,
    user_attributes,
    without_sent,
)
from provision_engine.engine.runtime.model import Function
from provision_engine.engine.runtime.specification import Specification
from tests.unit.engine.samples import ME, attributes
from tests.unit.support import configuration, function

CAPACITY = configuration().capacity


def test_every_value_of_the_object_is_text_vector_or_list_of_vectors() -> None:
    for name, value in attributes(0, lease_seconds=60).items():
        for one in value if isinstance(value, list) else [value]:
            texts = one.values() if isinstance(one, dict) else [one]
            assert all(isinstance(text, str) for text in texts), name


def test_the_multipliers_and_the_resize_mode_are_those_of_the_configuration() -> None:
    text = "capacity:\n  cpu: {mult: 3}\n  memory: {mult: 5, resize_mode: HOTPLUG}\n"
    made = role_attributes(
        function("f", 2, 100, 10), {}, Specification(), 1, configuration(text).capacity, None
    )
    assert (made["VCPU_MAX"], made["MEMORY_MAX"]) == ("6", "500")
    assert made["MEMORY_RESIZE_MODE"] == "HOTPLUG"


@pytest.mark.parametrize(
    ("template", "requested", "written"),
    [
        ({}, {}, {"CPU": "2", "VCPU": "2", "MEMORY": "1024"}),
        ({"CPU": "0.1", "VCPU": "2", "MEMORY": "512"}, {}, {}),
        ({"CPU": "0.5", "MEMORY": "512"}, {}, {}),
        ({"CPU": "3", "MEMORY": "512"}, {}, {"VCPU": "3"}),
        ({"VCPU": "3", "MEMORY": "512"}, {}, {"CPU": "3"}),
        ({"CPU": "0.1", "VCPU": "2", "MEMORY": "5"}, {"CPU": 2}, {"CPU": "2", "VCPU": "2"}),
        ({"CPU": "1", "VCPU": "1", "MEMORY": "5"}, {"MEMORY": 7}, {"MEMORY": "7"}),
        ({"CPU": "many", "MEMORY": "-5"}, {}, {"CPU": "2", "VCPU": "2", "MEMORY": "1024"}),
    ],
)
def test_sizes_stay_as_the_operator_wrote_them_unless_they_are_requested(
    template: dict[str, str], requested: dict[str, int], written: dict[str, str]
) -> None:
    made = role_attributes(Function("f", requested), template, Specification(), 1, CAPACITY, None)
    sizes = ("CPU", "VCPU", "MEMORY")
    assert {name: made[name] for name in sizes if name in made} == written


def test_a_topology_leaves_no_room_for_more_cores() -> None:
    made = attributes(0, {"TOPOLOGY": {"SOCKETS": "1"}})
    assert "VCPU_MAX" not in made
    assert "MEMORY_MAX" in made


def test_the_operators_scheduled_actions_stay_beside_a_lease_which_replaces_an_end() -> None:
    snapshot = {"ACTION": "snapshot-create", "TIME": "+3600"}
    for end in ("terminate", "terminate-hard"):
        template = {"SCHED_ACTION": [{"ACTION": end, "TIME": "+99"}, snapshot]}
        made = attributes(0, template, lease_seconds=60)
        assert made["SCHED_ACTION"] == [snapshot, {"ACTION": "terminate-hard", "TIME": "+60"}]
    assert "SCHED_ACTION" not in attributes(0, template)


@pytest.mark.parametrize(
    ("operators", "sent"),
    [("", ""), ("", "A > 1"), ("CLUSTER_ID=0 | B=2", ""), ("CLUSTER_ID=0 | B=2", "A > 1,C=3")],
)
def test_the_operators_requirements_are_found_again_in_those_of_a_vm(
    operators: str, sent: str
) -> None:
    scheduling = {"REQUIREMENTS": sent} if sent else {}
    made = user_attributes(scheduling, {}, operators).get("SCHED_REQUIREMENTS", operators)
    assert without_sent(made, scheduling) == operators


def test_requirements_that_a_person_has_written_into_a_vm_count_as_the_operators() -> None:
    assert without_sent("HOST = 1", {"REQUIREMENTS": "A > 1"}) == "HOST = 1"


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


def test_other_texts_of_several_lines_in_the_context_are_named() -> None:
    """oneflow 7 puts a comma before each newline, whatever we do."""
    context = {"USER_DATA": "#cloud-config\nruncmd: []\n", "START_SCRIPT": "a\nb", "ONE": "1"}
    assert texts_of_several_lines(attributes(0, {"CONTEXT": context})) == ["USER_DATA"]


def test_sr_auth_is_the_base64_of_user_and_password() -> None:
    token = Credentials("jürgen", "a:b:ç").token
    assert base64.b64decode(token).decode() == "jürgen:a:b:ç"
    assert attributes(0)["CONTEXT"]["SR_AUTH"] == ME.token


def test_scheduling_is_upper_cased_and_the_rank_is_the_policy() -> None:
    made = attributes(0, scheduling={"POLICY": "energy", "REQUIREMENTS": 'name = "é"'})
    assert (made["SCHED_RANK"], made["SCHED_REQUIREMENTS"]) == ("ENERGY", 'NAME = "É"')
