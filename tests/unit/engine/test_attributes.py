"""A specification and a VM template as a role's VM attributes."""

from __future__ import annotations

import base64

from provision_engine.cloud.client import Credentials
from provision_engine.engine.runtime.attributes import role_attributes, texts_of_several_lines
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
