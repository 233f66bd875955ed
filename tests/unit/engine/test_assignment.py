"""Which role of a flow template plays FAAS, and which DAAS."""

from __future__ import annotations

import pytest

from provision_engine.engine.runtime.dialect import assign_roles


@pytest.mark.parametrize(
    ("flavours", "names", "indexes"),
    [
        ({"FAAS": "nature"}, ["FAAS"], {"FAAS": 0}),
        ({"FAAS": "nature", "DAAS": "s3"}, ["daas", "faas"], {"FAAS": 1, "DAAS": 0}),
        ({"FAAS": "nature", "DAAS": "s3"}, ["S3", "Nature"], {"FAAS": 1, "DAAS": 0}),
        ({"FAAS": "a", "DAAS": "b"}, ["first", "second"], {"FAAS": 0, "DAAS": 1}),
        ({"FAAS": "nature", "DAAS": "nature"}, ["nature", "other"], {"FAAS": 0, "DAAS": 1}),
        ({"FAAS": "a", "DAAS": "b"}, ["DAAS", "worker"], {"FAAS": 1, "DAAS": 0}),
        ({"FAAS": "a", "DAAS": "b"}, ["only"], {"FAAS": 0}),
        ({"FAAS": "a"}, [], {}),
    ],
)
def test_roles_are_found_by_name_then_flavour_then_position(
    flavours: dict[str, str], names: list[str], indexes: dict[str, int]
) -> None:
    assert assign_roles(flavours, names) == indexes
