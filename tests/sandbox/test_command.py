"""The command line and the control API."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from provision_engine.sandbox import Sandbox, state
from provision_engine.sandbox.command import main
from provision_engine.sandbox.control import Control
from provision_engine.sandbox.world import World

from .client import DEADLINE_SECONDS, Caller, until

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
    process.communicate(timeout=DEADLINE_SECONDS)
    return process.returncode


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_prints_its_urls_and_stops_on_a_signal(number: int) -> None:
    process, lines = _start("--release", "6.8.0", "--control-port", "0")
    assert _end(process, number) == 0
    assert lines[0] == "OpenNebula 6.8.0 (sandbox)"
    assert lines[1].startswith("oned     http://127.0.0.1:")
    assert lines[2].startswith("oneflow  http://127.0.0.1:")
    assert lines[3].startswith("control  http://127.0.0.1:")
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


def test_help_describes_faults_and_control(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    assert [w for w in ("--state", "driver:boot:fails", "POST /barrier") if w not in shown] == []


def test_a_port_in_use(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        assert main(["--oned-port", port, "--oneflow-port", "0"]) == 1
    shown = capsys.readouterr().err
    assert (port in shown, shown.count("\n")) == (True, 1)


def test_state_survives_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "state"
    process, lines = _start("--state", str(file))
    _request(lines[2].split()[1], "POST", "/service_template/6/action", {
        "action": {"perform": "instantiate", "params": {"merge_template": {"name": "kept"}}}
    })  # fmt: skip
    assert _end(process) == 0
    process, lines = _start("--state", str(file))
    status, answer = _request(lines[2].split()[1], "GET", "/service")
    assert _end(process) == 0
    assert (status, answer["DOCUMENT_POOL"]["DOCUMENT"][0]["NAME"]) == (200, "kept")
    with pytest.raises(ValueError, match="of release"):
        state.load(World("6.8.0"), file)


def test_a_foreign_state_file_is_rejected(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "state"
    file.write_bytes(b"cos\nsystem\n(S'exit 3'\ntR.")
    assert main([*ANY_PORTS, "--state", str(file)]) == 2
    assert "does not belong" in capsys.readouterr().err


def _request(url: str, method: str, path: str, body: Any = None) -> tuple[int, Any]:
    parts = urlsplit(url)
    assert parts.hostname
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=DEADLINE_SECONDS)
    headers = {"Authorization": "Basic ZGV2dXNlcjpkZXZwYXNz"}
    connection.request(method, path, None if body is None else json.dumps(body), headers)
    response = connection.getresponse()
    text = response.read()
    connection.close()
    return response.status, json.loads(text)


@pytest.fixture
def controlled() -> Iterator[tuple[Sandbox, str]]:
    with Sandbox() as sandbox:
        control = Control(sandbox)
        yield sandbox, control.url
        control.stop()


def test_control_of_faults(controlled: tuple[Sandbox, str]) -> None:
    sandbox, url = controlled
    assert _request(url, "POST", "/faults", {"fault": "oneflow:error"}) == (200, {})
    assert Caller(sandbox).flow("GET", "/service")[0] == 500
    assert _request(url, "GET", "/")[1]["faults"][0]["kind"] == "error"
    assert _request(url, "DELETE", "/faults/oneflow") == (200, {})
    assert Caller(sandbox).flow("GET", "/service")[0] == 200
    status, answer = _request(url, "POST", "/faults", {"fault": "oned:explode"})
    assert (status, "explode" in answer["error"]) == (400, True)


def test_control_of_calls_and_restart(controlled: tuple[Sandbox, str]) -> None:
    sandbox, url = controlled
    Caller(sandbox).good("document.allocate", "A=1", 1337)
    (call,) = _request(url, "GET", "/calls")[1]["calls"]
    assert call["method"] == "one.document.allocate"
    assert _request(url, "GET", "/count")[1]["runtimes"] == 1
    assert _request(url, "DELETE", "/calls") == (200, {})
    assert _request(url, "POST", "/restart", {"keep_state": False}) == (200, {})
    assert _request(url, "GET", "/count")[1]["runtimes"] == 0
    assert _request(url, "GET", "/calls") == (200, {"calls": []})


def test_control_of_vms_and_timings(controlled: tuple[Sandbox, str]) -> None:
    sandbox, url = controlled
    assert _request(url, "POST", "/timings", {"boot_seconds": 9})[1]["boot_seconds"] == 9
    assert _request(url, "POST", "/timings", {"no_seconds": 9})[0] == 400
    vm = Caller(sandbox).good("template.instantiate", 0, "", False, "", False)
    assert _request(url, "POST", f"/vms/{vm}", {"state": "UNKNOWN"}) == (200, {"state": "UNKNOWN"})
    _request(url, "POST", f"/vms/{vm}", {"user_template": 'READY="YES"'})
    assert sandbox.store.vm(vm).user_template.text("READY") == "YES"
    assert _request(url, "POST", "/vms/99", {"state": "DONE"})[0] == 400
    assert _request(url, "GET", "/nothing")[0] == 404


@pytest.mark.parametrize(("moment", "documents"), [("before", 1), ("after", 2)])
def test_the_barrier(controlled: tuple[Sandbox, str], moment: str, documents: int) -> None:
    sandbox, url = controlled
    wanted = {"method": "one.document.allocate", "number": 2, "moment": moment}
    assert _request(url, "POST", "/barrier", wanted) == (200, {})
    done: list[int] = []

    def work() -> None:
        for _ in range(2):
            done.append(Caller(sandbox).good("document.allocate", "A=1", 1337))

    thread = threading.Thread(target=work)
    thread.start()
    assert _request(url, "GET", "/barrier?wait=20") == (200, {"reached": True})
    assert len(sandbox.store.documents()) == documents
    assert len(done) == 1
    assert _request(url, "DELETE", "/barrier") == (200, {})
    thread.join(DEADLINE_SECONDS)
    until(lambda: len(done) == 2, "the second call")


def test_invalid_barriers(controlled: tuple[Sandbox, str]) -> None:
    _, url = controlled
    for wrong in ({}, {"method": "x", "moment": "never"}, {"method": "x", "number": 0}):
        assert _request(url, "POST", "/barrier", wrong)[0] == 400
