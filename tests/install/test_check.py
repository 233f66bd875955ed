"""bin/check and .ci/run, with programs that stand in for those of Debian and of the environment."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.programs import PACKAGES, program

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
        self.path = directory / "stand-ins"
        for name, text in STAND_INS.items():
            self._write(self.path / name, text)
        for name in ("ruff", "mypy", "pytest"):
            self._write(directory / ".venv/bin" / name, f"echo {name} was run")
        self._write(directory / "bin/environment", "")
        (directory / "asked").touch()
        (directory / "installed").write_text("\n".join(WANTED[:2]) + "\n")

    def run(self, command: str = "bin/check", **settings: str) -> subprocess.CompletedProcess[str]:
        names = {"USER_ID": "1000", "ALLOWED": "no", "REFUSED": ""} | settings
        environment = {k: v for k, v in os.environ.items() if k != "TESTS_NEED_PROGRAMS"}
        return subprocess.run(
            [self.directory / command],
            env={**environment, **names, "PATH": f"{self.path}:{os.environ['PATH']}"},
            capture_output=True,
            text=True,
            timeout=60,
        )

    @property
    def asked(self) -> list[str]:
        """The last argument of each call of apt-get."""
        return (self.directory / "asked").read_text().split()

    def _write(self, path: Path, text: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)


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


def test_a_user_who_may_not_install_is_told_what_is_missing(checkout: Checkout) -> None:
    done = checkout.run()
    assert done.returncode == 0, done.stderr
    assert checkout.asked == []
    assert f"sudo apt-get install --no-install-recommends {' '.join(WANTED[2:])}" in done.stdout
    assert "pytest was run" in done.stdout


@pytest.mark.parametrize(
    ("refused", "reason"),
    [
        ("update", "the lists of packages cannot be fetched"),
        (WANTED[-1], f"{WANTED[-1]} cannot be installed"),
    ],
)
def test_what_cannot_be_installed_is_fatal_only_where_nothing_may_be_skipped(
    checkout: Checkout, refused: str, reason: str
) -> None:
    done = checkout.run(".ci/run", USER_ID="0", REFUSED=refused)
    assert done.returncode == 1
    assert reason in done.stdout
    assert "pytest was run" not in done.stdout
    done = checkout.run(USER_ID="0", REFUSED=refused)
    assert done.returncode == 0, done.stderr
    assert reason in done.stdout
    assert "pytest was run" in done.stdout


def test_continuous_integration_fails_where_it_may_not_install(checkout: Checkout) -> None:
    done = checkout.run(".ci/run")
    assert done.returncode == 1
    assert "pytest was run" not in done.stdout


def test_a_test_whose_program_is_missing_is_skipped() -> None:
    with pytest.raises(pytest.skip.Exception, match="unheard-of is not installed: apt-get install"):
        program("unheard-of")


def test_each_program_that_a_test_uses_is_in_the_list_of_packages() -> None:
    texts = [path.read_text() for path in (ROOT / "tests").rglob("*.py")]
    used = {name for text in texts for name in re.findall(r'\bprogram\("([\w-]+)"\)', text)}
    used.remove("unheard-of")
    assert len(used) > 10
    assert {PACKAGES.get(name, name) for name in used} <= set(WANTED)
