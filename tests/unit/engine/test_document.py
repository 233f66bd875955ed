"""A runtime as it is kept, also as the Ruby engine kept it."""

from __future__ import annotations

import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provision_engine.cloud.objects import Document, parse
from provision_engine.cloud.template import document_body
from provision_engine.engine.document import Phase, Runtime, StoredFunction
from provision_engine.errors import BadGateway, EngineError, NotFound
from tests.unit.support import document

FAAS = StoredFunction("nature", 2, 512, 1025, 592)
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
    return Runtime.of(document(body, **parts))


def status_of(body: object) -> int:
    """Of the answer to a read; what is no error of ours comes out as it is."""
    try:
        of(body)
    except EngineError as error:
        return error.status
    return 200


class TestADocumentOfTheRubyEngine:
    def test_has_integers_for_ids_and_sizes(self) -> None:
        runtime = of(RUBY)
        assert runtime.functions["FAAS"] == FAAS
        assert runtime.functions["DAAS"].vm_id == 593
        assert runtime.service_id == 850
        assert runtime.vm_ids == [592, 593]

    def test_is_finished_and_has_its_documents_name(self) -> None:
        runtime = of(RUBY, name="lamp 7")
        assert runtime.phase is Phase.READY
        assert runtime.name == "lamp 7"

    def test_keeps_scheduling_and_device_info(self) -> None:
        runtime = of(RUBY)
        assert runtime.scheduling == RUBY["SCHEDULING"]
        assert runtime.device_info == RUBY["DEVICE_INFO"]

    @pytest.mark.parametrize("daas", [None, {}, "", []])
    def test_has_no_daas_where_it_holds_nothing(self, daas: object) -> None:
        assert list(of({**RUBY, "DAAS": daas}).functions) == ["FAAS"]

    @pytest.mark.parametrize("nothing", [None, "", []])
    def test_may_hold_nothing_instead_of_an_object(self, nothing: object) -> None:
        runtime = of({**RUBY, "SCHEDULING": nothing, "DEVICE_INFO": nothing})
        assert (runtime.scheduling, runtime.device_info) == ({}, {})

    def test_is_the_same_after_it_was_written_by_us(self) -> None:
        runtime = of(RUBY)
        assert of(runtime.body) == runtime


def test_a_document_of_another_type_is_no_runtime() -> None:
    with pytest.raises(NotFound):
        of(RUBY, type_=100)


@pytest.mark.parametrize("body", ["", "no json", "[1]", "3", "null", '"x"'])
def test_a_body_that_is_no_json_object_is_nonsense_of_opennebula(body: str) -> None:
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
def test_whatever_a_users_own_document_holds_is_a_runtime_or_an_error_of_ours(body: object) -> None:
    try:
        runtime = of(body)
    except EngineError:
        return
    assert runtime.id == 9


@pytest.mark.parametrize("number", ["Infinity", "-Infinity", "1e999"])
def test_a_number_without_bounds_in_a_document_is_no_crash(number: str) -> None:
    text = '{"FAAS": {"FLAVOUR": "f", "VM_ID": %s}, "SERVICE_ID": %s}' % (number, number)  # noqa: UP031
    assert status_of(text) in (200, 502)


def test_a_phase_of_a_later_engine_is_no_crash() -> None:
    assert status_of({"FAAS": {"FLAVOUR": "f"}, "ENGINE": {"PHASE": "HIBERNATING"}}) in (200, 502)


RUNTIME = Runtime(
    id=9,
    name="a name",
    functions={"FAAS": FAAS},
    service_id=850,
    service_name="nature_x",
    created_at=1795484885,
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
def test_a_runtime_is_the_same_after_it_was_kept(
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
    kept = document(runtime.body, name=runtime.document_name)
    assert Runtime.of(kept) == runtime


@given(name=TEXT.filter(bool), text=TEXT | st.sampled_from(["]]>", "a]]>b", "<![CDATA[", "&lt;"]))
def test_the_body_survives_xml_whatever_texts_it_holds(name: str, text: str) -> None:
    runtime = dataclasses.replace(RUNTIME, name=name, device_info={"A": text})
    template = parse(document_body(runtime.body))
    assert json.loads(template.findtext("BODY") or "")["DEVICE_INFO"] == {"A": text}
    assert runtime.body.isascii()


@pytest.mark.parametrize(
    ("name", "fits"),
    [
        ("lamp", True),
        ("漢" * 42, True),
        ("漢" * 43, False),
        ("x" * 128, True),
        ("x" * 129, False),
        (" lamp", False),
        ("lamp ", False),
        ("ends with \\", False),
        ("🙂", False),
    ],
)
def test_a_name_that_opennebula_cannot_hold_is_kept_beside_the_documents_name(
    name: str, fits: bool
) -> None:
    runtime = dataclasses.replace(RUNTIME, name=name)
    assert runtime.document_name == (name if fits else "nature_x")
    assert Runtime.of(document(runtime.body, name=runtime.document_name)).name == name


def test_members_stand_where_the_ruby_engine_looks_for_them() -> None:
    body = json.loads(RUNTIME.body)
    assert body["SERVICE_ID"] == 850
    assert body["FAAS"] == {
        "FLAVOUR": "nature",
        "CPU": 2,
        "MEMORY": 512,
        "DISK_SIZE": 1025,
        "VM_ID": 592,
    }


def test_a_document_locked_says_since_when() -> None:
    xml = (
        "<DOCUMENT><ID>1</ID><UID>2</UID><NAME>n</NAME><TYPE>1337</TYPE><LOCK><LOCKED>3</LOCKED>"
        "<TIME>1795484884</TIME></LOCK><TEMPLATE><BODY>{}</BODY></TEMPLATE></DOCUMENT>"
    )
    assert Document.of(parse(xml)).locked_at == 1795484884
