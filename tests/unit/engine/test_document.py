"""The stored form of a runtime, including that of the Ruby engine."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provision_engine.cloud.objects import parse
from provision_engine.cloud.template import document_body
from provision_engine.engine.runtime.document import NAME_BYTES, body_of, name_of, to_runtime
from provision_engine.engine.runtime.model import Phase, Runtime
from provision_engine.errors import BadGateway, EngineError, NotFound
from tests.unit.support import OWNER, document, function

FAAS = function("nature", 2, 512, 1025, 592)
TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=40)

RUBY = {  # no ENGINE, and numbers as text
    "NAME": "nature5c2e4955",
    "FAAS": {
        "FLAVOUR": "nature",
        "CPU": "2",
        "MEMORY": "512",
        "DISK_SIZE": "1025",
        "VM_ID": "592",
        "STATE": "ACTIVE",
        "ENDPOINT": "10.0.0.7",
    },
    "DAAS": {"FLAVOUR": "s3", "VM_ID": 593},
    "SCHEDULING": {"POLICY": "energy", "REQUIREMENTS": "FREE_CPU > 10"},
    "DEVICE_INFO": {"LATENCY_TO_PE": "0.36", "GEOGRAPHIC_LOCATION": "Madrid"},
    "SERVICE_ID": "850",
}


def of(body: object, **parts: object) -> Runtime:
    return to_runtime(document(body, **parts))


def test_a_document_of_the_ruby_engine_is_a_runtime_and_the_same_once_it_was_written() -> None:
    runtime = of(RUBY, name="lamp 7")
    assert (runtime.name, runtime.phase, runtime.service_id) == ("lamp 7", Phase.READY, 850)
    assert runtime.functions["FAAS"] == FAAS
    assert runtime.vm_ids == [592, 593]
    assert runtime.scheduling == RUBY["SCHEDULING"]
    assert runtime.device_info == RUBY["DEVICE_INFO"]
    assert of(body_of(runtime), name="lamp 7") == runtime


@pytest.mark.parametrize("nothing", [None, {}, "", []])
def test_what_is_empty_in_it_is_absent(nothing: object) -> None:
    runtime = of({**RUBY, "DAAS": nothing, "SCHEDULING": nothing, "DEVICE_INFO": nothing})
    assert list(runtime.functions) == ["FAAS"]
    assert (runtime.scheduling, runtime.device_info) == ({}, {})


def test_a_document_of_another_type_is_not_a_runtime() -> None:
    with pytest.raises(NotFound):
        of(RUBY, type_=100)


@pytest.mark.parametrize("body", ["", "no json", "[1]", "3", "null", '"x"'])
def test_a_body_that_is_not_a_json_object_is_an_invalid_response(body: str) -> None:
    with pytest.raises(BadGateway):
        of(body)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_infinity=False) | TEXT,
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["FAAS", "DAAS", "VM_ID", "CPU", "SERVICE_ID", "ENGINE"]) | TEXT,
                inner,
                max_size=4,
            )
        ),
        max_leaves=12,
    )
)
def test_any_document_of_a_user_is_a_runtime_or_an_error(body: object) -> None:
    try:
        runtime = of(body)
    except EngineError:
        return
    assert runtime.id == 9


@pytest.mark.parametrize("number", ["Infinity", "-Infinity", "1e999"])
def test_an_infinite_number_in_a_document_is_ignored(number: str) -> None:
    text = '{"FAAS": {"FLAVOUR": "f", "VM_ID": %s}, "SERVICE_ID": %s}' % (number, number)  # noqa: UP031
    runtime = of(text)
    assert (runtime.vm_ids, runtime.service_id) == ([], None)


def test_a_phase_of_a_later_engine_is_reported() -> None:
    with pytest.raises(BadGateway, match="HIBERNATING"):
        of({"FAAS": {"FLAVOUR": "f"}, "ENGINE": {"PHASE": "HIBERNATING"}})


RUNTIME = Runtime(
    id=9,
    owner_id=OWNER,
    name="a name",
    functions={"FAAS": FAAS},
    service_id=850,
    service_name="nature_x",
    created_at=1795484885,
    intended_at=1795484885,
)


@given(
    name=TEXT.filter(bool),
    texts=st.dictionaries(st.sampled_from(["POLICY", "REQUIREMENTS"]), TEXT),
    device_info=st.dictionaries(
        st.from_regex(r"[A-Z][A-Z0-9_]{0,9}", fullmatch=True),
        TEXT | st.integers() | st.floats(allow_nan=False, allow_infinity=False),
    ),
    phase=st.sampled_from(Phase),
    vm_id=st.none() | st.integers(0, 2**31 - 1),
)
def test_a_runtime_is_the_same_after_it_was_stored(
    name: str, texts: dict, device_info: dict, phase: Phase, vm_id: int | None
) -> None:
    runtime = dataclasses.replace(
        RUNTIME,
        name=name,
        scheduling=texts,
        device_info=device_info,
        phase=phase,
        functions={"FAAS": dataclasses.replace(FAAS, vm_id=vm_id)},
    )
    assert of(body_of(runtime), name=name_of(runtime)) == runtime


@pytest.mark.parametrize(
    "parts",
    [
        {"worker": "host 7 8", "claimed_at": 1795484998},
        {"lease_seconds": 60, "lease_ends_at": 1795484945, "is_lease_renewed": True},
        {"is_suspended": True, "key": "k", "digest": "d", "blueprint": "b"},
        *(
            {"phase": phase, "intended_at": 1795484999, "worker": "host 7 8"}
            for phase in (Phase.CREATING, Phase.REPLACING, Phase.DELETING)
        ),
    ],
)
def test_whatever_else_is_known_of_a_runtime_is_stored(parts: dict[str, Any]) -> None:
    runtime = dataclasses.replace(RUNTIME, **parts)
    assert of(body_of(runtime)) == runtime
    assert of(body_of(runtime.released())) == runtime.released()


@given(name=TEXT.filter(bool), text=TEXT | st.sampled_from(["]]>", "a]]>b", "<![CDATA[", "&lt;"]))
def test_the_body_survives_xml_whatever_texts_it_holds(name: str, text: str) -> None:
    runtime = dataclasses.replace(RUNTIME, name=name, device_info={"A": text})
    template = parse(document_body(body_of(runtime)))
    assert json.loads(template.findtext("BODY") or "")["DEVICE_INFO"] == {"A": text}
    assert body_of(runtime).isascii()


@pytest.mark.parametrize(
    ("name", "accepted"),
    [
        ("lamp", "lamp"),
        ("é漢 `~!@%^*()+=[],.?", "é漢 `~!@%^*()+=[],.?"),
        ("漢" * 42, "漢" * 42),
        ("漢" * 43, "漢" * 42),
        ("x" * 128, "x" * 128),
        ("x" * 129, "x" * 128),
        (" lamp", "lamp"),
        ("lamp ", "lamp"),
        (" ", "nature_x"),
        ("a<b", "a_b"),
        ("a & b", "a _ b"),
        ("ends with \\", "ends with _"),
        ("\"'|:;/#{}$>", "_" * 11),
        ("🙂", "_"),
    ],
)
def test_a_name_that_opennebula_refuses_is_stored_beside_the_documents_name(
    name: str, accepted: str
) -> None:
    runtime = dataclasses.replace(RUNTIME, name=name)
    assert name_of(runtime) == accepted
    assert of(body_of(runtime), name=accepted).name == name
    assert ("NAME" in json.loads(body_of(runtime))["ENGINE"]) is (name != accepted)


@given(name=TEXT.filter(bool))
def test_no_document_has_a_name_that_opennebula_refuses(name: str) -> None:
    accepted = name_of(dataclasses.replace(RUNTIME, name=name))
    assert accepted == accepted.strip() != ""
    assert len(accepted.encode()) <= NAME_BYTES
    assert not set(accepted) & set("&|:\\\";/'#{}$<>\n\t\x7f")
    assert all(ord(character) <= 0xFFFF for character in accepted)
