"""Texts arrive unchanged, or are a 400 that names field and character."""

from __future__ import annotations

import pytest

from .device import Device, Json, small

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
    # These try to add an attribute.
    'x"] MEMORY="4096" INJ=[A="1',
    'x", INJ="1',
    'x\\"] INJ="1',
    'x\\\\"] INJ="1',
    "x] INJ=1 #",
    '"INJ="1',
    '\\" INJ="1',
    "</USER_TEMPLATE><INJ>1</INJ>",
]
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
    ('x"]\nMEMORY="4096"\nINJ=[A="1', "U+000A"),
    ("]]></DEVICE_INFO><INJ>1</INJ><DEVICE_INFO><![CDATA[", "]]>"),
]
FIELDS = [
    "NAME",
    "FAAS.FLAVOUR",
    "SCHEDULING.POLICY",
    "SCHEDULING.REQUIREMENTS",
    "DEVICE_INFO.GEOGRAPHIC_LOCATION",
    "DEVICE_INFO.FURTHER",
]
ATTRIBUTES = {
    *("DEVICE_INFO", "FLAVOURS", "HOT_RESIZE", "ROLE_NAME", "SCHED_REQUIREMENTS", "SERVICE_ID")
}
"""Those of the user template; none of the texts adds one."""


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
    vm = device.one.vm(runtime["FAAS"]["VM_ID"])
    assert vm["TEMPLATE"]["MEMORY"] == "128"
    seen = vm["USER_TEMPLATE"]
    assert seen.keys() == ATTRIBUTES
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
