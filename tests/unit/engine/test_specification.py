"""The request of a caller. ``api/test_validation.py`` tests how it is read from JSON."""

from __future__ import annotations

from typing import Any

import pytest

from provision_engine.engine.runtime.model import Function
from provision_engine.engine.runtime.specification import Specification


@pytest.mark.parametrize(
    ("flavours", "flavour_tuple"),
    [
        (["nature"], "nature"),
        (["nature", "s3"], "nature-s3"),
        (["nature", ""], "nature"),
        (["a-b", "c"], "a-b-c"),
        ([], ""),
    ],
)
def test_the_flavour_tuple_is_faas_dash_daas(flavours: list[str], flavour_tuple: str) -> None:
    functions = dict(zip(("FAAS", "DAAS"), map(Function, flavours), strict=False))
    assert Specification(functions=functions).flavour_tuple == flavour_tuple


def test_every_text_sent_to_opennebula_has_a_path() -> None:
    made = Specification(
        name="n",
        functions={"FAAS": Function("f"), "DAAS": Function("d")},
        scheduling={"POLICY": "p", "REQUIREMENTS": "r"},
        device_info={"LATENCY_TO_PE": 1.5, "GEOGRAPHIC_LOCATION": "g", "X": "x"},
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


WHERE = {"REQUIREMENTS": "A > 1"}


@pytest.mark.parametrize(
    ("specification", "expected"),
    [
        (Specification(scheduling=WHERE), True),
        (Specification(scheduling=WHERE, functions={"FAAS": Function("f")}), True),
        (Specification(scheduling=WHERE, name="n", device_info={"A": 1}), True),
        (Specification(), False),
        (Specification(name="n"), False),
        (
            Specification(scheduling=WHERE, functions={"FAAS": Function(sizes={"CPU": 1})}),
            False,
        ),
        (Specification(scheduling=WHERE, lease_seconds=60), False),
        (Specification(scheduling=WHERE, lifts_lease=True), False),
    ],
)
def test_an_update_of_scheduling_alone_needs_no_running_vm(
    specification: Specification, expected: bool
) -> None:
    assert specification.is_about_scheduling is expected


@pytest.mark.parametrize(
    ("further", "expected"),
    [
        ({}, True),
        ({"name": "n", "functions": {"FAAS": Function("f")}}, True),
        ({"functions": {"FAAS": Function(sizes={"CPU": 1})}}, False),
        ({"scheduling": WHERE}, False),
        ({"device_info": {"A": 1}}, False),
    ],
)
def test_an_update_of_the_lease_alone_needs_no_running_vm(
    further: dict[str, Any], expected: bool
) -> None:
    assert Specification(lease_seconds=60, **further).is_about_lease is expected
    assert Specification(lifts_lease=True, **further).is_about_lease is expected
    assert Specification(**further).is_about_lease is False
