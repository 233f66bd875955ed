"""The command line itself: version, help, errors and the launcher in bin/."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from provision_engine import __version__, cli


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"provision-engine {__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["begin"], "unknown command 'begin'; choose from start, stop, "),
        (["strat"], "unknown command 'strat'; did you mean 'start'?"),
        (["start", "--nowhere"], "unknown option '--nowhere'"),
        (["start", "--forground"], "unknown option '--forground'; did you mean '--foreground'?"),
        (["status", "now"], "unknown argument 'now'"),
        (["--config"], "expected one argument"),
        (["runtime", "creat"], "unknown action 'creat'; did you mean 'create'?"),
        (["reconcile", "--older-than", "soon"], "is not a duration such as"),
    ],
)
def test_a_wrong_command_line_is_explained(
    arguments: list[str], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)
    assert ended.value.code == 2
    shown = capsys.readouterr().err
    assert reason in shown
    assert shown.count("\n") == 1


@pytest.mark.parametrize("arguments", [[], ["runtime"]])
def test_without_a_command_there_is_help(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(arguments) == 0
    assert "exit codes" in capsys.readouterr().out


def test_every_command_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    listed = capsys.readouterr().out
    assert all(re.search(rf"^  {name} ", listed, re.MULTILINE) for name in cli.COMMANDS)


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
