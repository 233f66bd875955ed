"""The files in etc/: each is accepted by the program for which it is written."""

from __future__ import annotations

import dataclasses
import os
import re
import subprocess
from pathlib import Path

import pytest

from provision_engine import config, log
from provision_engine.config import Log, loading
from provision_engine.config.schema import leaves

ETC = Path(__file__).parents[2] / "etc"


def test_the_schemas_are_a_link_to_those_of_the_program() -> None:
    link = ETC / "schemas"
    assert not os.path.isabs(os.readlink(link))
    assert link.resolve() == config.SCHEMA_PATH.parent


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
        if not field.name.startswith("_"):
            assert one == other, field.name


def test_the_configuration_shows_every_key() -> None:
    text = (ETC / "engine.conf").read_text()
    shown = set(re.findall(r":([a-z_]+):", text))
    assert {key for name in leaves() for key in name.split(".")} - shown == set()


def test_systemd_accepts_the_unit(tmp_path: Path) -> None:
    unit = tmp_path / "provision-engine.service"
    # Verified although the command is not installed here.
    text = (ETC / unit.name).read_text()
    unit.write_text(text.replace("/usr/local/bin/provision-engine", "/bin/true"))
    done = subprocess.run(
        ["systemd-analyze", "verify", unit], capture_output=True, text=True, check=False
    )
    assert unit.name not in done.stderr
    assert done.returncode == 0, done.stderr


def test_logging_continues_after_logrotate(tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    rules = tmp_path / "rules"
    text = (ETC / "logrotate").read_text()
    rules.write_text(text.replace("/var/log/provision-engine", str(logs)))
    rules.chmod(0o644)
    log.start(Log(1, "file", logs))
    try:
        log.engine.info("before")
        done = subprocess.run(
            ["logrotate", "--force", "--state", tmp_path / "state", rules],
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, "")
        log.engine.info("after")
    finally:
        log.stop()
    assert "before" in (logs / "engine.log.1").read_text()
    assert "before" not in (logs / "engine.log").read_text()
    assert "after" in (logs / "engine.log").read_text()
