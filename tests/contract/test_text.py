"""Texts arrive unchanged, or are a 400 that names field and character."""

from __future__ import annotations

import json
from typing import Any

import pytest

from .device import Device, small

Json = dict[str, Any]

CARRIED = [
    'a quote " and two ""',
    'escaped \\" already',
    "back\\slash inside \\n",
    "[brackets] ] [",
    "a,b;c=d # e",
    "it's",
    "<b>&amp;</b> & <",
    "é ü 漢 ñ \u2028 \ufffd",
    "{'a': \"b\", 'c': [1, 2]}",
    "$NAME $USER[X] 100%",
    "]] >",
    "x" * 4096,
    "-- ; DROP",
]
SCHEDULED = {"TM_MAD_SYSTEM"}
"""What OpenNebula adds when a VM is deployed."""
REFUSED = [
    ("line\nbreak", "U+000A"),
    ("carriage\rreturn", "U+000D"),
    ("tab\there", "U+0009"),
    ("nul\x00", "U+0000"),
    ("del\x7f", "U+007F"),
    ("ends in a backslash\\", "backslash"),
    ("a ]]> b", "]]>"),
    ("${VMID}", "${"),
    ("smile 🙂", "U+1F642"),
    ("half \ud83d", "U+D83D"),
]
FIELDS = [
    "NAME",
    "FAAS.FLAVOUR",
    "SCHEDULING.POLICY",
    "SCHEDULING.REQUIREMENTS",
    "DEVICE_INFO.GEOGRAPHIC_LOCATION",
    "DEVICE_INFO.FURTHER",
]
CARRIED_INJECTIONS = [
    'x"] MEMORY="4096" INJ=[A="1',
    'x", INJ="1',
    'x\\"] INJ="1',
    'x\\\\"] INJ="1',
    "x] INJ=1 #",
    '"INJ="1',
    '\\" INJ="1',
    "</USER_TEMPLATE><INJ>1</INJ>",
]
"""Text that tries to add an attribute, and that OpenNebula can store as text."""
REFUSED_INJECTIONS = [
    'x"]\nMEMORY="4096"\nINJ=[A="1',
    'x"\nINJ=["',
    "]]></DEVICE_INFO><INJ>1</INJ><DEVICE_INFO><![CDATA[",
]


def with_text(field: str, text: str) -> Json:
    members: Json = {"FAAS": small()}
    part, _, name = field.partition(".")
    if name:
        members[part] = members.get(part, {}) | {name: text}
    else:
        members[part] = text
    return members


@pytest.mark.parametrize("text", CARRIED, ids=lambda t: repr(t)[:30])
def test_a_text_arrives_as_it_was_sent(device: Device, text: str) -> None:
    """In device info, in requirements (upper-cased there), in the name; at create and update."""
    other = text[:2000]
    # Characters not allowed in requirements: a quote ends the text, a dollar is substituted.
    requirements = 'NAME != "{}"'.format(other.replace('"', "'").replace("$", "S"))
    sent = {
        "NAME": text[:128],
        "SCHEDULING": {"REQUIREMENTS": requirements},
        "DEVICE_INFO": {"GEOGRAPHIC_LOCATION": text},
    }
    runtime = device.create(FAAS=small(), **sent)
    seen = device.one.vm(runtime["FAAS"]["VM_ID"])["USER_TEMPLATE"]
    assert seen["DEVICE_INFO"] == {"GEOGRAPHIC_LOCATION": text}
    assert seen["SCHED_REQUIREMENTS"] == requirements.upper()
    assert device.read_until(runtime["ID"], "RUNNING") | sent == device.read(runtime["ID"])
    updated = device.update(
        runtime["ID"], DEVICE_INFO={"GEOGRAPHIC_LOCATION": "x", "FURTHER": other}
    )
    assert updated["DEVICE_INFO"] == {"GEOGRAPHIC_LOCATION": "x", "FURTHER": other}
    seen = device.one.vm(runtime["FAAS"]["VM_ID"])["USER_TEMPLATE"]
    assert seen["DEVICE_INFO"] == {"GEOGRAPHIC_LOCATION": "x", "FURTHER": other}


