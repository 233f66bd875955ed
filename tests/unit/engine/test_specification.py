"""What a caller asks for, with everything empty left out."""

from __future__ import annotations

import pytest

from provision_engine.engine.specification import Function, Specification


def test_only_faas_and_its_flavour_are_needed() -> None:
    made = Specification.of({"FAAS": {"FLAVOUR": "nature"}})
    assert made.functions == {"FAAS": Function("nature")}
    assert (made.name, dict(made.scheduling), dict(made.device_info)) == ("", {}, {})


@pytest.mark.parametrize(
    ("functions", "flavour_tuple"),
    [
        ({"FAAS": {"FLAVOUR": "nature"}}, "nature"),
        ({"FAAS": {"FLAVOUR": "nature"}, "DAAS": {"FLAVOUR": "s3"}}, "nature-s3"),
        ({"DAAS": {"FLAVOUR": "s3"}, "FAAS": {"FLAVOUR": "nature"}}, "nature-s3"),
        ({"FAAS": {"FLAVOUR": "nature"}, "DAAS": {"FLAVOUR": ""}}, "nature"),
        ({"FAAS": {"FLAVOUR": "a-b"}, "DAAS": {"FLAVOUR": "c"}}, "a-b-c"),
    ],
)
def test_the_flavour_tuple_is_faas_dash_daas(functions: dict, flavour_tuple: str) -> None:
    assert Specification.of(functions).flavour_tuple == flavour_tuple


def test_faas_comes_first_whatever_order_was_sent() -> None:
    sent = {"DAAS": {"FLAVOUR": "b"}, "FAAS": {"FLAVOUR": "a"}}
    assert list(Specification.of(sent).functions) == ["FAAS", "DAAS"]


def test_empty_strings_mean_absent() -> None:
    made = Specification.of(
        {
            "NAME": "",
            "FAAS": {"FLAVOUR": "f"},
            "SCHEDULING": {"POLICY": "", "REQUIREMENTS": ""},
            "DEVICE_INFO": {"GEOGRAPHIC_LOCATION": "", "FURTHER": ""},
        }
    )
    assert (made.name, dict(made.scheduling), dict(made.device_info)) == ("", {}, {})


def test_zero_seconds_of_latency_are_not_absent() -> None:
    assert Specification.of({"DEVICE_INFO": {"LATENCY_TO_PE": 0}}).device_info == {
        "LATENCY_TO_PE": 0
    }


@pytest.mark.parametrize("name", ["A", "A1", "A_B", "BATTERY_LEVEL"])
@pytest.mark.parametrize("value", ["text", 3, 0.5, -1])
def test_further_members_of_device_info_are_carried(name: str, value: object) -> None:
    assert Specification.of({"DEVICE_INFO": {name: value}}).device_info == {name: value}


@pytest.mark.parametrize("name", ["a", "1A", "_A", "A-B", "A B", "É", "A\n", "", 'A="1"] X=["'])
def test_members_of_device_info_with_another_name_are_not(name: str) -> None:
    assert Specification.of({"DEVICE_INFO": {name: "x"}}).device_info == {}


@pytest.mark.parametrize("value", [True, False, None, [], {}, ["x"]])
def test_members_of_device_info_that_are_no_text_or_number_are_not(value: object) -> None:
    assert Specification.of({"DEVICE_INFO": {"A": value}}).device_info == {}


def test_what_only_the_engine_knows_is_ignored_in_any_type() -> None:
    echoed = {"VM_ID": "592", "STATE": 7, "ENDPOINT": None, "ERROR": [], "FLAVOUR": "f"}
    made = Specification.of({"ID": "851", "SERVICE_ID": {}, "FAAS": echoed})
    assert made.functions == {"FAAS": Function("f")}


def test_a_size_written_as_a_float_of_whole_units_is_an_integer() -> None:
    function = Function.of({"FLAVOUR": "f", "CPU": 2.0, "MEMORY": 512.0, "DISK_SIZE": 1025.0})
    sizes = (function.cpu, function.memory_mb, function.disk_size_mb)
    assert sizes == (2, 512, 1025)
    assert all(type(size) is int for size in sizes)


def test_every_text_that_goes_to_opennebula_is_told_with_its_place() -> None:
    made = Specification.of(
        {
            "NAME": "n",
            "FAAS": {"FLAVOUR": "f"},
            "DAAS": {"FLAVOUR": "d"},
            "SCHEDULING": {"POLICY": "p", "REQUIREMENTS": "r"},
            "DEVICE_INFO": {"LATENCY_TO_PE": 1.5, "GEOGRAPHIC_LOCATION": "g", "X": "x"},
        }
    )
    assert dict(made.texts()) == {
        "NAME": "n",
        "FAAS.FLAVOUR": "f",
        "DAAS.FLAVOUR": "d",
        "SCHEDULING.POLICY": "p",
        "SCHEDULING.REQUIREMENTS": "r",
        "DEVICE_INFO.GEOGRAPHIC_LOCATION": "g",
        "DEVICE_INFO.X": "x",
    }
