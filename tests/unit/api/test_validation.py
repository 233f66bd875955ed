"""A body becomes a checked specification, or a 400 that names the place."""

from __future__ import annotations

import json
import logging
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provision_engine.api import validation
from provision_engine.engine.specification import Function, Specification
from provision_engine.errors import BadRequest

FAAS = {"FLAVOUR": "nature"}


def body(**members: Any) -> bytes:
    return json.dumps({"SERVERLESS_RUNTIME": members}).encode()


def created(**members: Any) -> Specification:
    return validation.to_create(body(**({"FAAS": FAAS} | members)))


def updated(**members: Any) -> Specification:
    return validation.to_update(body(**members))


def refused(raw: bytes, *, update: bool = False) -> str:
    with pytest.raises(BadRequest) as caught:
        (validation.to_update if update else validation.to_create)(raw)
    assert len(str(caught.value.message)) < 1000
    return str(caught.value.message)


MEMBERS = (  # noqa: SIM905
    "SERVERLESS_RUNTIME FAAS DAAS FLAVOUR CPU NAME SCHEDULING POLICY DEVICE_INFO LATENCY_TO_PE X "
    "LEASE TTL"
).split()
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(MEMBERS),
            inner,
            max_size=4,
        )
    ),
    max_leaves=15,
)


@given(JSON)
def test_whatever_json_is_sent_is_a_specification_or_a_400(sent: Any) -> None:
    for read in (validation.to_create, validation.to_update):
        try:
            made = read(json.dumps(sent).encode())
        except BadRequest:
            continue
        assert isinstance(made, Specification)


@given(JSON)
def test_whatever_runtime_is_sent_is_a_specification_or_a_400(sent: Any) -> None:
    raw = json.dumps({"SERVERLESS_RUNTIME": {"FAAS": FAAS, "DEVICE_INFO": {"A": sent}}}).encode()
    try:
        made = validation.to_create(raw)
    except BadRequest:
        return
    carried = made.device_info.get("A")
    assert carried is None or isinstance(carried, str | int | float)
    assert not isinstance(carried, float) or math.isfinite(carried)


@given(st.binary(max_size=200))
def test_whatever_bytes_are_sent_are_a_400(raw: bytes) -> None:
    assert refused(raw)


@pytest.mark.parametrize(
    ("raw", "word"),
    [
        (b"", "JSON"),
        (b"{", "JSON"),
        (b"[]", "object"),
        (b'"x"', "object"),
        (b"null", "object"),
        (b"\xff\xfe{}", "UTF-8"),
        (b'{"a": "\xc3"}', "UTF-8"),
        (b'{"a": NaN}', "NaN"),
        (b'{"a": -Infinity}', "Infinity"),
        (b'{"a": 1, "a": 2}', "twice"),
        (b"[" * 200_000, "nested"),
        (b'{"a": ' + b"1" * 5000 + b"}", "JSON"),
        (b"{} {}", "JSON"),
        (b"{'a': 1}", "JSON"),
    ],
)
def test_what_is_no_json_object_says_so(raw: bytes, word: str) -> None:
    assert word in refused(raw)


@pytest.mark.parametrize("name", ["CPU", "MEMORY", "DISK_SIZE"])
@pytest.mark.parametrize("value", ["2", "", True, None, 0, -1, 0.5, [], {}, 10**12])
@pytest.mark.parametrize("role", ["FAAS", "DAAS"])
def test_a_size_is_a_positive_integer(name: str, value: object, role: str) -> None:
    function = {"FLAVOUR": "f", name: value}
    place = f"SERVERLESS_RUNTIME.{role}.{name}"
    assert place in refused(body(**({"FAAS": FAAS} | {role: function})))
    assert place in refused(body(**{role: function}), update=True)


@pytest.mark.parametrize("value", [None, 1, [], {}, True])
@pytest.mark.parametrize(
    ("part", "name"),
    [
        ("FAAS", "FLAVOUR"),
        ("SCHEDULING", "POLICY"),
        ("SCHEDULING", "REQUIREMENTS"),
        ("DEVICE_INFO", "GEOGRAPHIC_LOCATION"),
    ],
)
def test_a_text_is_a_text(part: str, name: str, value: object) -> None:
    assert f"{part}.{name}" in refused(body(**({"FAAS": FAAS} | {part: {name: value}})))


@pytest.mark.parametrize("value", ["0.36", None, [], {}, True])
def test_the_latency_is_a_number(value: object) -> None:
    message = refused(body(FAAS=FAAS, DEVICE_INFO={"LATENCY_TO_PE": value}))
    assert "SERVERLESS_RUNTIME.DEVICE_INFO.LATENCY_TO_PE" in message


@pytest.mark.parametrize("latency", ["1e999", "-1e999"])
def test_a_latency_without_end_is_refused(latency: str) -> None:
    raw = '{"SERVERLESS_RUNTIME": {"FAAS": {"FLAVOUR": "f"}, "DEVICE_INFO": {"LATENCY_TO_PE": %s}}}'
    assert "LATENCY_TO_PE" in refused((raw % latency).encode())


@pytest.mark.parametrize("part", ["FAAS", "DAAS", "SCHEDULING", "DEVICE_INFO"])
@pytest.mark.parametrize("value", [None, 1, "x", [], True])
def test_a_part_is_an_object(part: str, value: object) -> None:
    members = {"FAAS": FAAS} | {part: value}
    assert f"SERVERLESS_RUNTIME.{part}" in refused(body(**members))
    assert f"SERVERLESS_RUNTIME.{part}" in refused(body(**members), update=True)


