"""A body becomes a validated specification, or a 400 that names the path."""

from __future__ import annotations

import json
import logging
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provision_engine.api import validation
from provision_engine.engine.runtime.specification import Specification
from provision_engine.errors import BadRequest

FAAS = {"FLAVOUR": "nature"}
PARTS = ("FAAS", "DAAS", "SCHEDULING", "DEVICE_INFO")
TEXTS = (
    ("FAAS", "FLAVOUR"),
    ("SCHEDULING", "POLICY"),
    ("SCHEDULING", "REQUIREMENTS"),
    ("DEVICE_INFO", "GEOGRAPHIC_LOCATION"),
)


def body(**members: Any) -> bytes:
    return json.dumps({"SERVERLESS_RUNTIME": members}).encode()


def created(**members: Any) -> Specification:
    return validation.to_create(body(**({"FAAS": FAAS} | members)))[0]


def updated(**members: Any) -> Specification:
    return validation.to_update(body(**members))[0]


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
            made, ignored = read(json.dumps(sent).encode())
        except BadRequest:
            continue
        assert isinstance(made, Specification)
        assert all(path.startswith("SERVERLESS_RUNTIME.") for path in ignored)


@given(JSON)
def test_whatever_runtime_is_sent_is_a_specification_or_a_400(sent: Any) -> None:
    raw = json.dumps({"SERVERLESS_RUNTIME": {"FAAS": FAAS, "DEVICE_INFO": {"A": sent}}}).encode()
    try:
        made, ignored = validation.to_create(raw)
    except BadRequest:
        return
    carried = made.device_info.get("A")
    assert carried is None or isinstance(carried, str | int | float)
    assert (ignored == ["SERVERLESS_RUNTIME.DEVICE_INFO.A"]) is (carried is None and sent != "")
    assert not isinstance(carried, float) or math.isfinite(carried)


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
def test_a_body_that_is_not_a_json_object_is_rejected(raw: bytes, word: str) -> None:
    assert word in refused(raw)


WRONG_TYPES = [
    *(((part,), value) for part in PARTS for value in (None, 1, "x", [], True)),
    *(
        ((role, size), value)
        for role in ("FAAS", "DAAS")
        for size in ("CPU", "MEMORY", "DISK_SIZE")
        for value in ("2", "", True, None, 0, -1, 0.5, [], {}, 10**12)
    ),
    *((path, value) for path in TEXTS for value in (None, 1, [], {}, True)),
    *((("DEVICE_INFO", "LATENCY_TO_PE"), value) for value in ("0.36", None, [], {}, True)),
]


@pytest.mark.parametrize(("path", "value"), WRONG_TYPES)
@pytest.mark.parametrize("is_update", [False, True])
def test_a_value_of_a_wrong_type_is_rejected_with_its_path(
    path: tuple[str, ...], value: object, is_update: bool
) -> None:
    part, *names = path
    content = {"FLAVOUR": "f"} if part in ("FAAS", "DAAS") else {}
    sent = {"FAAS": FAAS} | {part: content | {names[0]: value} if names else value}
    place = ".".join(("SERVERLESS_RUNTIME", *path))
    assert place in refused(body(**sent), update=is_update)


def test_a_new_function_requires_a_flavour() -> None:
    assert "FAAS" in refused(body(DAAS={"FLAVOUR": "s3"}))
    assert "FAAS.FLAVOUR" in refused(body(FAAS={"FLAVOUR": ""}))
    assert "FAAS" in refused(body(FAAS={"CPU": 1}))
    assert "DAAS" in refused(body(FAAS=FAAS, DAAS={}))
    assert "DAAS" in refused(body(FAAS=FAAS, DAAS={"CPU": 1}))


@pytest.mark.parametrize(
    "members",
    [
        {"FAAS": {"FLAVOUR": ""}},
        {"FAAS": {"CPU": 2}},
        {"DAAS": {"FLAVOUR": "", "MEMORY": 1}},
        {"DAAS": {"FLAVOUR": "b"}, "FAAS": {"FLAVOUR": "a"}},
        {"NAME": ""},
        {"SCHEDULING": {}},
        {"DEVICE_INFO": {}},
        {"ID": "851"},
    ],
)
def test_an_update_may_hold_any_part_alone(members: dict) -> None:
    made = updated(**members)
    assert list(made.functions) == [role for role in ("FAAS", "DAAS") if role in members]
    assert (made.name, dict(made.scheduling), dict(made.device_info)) == ("", {}, {})


@pytest.mark.parametrize("letter", ["x", "漢"])
def test_texts_of_the_maximum_length_are_accepted(letter: str) -> None:
    requirements = f'A = "{letter * 4090}"'
    made = created(
        NAME=letter * 128,
        SCHEDULING={"POLICY": "A" * 4096, "REQUIREMENTS": requirements},
    )
    assert made.name == letter * 128
    assert made.scheduling == {"POLICY": "A" * 4096, "REQUIREMENTS": requirements}


