"""`provision-engine check` against a sandbox: one line each, and an exit code."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from provision_engine.engine.runtime.specification import split_tuple
from provision_engine.sandbox import Sandbox
from tests.support.opennebula import OpenNebula
from tests.support.users import OTHER

from .cli_engine import call

VM_TEMPLATE = 'CPU="1"\nMEMORY="128"\n'


@pytest.fixture(params=["6.8.0", "7.4.0"])
def sandbox(request: pytest.FixtureRequest) -> Iterator[Sandbox]:
    with Sandbox(release=request.param) as sandbox:
        yield sandbox


@pytest.fixture
def configuration(sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    file, auth = tmp_path / "engine.conf", tmp_path / "one_auth"
    urls = f"one_xmlrpc: {sandbox.oned_url}\noneflow_server: {sandbox.oneflow_url}\n"
    file.write_text(f"{urls}context: {{sr_auth: false}}\n")
    auth.write_text("devuser:devpass\n")
    monkeypatch.setenv("ONE_AUTH", str(auth))
    return file


def run(configuration: Path, *arguments: str, typed: str = "") -> tuple[int, list[str]]:
    ran = call("check", "--config", str(configuration), *arguments, typed=typed)
    return ran.returncode, ran.stdout.splitlines()


def line(lines: list[str], text: str) -> str:
    (found,) = [line for line in lines if text in line]
    return found


def test_all_is_well(sandbox: Sandbox, configuration: Path) -> None:
    calls_before = sandbox.store.count()
    code, lines = run(configuration, "nature", "nature-s3")
    assert code == 0
    assert all(found.startswith("ok ") for found in lines)
    release = "6.8.0" if "dialect of 6.x" in "".join(lines) else "7.4.0"
    assert f"devuser, OpenNebula {release}" in line(lines, "log in")
    assert "FAAS CPU 1, MEMORY 128 MB" in line(lines, "flavour nature:")
    assert "DAAS CPU 1" in line(lines, "flavour nature-s3:")
    assert len(lines) == 6
    assert sandbox.store.count() == calls_before


def test_who_can_read_the_password_in_sr_auth_is_noted(configuration: Path) -> None:
    configuration.write_text(configuration.read_text().replace("false", "true"))
    code, lines = run(configuration, "nature")
    assert code == 0
    noted = line(lines, "can read the SR_AUTH of devuser")
    assert re.match(r"note    oned: ([1-9]\d* more users in the same group|every user of) ", noted)


def test_a_template_of_a_user_who_is_no_publisher_is_noted_with_its_owner(
    sandbox: Sandbox, configuration: Path
) -> None:
    other = OpenNebula(sandbox.oned_url, sandbox.oneflow_url, OTHER)
    body = json.dumps({"name": "theirs", "roles": [{"name": "FAAS", "vm_template": 0}]})
    template = f"<TEMPLATE><NAME>theirs</NAME><BODY><![CDATA[{body}]]></BODY></TEMPLATE>"
    number = other.call("document.allocate", template, 101)
    other.call("document.chmod", number, 1, 1, 0, 0, 0, 0, 1, 0, 0)
    code, lines = run(configuration, "nature")
    assert code == 0
    assert line(lines, "(theirs) of other").startswith(f"note    flow template {number} ")
    assert "flavours.publishers" in line(lines, "(theirs) of other")
    configuration.write_text(f"{configuration.read_text()}flavours: {{publishers: [other]}}\n")
    _, lines = run(configuration, "theirs")
    assert line(lines, "flavour theirs:")
    assert not any("is not a flavour" in found for found in lines)


def test_a_list_order_that_makes_pages_slow_is_noted(sandbox: Sandbox, configuration: Path) -> None:
    sandbox.world.store.documents.lists_oldest_first = True
    code, lines = run(configuration, "nature")
    assert code == 0
    noted = line(lines, "oldest objects first")
    assert noted.startswith("note    oned: ")
    assert 'set API_LIST_ORDER="DESC" in oned.conf' in noted


def test_a_flavour_that_cannot_be_deployed_has_a_hint(configuration: Path) -> None:
    code, lines = run(configuration)
    assert code == 1
    missing = line(lines, "flavour FAILED_DEPLOY")
    assert missing.startswith("FAILED  ")
    assert "no VM template 999 -- name another" in missing
    assert "onetemplate chmod 2 644" in line(lines, "flavour DenyVMTemplate")
    assert line(lines, "flavour nature:").startswith("ok")


def test_a_template_of_the_other_dialect_fails(sandbox: Sandbox, configuration: Path) -> None:
    def role(member: str) -> dict[str, object]:
        return {"name": "FAAS", "cardinality": 1, "min_vms": 1, member: 0}

    sandbox.store.add_flow_template("six", [role("vm_template")])
    sandbox.store.add_flow_template("seven", [role("template_id")])
    code, lines = run(configuration, "six", "seven")
    assert code == 1
    is_seven = "dialect of 7.x" in line(lines, "log in")
    wrong, right = ("six", "seven") if is_seven else ("seven", "six")
    assert "made for another release" in line(lines, f"flavour {wrong}:")
    assert line(lines, f"flavour {right}:").startswith("ok")


def test_missing_parts_of_a_vm_template_are_notes(sandbox: Sandbox, configuration: Path) -> None:
    bare = sandbox.store.add_vm_template("bare", VM_TEMPLATE)
    sandbox.store.add_flow_template("bare", [("FAAS", bare.id)])
    code, lines = run(configuration, "bare")
    assert code == 0
    notes = [found for found in lines if found.startswith("note")]
    assert [found.partition(" has no ")[2].split()[0] for found in notes] == [
        "DISK",
        "NIC",
        "CONTEXT",
    ]


def test_an_exhausted_quota_fails(sandbox: Sandbox, configuration: Path) -> None:
    sandbox.store.set_quota("devuser", VMS=1)
    code, lines = run(configuration, "nature", "nature-s3")
    assert code == 1
    assert line(lines, "flavour nature:").startswith("ok")
    assert "quota of VMS is 1" in line(lines, "flavour nature-s3:")


def test_the_mapping_takes_precedence(sandbox: Sandbox, configuration: Path) -> None:
    number = sandbox.store.flow_templates()["Function"]
    text = configuration.read_text()
    configuration.write_text(f"{text}mapping: {{nature: {number}, gone: 4711, other: 0}}\n")
    code, lines = run(configuration, "nature", "gone")
    assert code == 1
    assert f"flow template {number} of the mapping" in line(lines, "flavour nature:")
    assert "no flow template 4711 -- correct mapping.gone" in line(lines, "flavour gone:")


def test_a_flow_template_without_a_matching_role_fails(
    sandbox: Sandbox, configuration: Path
) -> None:
    sandbox.store.add_flow_template("empty", [])
    code, lines = run(configuration, "empty")
    assert code == 1
    assert "has no role for FAAS" in line(lines, "flavour empty")


def test_an_unknown_flavour_fails(configuration: Path) -> None:
    code, lines = run(configuration, "nope")
    assert (code, line(lines, "flavour nope")[:6]) == (1, "FAILED")


@pytest.mark.parametrize(("backend", "count"), [("oned", 3), ("oneflow", 5)])
def test_a_backend_that_is_down_is_named(
    sandbox: Sandbox, configuration: Path, backend: str, count: int
) -> None:
    sandbox.faults.set(backend, "refuse")
    code, lines = run(configuration, "nature")
    assert (code, len(lines)) == (1, count)
    assert "Connection refused -- is opennebula" in line(lines, f"{backend}: http")


def test_a_wrong_password_fails(configuration: Path) -> None:
    code, lines = run(configuration, "--user", "devuser", typed="wrong\n")
    assert code == 1
    assert "does not know this user and password" in line(lines, "log in")
    code, lines = run(configuration, "--user", "other", "nature", typed="otherpass\n")
    assert code == 0
    assert "log in: other" in line(lines, "log in")


def test_missing_credentials_are_reported_with_the_file(
    configuration: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("ONE_AUTH", str(tmp_path / "none"))
    code, lines = run(configuration)
    assert code == 1
    assert f"{tmp_path}/none" in line(lines, "log in")
    monkeypatch.delenv("ONE_AUTH")
    monkeypatch.setenv("HOME", str(tmp_path))
    code, lines = run(configuration)
    assert (code, line(lines, "log in").count("USER:PASSWORD")) == (1, 1)


def test_an_invalid_configuration_ends_the_check(configuration: Path) -> None:
    configuration.write_text("port: many\n")
    code, lines = run(configuration)
    assert (code, len(lines)) == (1, 1)
    assert 'port is "many"' in lines[0]


def test_colours_are_for_a_terminal(configuration: Path) -> None:
    _, lines = run(configuration, "--color", "always")
    assert line(lines, "flavour nature:").startswith("\x1b[32mok")
    assert line(lines, "flavour FAILED_DEPLOY").startswith("\x1b[31mFAILED")
    _, lines = run(configuration)
    assert "\x1b" not in "".join(lines)


@pytest.mark.parametrize(
    ("flavours", "roles", "parts"),
    [
        ("nature", ["FAAS"], ["nature"]),
        ("a-b", ["FAAS"], ["a-b"]),
        ("a-b", ["FAAS", "DAAS"], ["a", "b"]),
        ("a-b-c", ["FAAS", "DAAS"], ["a-b", "c"]),
        ("a-b-c", ["A", "B-C"], ["a", "b-c"]),
        ("nature", ["FAAS", "DAAS"], ["nature"]),
        ("-x", ["FAAS", "DAAS"], ["-x"]),
    ],
)
def test_a_flavour_tuple_is_split_by_its_roles(
    flavours: str, roles: list[str], parts: list[str]
) -> None:
    assert split_tuple(flavours, roles) == parts


def test_standby_flavours_are_checked(configuration: Path) -> None:
    text = configuration.read_text()
    configuration.write_text(f"{text}standby: {{flavours: {{nature: 2, FAILED_DEPLOY: 1}}}}\n")
    code, lines = run(configuration, "nature")
    assert code == 1
    assert line(lines, "standby nature:").startswith("ok")
    assert line(lines, "standby FAILED_DEPLOY:").startswith("FAILED")
