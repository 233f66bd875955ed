"""The demo shows the lifecycle of a runtime, and leaves nothing behind however it ends."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from .pages import ROOT

LIMIT_SECONDS = 120
DEMO = [sys.executable, "-P", str(ROOT / "examples/demo.py")]
FAILING = """
import demo
from provision_engine.client import Function
demo.WANTED = Function("unheard-of")
demo.main([])
"""


def start(command: list[str], directory: Path) -> subprocess.Popen[str]:
    """A demo whose files go to the directory."""
    return subprocess.Popen(
        command,
        env={
            "TMPDIR": str(directory),
            "PATH": "/usr/bin:/bin",
            "PYTHONPATH": f"{ROOT}:{ROOT}/examples",
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def assert_nothing_is_left(output: str, directory: Path) -> None:
    ports = {int(port) for port in re.findall(r"http://127\.0\.0\.1:(\d+)", output)}
    assert len(ports) == 3, output
    for port in ports:
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", port)) != 0, f"port {port} is still open"
    assert not list(directory.iterdir())


@pytest.mark.parametrize("release", ["6.8.0", "7.4.0"])
def test_shows_the_lifecycle_of_a_runtime(release: str, tmp_path: Path) -> None:
    demo = start([*DEMO, "--release", release], tmp_path)
    output, errors = demo.communicate(timeout=LIMIT_SECONDS)
    assert (demo.returncode, errors) == (0, ""), output
    states = re.findall(r" ms     ([A-Z]+)", output)
    assert states[0] == "PENDING"
    assert {"PENDING", "RUNNING", "UPDATING"} == set(states)
    assert states[-1] == "RUNNING"
    assert re.search(r"wait until it runs +endpoint \d+\.\d+\.\d+\.\d+\n", output)
    assert "200: 2 cores, 1024 MB of memory, 2048 MB of disk" in output
    assert "404: Not found" in output
    assert output.count("exit code 0") == 2
    assert_nothing_is_left(output, tmp_path)


def test_reports_a_failure_and_stops_its_programs(tmp_path: Path) -> None:
    demo = start([sys.executable, "-P", "-c", FAILING], tmp_path)
    output, errors = demo.communicate(timeout=LIMIT_SECONDS)
    assert demo.returncode == 1
    assert errors.startswith("FAILED: No flow template for the requested flavours: ")
    assert "engine.log: " in errors, "the end of the engine's log helps to understand"
    assert_nothing_is_left(output, tmp_path)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stops_its_programs_when_interrupted(number: signal.Signals, tmp_path: Path) -> None:
    demo = start(DEMO, tmp_path)
    assert demo.stdout is not None
    seen = ""
    while "start the engine" not in seen:
        line = demo.stdout.readline()
        assert line, "the demo ended before it could be interrupted"
        seen += line
    demo.send_signal(number)
    output, errors = demo.communicate(timeout=LIMIT_SECONDS)
    assert demo.returncode == 130
    assert errors == "FAILED: interrupted\n"
    assert_nothing_is_left(seen + output, tmp_path)