def test_blanks_at_the_ends_are_kept_though_opennebula_7_cuts_them_off_in_the_vm(
    device: Device,
) -> None:
    """The runtime keeps them on each release, in the body of its document."""
    sent = {"GEOGRAPHIC_LOCATION": "  both  ", "FURTHER": " "}
    is_cut = not device.one.version().startswith("6.")
    in_vm = {name: text.strip() if is_cut else text for name, text in sent.items()}
    runtime = device.create(FAAS=small(), DEVICE_INFO=sent)
    vm_id = runtime["FAAS"]["VM_ID"]
    assert device.one.vm(vm_id)["USER_TEMPLATE"]["DEVICE_INFO"] == in_vm
    assert device.read_until(runtime["ID"], "RUNNING")["DEVICE_INFO"] == sent
    changed = {"GEOGRAPHIC_LOCATION": "x", "FURTHER": "  updated"}
    assert device.update(runtime["ID"], DEVICE_INFO=changed)["DEVICE_INFO"] == changed
    seen = device.one.vm(vm_id)["USER_TEMPLATE"]["DEVICE_INFO"]
    assert seen["FURTHER"] == ("updated" if is_cut else "  updated")
    assert device.read(runtime["ID"])["DEVICE_INFO"] == changed


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize(("text", "named"), REFUSED, ids=[repr(t)[:25] for t, _ in REFUSED])
def test_a_text_opennebula_cannot_store_is_a_400_that_names_field_and_character(
    device: Device, field: str, text: str, named: str
) -> None:
    answer = device.post(**with_text(field, text))
    assert answer.status == 400
    message = answer.json["message"]
    assert field in message
    assert named in message


def test_the_same_holds_in_an_update(device: Device) -> None:
    runtime = device.create_running()
    for text, named in REFUSED:
        answer = device.put(runtime["ID"], DEVICE_INFO={"GEOGRAPHIC_LOCATION": text})
        assert answer.status == 400
        assert named in answer.json["message"]
    assert device.read(runtime["ID"]) == runtime


@pytest.mark.parametrize(
    ("field", "limit"), [(f, 128 if f in ("NAME", "FAAS.FLAVOUR") else 4096) for f in FIELDS]
)
def test_a_text_that_is_too_long_is_a_400_that_names_the_field(
    device: Device, field: str, limit: int
) -> None:
    answer = device.post(**with_text(field, "x" * (limit + 1)))
    assert answer.status == 400
    assert field.rpartition(".")[2] in answer.json["message"]


@pytest.mark.parametrize("text", CARRIED_INJECTIONS, ids=lambda t: repr(t)[:30])
def test_an_injection_in_device_info_arrives_as_text(device: Device, text: str) -> None:
    """It adds no other attribute and changes none, at create and at update."""
    info = {"GEOGRAPHIC_LOCATION": text}
    runtime = device.create_running(FAAS=small())
    plain = device.one.vm(runtime["FAAS"]["VM_ID"])
    created = device.post(FAAS=small(), DEVICE_INFO=info)
    updated = device.put(runtime["ID"], DEVICE_INFO=info)
    assert (created.status, updated.status) == (201, 200)
    for answer in (created, updated):
        vm = device.one.vm(answer.runtime["FAAS"]["VM_ID"])
        assert set(vm["USER_TEMPLATE"]) == set(plain["USER_TEMPLATE"]) | {"DEVICE_INFO"}
        assert set(vm["TEMPLATE"]) | SCHEDULED == set(plain["TEMPLATE"]) | SCHEDULED
        assert vm["TEMPLATE"]["MEMORY"] == plain["TEMPLATE"]["MEMORY"]
        assert vm["USER_TEMPLATE"]["DEVICE_INFO"] == info


@pytest.mark.parametrize(
    ("part", "text"),
    [
        *[({"DEVICE_INFO": "GEOGRAPHIC_LOCATION"}, text) for text in REFUSED_INJECTIONS],
        *[({"SCHEDULING": "POLICY"}, t) for t in CARRIED_INJECTIONS + REFUSED_INJECTIONS],
    ],
    ids=lambda value: repr(value)[:30],
)
def test_an_injection_that_cannot_be_stored_as_text_is_a_400(
    device: Device, part: dict[str, str], text: str
) -> None:
    """A policy has to be an expression, so none of them is possible there."""
    members = {name: {member: text} for name, member in part.items()}
    runtime = device.create_running(FAAS=small())
    before = device.one.vm(runtime["FAAS"]["VM_ID"])["USER_TEMPLATE"]
    assert device.post(FAAS=small(), **members).status == 400
    assert device.put(runtime["ID"], **members).status == 400
    assert device.one.vm(runtime["FAAS"]["VM_ID"])["USER_TEMPLATE"] == before


def test_a_member_name_of_device_info_cannot_inject_either(device: Device) -> None:
    hostile = {'A="1"] INJ=[B': "x", "A]": "y", "a": "z", "OK": "kept"}
    runtime = device.create(FAAS=small(), DEVICE_INFO=hostile)
    assert runtime["DEVICE_INFO"] == {"OK": "kept"}
    seen = device.one.vm(runtime["FAAS"]["VM_ID"])["USER_TEMPLATE"]
    assert seen["DEVICE_INFO"] == {"OK": "kept"}
    assert "INJ" not in json.dumps(seen)