def test_the_total_length_is_limited_to_what_a_small_device_can_read() -> None:
    info = {f"A{n}": "x" * 4096 for n in range(10)}
    assert "bytes" in refused(body(FAAS=FAAS, DEVICE_INFO=info))


def test_unknown_members_have_their_paths_and_one_warning_that_names_a_few(
    caplog: pytest.LogCaptureFixture,
) -> None:
    raw = body(
        FAAS=FAAS | {"GPU": 1},
        MORE=1,
        SCHEDULING={"WHEN": "now"},
        DEVICE_INFO={"lower": 1, "FLAG": True, "KNOWN": 1},
    )
    with caplog.at_level(logging.WARNING, "provision_engine.engine"):
        _, ignored = validation.to_create(raw)
    warnings = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    paths = ["FAAS.GPU", "MORE", "SCHEDULING.WHEN", "DEVICE_INFO.lower", "DEVICE_INFO.FLAG"]
    assert sorted(ignored) == sorted(f"SERVERLESS_RUNTIME.{path}" for path in paths)
    assert warnings == [f"Ignoring 5 unknown members: {', '.join(ignored[:3])}, …"]


def test_known_members_are_not_warnings(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "provision_engine.engine"):
        created(
            NAME="n",
            ID="1",
            SERVICE_ID=1,
            FAAS=FAAS | {"CPU": 1, "VM_ID": 1, "STATE": "", "ENDPOINT": "", "ERROR": ""},
            SCHEDULING={"POLICY": "a", "REQUIREMENTS": "b = 1"},
            DEVICE_INFO={"LATENCY_TO_PE": 1, "GEOGRAPHIC_LOCATION": "x", "FURTHER": 2},
        )
    assert caplog.records == []


# ---- what becomes of it -------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["\n", "\t", " \r"])
@pytest.mark.parametrize("member", ["POLICY", "REQUIREMENTS"])
def test_an_expression_of_control_characters_is_refused(member: str, text: str) -> None:
    with pytest.raises(BadRequest, match=rf"SCHEDULING\.{member}: .* control character U\+000"):
        created(SCHEDULING={member: text})


@pytest.mark.parametrize(
    ("name", "values", "is_stored"),
    [
        *((name, ("text", 3, 0.5, -1), True) for name in ("A", "A1", "A_B", "BATTERY_LEVEL")),
        ("A", (True, False, None, [], {}, ["x"]), False),
        *((name, ("x",), False) for name in ("a", "1A", "_A", "A-B", "A B", "É", "A\n", "")),
    ],
)
def test_texts_and_numbers_with_a_valid_name_are_stored_in_device_info(
    name: str, values: tuple[object, ...], is_stored: bool
) -> None:
    for value in values:
        stored = {name: value} if is_stored else {}
        assert created(DEVICE_INFO={name: value}).device_info == stored


def test_a_size_written_as_a_float_of_whole_units_is_an_integer() -> None:
    sent = FAAS | {"CPU": 2.0, "MEMORY": 512.0, "DISK_SIZE": 1025.0}
    sizes = created(FAAS=sent).functions["FAAS"].sizes
    assert sizes == {"CPU": 2, "MEMORY": 512, "DISK_SIZE": 1025}
    assert all(type(size) is int for size in sizes.values())


@pytest.mark.parametrize(
    ("members", "seconds", "is_lifted"),
    [({}, None, False), ({"LEASE": {"TTL": 60}}, 60, False), ({"LEASE": None}, None, True)],
)
def test_an_update_may_set_or_remove_a_lease(
    members: dict, seconds: int | None, is_lifted: bool
) -> None:
    made = updated(NAME="n", **members)
    assert (made.lease_seconds, made.lifts_lease) == (seconds, is_lifted)


@pytest.mark.parametrize(
    ("name", "text", "position"),
    [
        ("POLICY", "A -5", 3),
        ("POLICY", "energy;", 7),
        ("REQUIREMENTS", "ENERGY >= 50", 9),
        ("REQUIREMENTS", 'A = "x', 5),
    ],
)
@pytest.mark.parametrize("is_update", [False, True])
def test_a_scheduling_expression_that_opennebula_cannot_parse_names_path_and_position(
    name: str, text: str, position: int, is_update: bool
) -> None:
    message = refused(body(FAAS=FAAS, SCHEDULING={name: text}), update=is_update)
    assert f"SERVERLESS_RUNTIME.SCHEDULING.{name}" in message
    assert f"character {position}:" in message


@pytest.mark.parametrize("header", ["", "x" * 256, "é", "a\nb", "a\x7f"])
def test_an_invalid_idempotency_key_is_rejected(header: str) -> None:
    with pytest.raises(BadRequest, match="Idempotency-Key"):
        validation.idempotency_key(header)
