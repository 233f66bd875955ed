"""engine.conf and the schemas in etc/."""

from __future__ import annotations

import dataclasses
import os
import re
from pathlib import Path

import pytest

from provision_engine import config
from provision_engine.config import loading
from provision_engine.config.schema import leaves

ETC = Path(__file__).parents[2] / "etc"


def test_the_schemas_are_a_link_to_those_of_the_program() -> None:
    link = ETC / "schemas"
    assert not os.path.isabs(os.readlink(link))
    assert link.resolve() == config.SCHEMAS


def test_what_is_commented_out_in_the_configuration_is_the_default(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # The shown number of workers is that of a machine with two cores.
    monkeypatch.setattr(loading, "_cores", lambda: 2)
    text = (ETC / "engine.conf").read_text()
    shown = re.sub(r"^( *)# ( *:[a-z_]+:)", r"\1\2", text, flags=re.MULTILINE)
    # These have no default, so what is shown is an example.
    examples = {"lease": {"default_seconds", "max_seconds"}}
    examples["tls"] = {"certificate", "key", "ca_file"}
    found, usual = config.parse(shown, Path("x")), config.parse(text, Path("x"))
    for field in dataclasses.fields(config.Configuration):
        one, other = getattr(found, field.name), getattr(usual, field.name)
        if field.name in examples:
            keep = {name: getattr(other, name) for name in examples[field.name]}
            assert all(getattr(one, name) is not None for name in keep)
            one = dataclasses.replace(one, **keep)
        if field.name == "ready_port":
            assert one is not None, "an example"
        elif not field.name.startswith("_"):
            assert one == other, field.name


def test_the_configuration_shows_every_key() -> None:
    text = (ETC / "engine.conf").read_text()
    shown = set(re.findall(r":([a-z_]+):", text))
    assert {key for name in leaves() for key in name.split(".")} - shown == set()
