"""The command line itself: version, help, errors and the launcher in bin/."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from provision_engine import __version__
from provision_engine.cli.program import COMMANDS

from .cli_engine import call


def test_the_version_is_printed() -> None:
    assert call("--version") == (0, f"provision-engine {__version__}\n", "")


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["begin"], "provision-engine: unknown command 'begin'; choose from check, completion, "),
        (["strat"], "unknown command 'strat'; did you mean 'start'?"),
        (["start", "--nowhere"], "provision-engine start: unknown option '--nowhere' (see "),
        (["start", "--forground"], "unknown option '--forground'; did you mean '--foreground'?"),
        (["status", "now"], "unknown argument 'now'"),
        (["--config"], "Option '--config' requires an argument"),
        (["--config", "x"], "Missing command"),
        (["completion", "cmd.exe"], "'fish'"),
        (["runtime", "creat"], "unknown action 'creat'; did you mean 'create'?"),
        (["runtime", "show"], "Missing argument 'ID'"),
        (["reconcile", "--older-than", "soon"], "is not a duration such as"),
    ],
)
def test_a_wrong_command_line_is_explained_in_one_line(arguments: list[str], reason: str) -> None:
    ran = call(*arguments)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert reason in ran.stderr
    assert re.search(r" \(see 'provision-engine[ a-z]* --help'\)\n$", ran.stderr)
    assert ran.stderr.count("\n") == 1


@pytest.mark.parametrize("arguments", [[], ["runtime"], ["--help"], ["-h"]])
def test_help_has_the_exit_codes(arguments: list[str]) -> None:
    ran = call(*arguments)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert "\n  exit codes" in ran.stdout


def test_help_of_an_action_says_where_the_exit_codes_are() -> None:
    shown = " ".join(call("runtime", "ls", "-h").stdout.split())
    assert "exit codes and units: provision-engine runtime --help" in shown


def test_every_command_is_listed_and_has_help() -> None:
    listed = call("--help").stdout
    for name in COMMANDS:
        assert re.search(rf"^  {name} ", listed, re.MULTILINE)
        ran = call(name, "--help")
        assert (ran.returncode, f"provision-engine {name} " in ran.stdout) == (0, True)


def test_the_launcher_runs_the_command_line_from_anywhere(tmp_path: Path) -> None:
    launcher = Path(__file__).parents[2] / "bin" / "provision-engine"
    link = tmp_path / "provision-engine-server"
    link.symlink_to(launcher)
    # A checkout without .venv takes the python3 on the PATH: here the one that runs the tests.
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        [link, "--version"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PATH": path},
        check=True,
        timeout=60,
    )
    assert done.stdout == f"provision-engine {__version__}\n"
