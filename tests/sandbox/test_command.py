"""The command line."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from provision_engine.sandbox.command import main
from tests.support.waiting import WAIT_SECONDS

ROOT = Path(__file__).parents[2]
ANY_PORTS = ["--oned-port", "0", "--oneflow-port", "0"]


def _start(*flags: str) -> tuple[subprocess.Popen[str], list[str]]:
    """Starts a sandbox process; returns it and what it printed until it was ready."""
    process = subprocess.Popen(
        [sys.executable, "-m", "provision_engine.sandbox", *ANY_PORTS, *flags],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert process.stdout
    lines = []
    for line in process.stdout:
        lines.append(line.rstrip("\n"))
        if lines[-1] == "ready":
            break
    return process, lines


def _end(process: subprocess.Popen[str], number: int = signal.SIGTERM) -> int:
    process.send_signal(number)
    process.communicate(timeout=WAIT_SECONDS)
    return process.returncode


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_prints_its_urls_and_stops_on_a_signal(number: int) -> None:
    process, lines = _start("--release", "6.8.0")
    assert _end(process, number) == 0
    assert lines[0] == "OpenNebula 6.8.0 (sandbox)"
    assert lines[1].startswith("oned     http://127.0.0.1:")
    assert lines[2].startswith("oneflow  http://127.0.0.1:")
    assert "user     devuser devpass" in lines
    assert "flow template 4 nature" in lines
    assert lines[-1] == "ready"


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (["--release", "5.4.0"], ["--release", "5.4.0", "6.x.y and 7.x.y"]),
        (["--oned-port", "x"], ["--oned-port", "'x'", "0 to 65535"]),
        (["--boot-seconds", "-1"], ["--boot-seconds", "-1"]),
        (["--boot-seconds=nan"], ["--boot-seconds", "nan", "seconds"]),
        (["--latency", "imagined"], ["--latency", "imagined", "measured"]),
        (["--fault", "oned:explode"], ["--fault", "explode", "hang"]),
        (["--no-such-flag"], ["--no-such-flag"]),
        (["--hosts", "many"], ["--hosts", "many", "number"]),
    ],
)
def test_invalid_options(
    flags: list[str], named: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(flags) == 2
    shown = capsys.readouterr()
    assert shown.err.count("\n") == 1
    assert [word for word in named if word not in shown.err] == []


def test_help_describes_faults(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    assert "driver:boot:fails" in capsys.readouterr().out


def test_a_port_in_use(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        assert main(["--oned-port", port, "--oneflow-port", "0"]) == 1
    shown = capsys.readouterr().err
    assert (port in shown, shown.count("\n")) == (True, 1)