def test_a_function_needs_a_flavour_when_it_is_made() -> None:
    assert "FAAS" in refused(body(DAAS={"FLAVOUR": "s3"}))
    assert "FAAS.FLAVOUR" in refused(body(FAAS={"FLAVOUR": ""}))
    assert "FAAS" in refused(body(FAAS={"CPU": 1}))
    assert "DAAS" in refused(body(FAAS=FAAS, DAAS={}))
    assert "DAAS" in refused(body(FAAS=FAAS, DAAS={"CPU": 1}))


def test_a_daas_with_an_empty_flavour_is_none() -> None:
    made = created(DAAS={"FLAVOUR": "", "CPU": 4})
    assert list(made.functions) == ["FAAS"]
    assert made.flavour_tuple == "nature"


@pytest.mark.parametrize(
    "members",
    [
        {"FAAS": {"FLAVOUR": ""}},
        {"FAAS": {"CPU": 2}},
        {"DAAS": {"FLAVOUR": "", "MEMORY": 1}},
        {"NAME": ""},
        {"SCHEDULING": {}},
        {"DEVICE_INFO": {}},
        {"ID": "851"},
    ],
)
def test_an_update_may_hold_any_part_alone(members: dict) -> None:
    made = updated(**members)
    assert set(made.functions) == {"FAAS", "DAAS"} & members.keys()
    assert (made.name, dict(made.scheduling), dict(made.device_info)) == ("", {}, {})


def test_an_update_with_an_empty_flavour_and_sizes() -> None:
    made = updated(FAAS={"FLAVOUR": "", "CPU": 2, "MEMORY": 512, "DISK_SIZE": 1025})
    assert made.functions == {"FAAS": Function("", 2, 512, 1025)}


@pytest.mark.parametrize("echo", [None, "851", 851, 1.5, [], {}, True])
def test_what_only_the_engine_knows_is_ignored_in_any_type(echo: object) -> None:
    function = FAAS | dict.fromkeys(["VM_ID", "STATE", "ENDPOINT", "ERROR"], echo)
    made = created(FAAS=function, ID=echo, SERVICE_ID=echo)
    assert made.functions == {"FAAS": Function("nature")}


@pytest.mark.parametrize(
    ("members", "place"),
    [
        ({"NAME": "x" * 129}, "NAME"),
        ({"FAAS": {"FLAVOUR": "x" * 129}}, "FAAS.FLAVOUR"),
        ({"SCHEDULING": {"POLICY": "x" * 4097}}, "SCHEDULING.POLICY"),
        ({"SCHEDULING": {"REQUIREMENTS": "x" * 4097}}, "SCHEDULING.REQUIREMENTS"),
        ({"DEVICE_INFO": {"GEOGRAPHIC_LOCATION": "x" * 4097}}, "DEVICE_INFO.GEOGRAPHIC_LOCATION"),
        ({"DEVICE_INFO": {"FURTHER": "x" * 4097}}, "DEVICE_INFO.FURTHER"),
    ],
)
def test_a_text_that_is_too_long_names_its_place(members: dict, place: str) -> None:
    assert place in refused(body(**({"FAAS": FAAS} | members)))


@pytest.mark.parametrize("letter", ["x", "漢"])
def test_texts_of_the_longest_length_are_carried(letter: str) -> None:
    made = created(NAME=letter * 128, SCHEDULING={"POLICY": letter * 4096})
    assert (made.name, made.scheduling["POLICY"]) == (letter * 128, letter * 4096)


def test_more_than_a_small_device_can_read_is_refused_although_each_text_fits() -> None:
    info = {f"A{n}": "x" * 4096 for n in range(10)}
    assert "bytes" in refused(body(FAAS=FAAS, DEVICE_INFO=info))


def test_a_text_that_cannot_be_carried_names_place_and_character() -> None:
    message = refused(body(FAAS=FAAS, DEVICE_INFO={"FURTHER": "a\nb"}))
    assert "SERVERLESS_RUNTIME.DEVICE_INFO.FURTHER" in message
    assert "U+000A" in message


def test_members_that_nobody_knows_are_a_warning_with_their_place(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING, "provision_engine.engine"):
        created(
            FAAS=FAAS | {"GPU": 1},
            MORE=1,
            SCHEDULING={"WHEN": "now"},
            DEVICE_INFO={"lower": 1, "FLAG": True, "KNOWN": 1},
        )
    warnings = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    for place in ("FAAS.GPU", "MORE", "SCHEDULING.WHEN", "DEVICE_INFO.lower", "DEVICE_INFO.FLAG"):
        assert any(place in warning for warning in warnings), place
    assert not any("KNOWN" in warning.replace("nobody knows", "") for warning in warnings)


def test_what_everybody_knows_is_no_warning(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "provision_engine.engine"):
        created(
            NAME="n",
            ID="1",
            SERVICE_ID=1,
            FAAS=FAAS | {"CPU": 1, "VM_ID": 1, "STATE": "", "ENDPOINT": "", "ERROR": ""},
            SCHEDULING={"POLICY": "a", "REQUIREMENTS": "b"},
            DEVICE_INFO={"LATENCY_TO_PE": 1, "GEOGRAPHIC_LOCATION": "x", "FURTHER": 2},
        )
    assert caplog.records == []
