"""bin/check and .ci/run, with programs that stand in for those of Debian and of the environment."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import pytest

from tests.support.programs import PACKAGES, Done, program, run

ROOT = Path(__file__).parents[2]
WANTED = [line for line in (ROOT / ".ci/packages").read_text().split("\n") if line[:1].isalpha()]
STAND_INS = {
    "id": "echo $USER_ID",
    "sudo": '[ "$1 $ALLOWED" = "-n yes" ] && shift && exec "$@"',
    "dpkg-query": 'sed "s/^/installed /" installed',
    "apt-get": """for name; do :; done; echo "$name" >>asked
        [ "$name" != "$REFUSED" ] && { [ "$name" = update ] || echo "$name" >>installed; }""",
    "systemctl": "echo disabled $3",
}


class Checkout:
    """A checkout in which every check succeeds, on a machine with some packages."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        for name in ("bin", ".ci"):
            shutil.copytree(ROOT / name, directory / name)
        programs = {
            f".venv/bin/{name}": f"echo {name} was run" for name in ("ruff", "mypy", "pytest")
        }
        programs |= {f"stand-ins/{name}": text for name, text in STAND_INS.items()}
        for name, text in (programs | {"bin/environment": ""}).items():
            path = directory / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"#!/bin/sh\n{text}\n")
            path.chmod(0o755)
        (directory / "asked").touch()
        (directory / "installed").write_text("\n".join(WANTED[:2]) + "\n")

    def run(self, command: str = "bin/check", **settings: str) -> Done:
        """As a user who may not install, unless the settings say otherwise."""
        names = {"USER_ID": "1000", "ALLOWED": "no", "REFUSED": ""} | settings
        environment = {k: v for k, v in os.environ.items() if k != "TESTS_NEED_PROGRAMS"}
        path = f"{self.directory}/stand-ins:{os.environ['PATH']}"
        return run(self.directory / command, env={**environment, **names, "PATH": path})

    @property
    def asked(self) -> list[str]:
        """The last argument of each call of apt-get."""
        return (self.directory / "asked").read_text().split()


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


@pytest.mark.parametrize("command", ["bin/check", ".ci/run"])
@pytest.mark.parametrize("user", [{"USER_ID": "0"}, {"ALLOWED": "yes"}], ids=["root", "sudo"])
def test_missing_packages_are_installed_where_nothing_is_asked(
    checkout: Checkout, command: str, user: dict[str, str]
) -> None:
    done = checkout.run(command, **user)
    assert done.returncode == 0, done.stderr
    assert checkout.asked == ["update", *WANTED[2:]]
    assert f"installing the Debian packages that the tests use: {' '.join(WANTED[2:])}" in (
        done.stdout
    )
    assert "tests are skipped" not in done.stdout
    assert "disabled nginx" in done.stdout
    assert "pytest was run" in done.stdout


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({}, f"sudo apt-get install --no-install-recommends {' '.join(WANTED[2:])}"),
        ({"USER_ID": "0", "REFUSED": "update"}, "the lists of packages cannot be fetched"),
        ({"USER_ID": "0", "REFUSED": WANTED[-1]}, f"{WANTED[-1]} cannot be installed"),
    ],
)
def test_what_cannot_be_installed_is_fatal_only_where_nothing_may_be_skipped(
    checkout: Checkout, settings: dict[str, str], reason: str
) -> None:
    for command, code in ((".ci/run", 1), ("bin/check", 0)):
        done = checkout.run(command, **settings)
        assert done.returncode == code, done.stderr
        assert reason in done.stdout
        assert ("pytest was run" in done.stdout) is (code == 0)
    assert settings or checkout.asked == []


def test_each_program_that_a_test_uses_is_in_the_list_of_packages() -> None:
    with pytest.raises(pytest.skip.Exception, match="unheard-of is not installed: apt-get install"):
        program("unheard-of")
    texts = [path.read_text() for path in (ROOT / "tests").rglob("*.py")]
    used = {name for text in texts for name in re.findall(r'\bprogram\("([\w-]+)"\)', text)}
    used.remove("unheard-of")
    assert len(used) > 10
    assert {PACKAGES.get(name, name) for name in used} <= set(WANTED)
