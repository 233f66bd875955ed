"""The two programs of the demo, a sandbox and the engine, as separate processes."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from provision_engine.demo.errors import DemoError

# Slow enough to see each state, and fast enough to watch.
SANDBOX_SECONDS = {
    "--schedule-seconds": 0.4,
    "--prolog-seconds": 0.6,
    "--boot-seconds": 0.5,
    "--resize-seconds": 0.5,
    "--disk-resize-seconds": 0.3,
}
START_SECONDS = 30.0
STOP_SECONDS = 15.0
PROBE_SECONDS = 60.0
POLL_SECONDS = 0.05
SHOWN_LOG_LINES = 12


class Cloud(NamedTuple):
    """The URLs of an OpenNebula."""

    oned_url: str
    oneflow_url: str


class Programs:
    """Both programs, and their files in one directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._programs: dict[str, subprocess.Popen[str]] = {}

    def start_cloud(self, release: str) -> Cloud:
        """Start a sandbox and return when it is ready."""
        pauses = [text for name, value in SANDBOX_SECONDS.items() for text in (name, str(value))]
        ports = ["--oned-port", "0", "--oneflow-port", "0"]
        self._start("OpenNebula", ["sandbox", "--release", release, *ports, *pauses])
        lines: list[str] = []
        self._wait("OpenNebula", lambda: self._says_ready("OpenNebula", lines))
        urls = dict(line.split(maxsplit=1) for line in lines if line.startswith("one"))
        return Cloud(urls["oned"], urls["oneflow"])

    def start_engine(self, cloud: Cloud) -> int:
        """Start the engine and return its port when it responds."""
        port = _free_port()
        configuration = self._directory / "engine.conf"
        configuration.write_text(json.dumps(self._configuration(cloud, port), indent=2))
        self._start("engine", ["--config", str(configuration), "start", "--foreground"])
        self._wait("engine", lambda: _responds(port))
        return port

    def stop_program(self, name: str) -> int:
        """Stop a program as a service manager does. Raises DemoError if that fails."""
        program = self._programs[name]
        program.terminate()
        try:
            code = program.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            raise DemoError(f"the {name} has not ended within {STOP_SECONDS:.0f} s") from None
        if code != 0:
            raise DemoError(f"the {name} ended with exit code {code}")
        del self._programs[name]
        return code

    def stop(self) -> None:
        """Stop what is still running; nothing interrupts that."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        for program in reversed(self._programs.values()):
            program.terminate()
        for program in self._programs.values():
            try:
                program.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                program.kill()
                program.wait()

    def last_words(self) -> list[str]:
        """The last lines of the programs' output and logs."""
        lines = []
        for path in (*self._directory.glob("*.txt"), self._directory / "log/engine.log"):
            text = path.read_text(errors="replace") if path.exists() else ""
            lines += [f"{path.name}: {line}" for line in text.splitlines()[-SHOWN_LOG_LINES:]]
        return lines

    def _configuration(self, cloud: Cloud, port: int) -> dict[str, Any]:
        """An engine.conf; every JSON text is YAML too."""
        return {
            "one_xmlrpc": cloud.oned_url,
            "oneflow_server": cloud.oneflow_url,
            "host": "127.0.0.1",
            "port": port,
            "log": {"directory": str(self._directory / "log")},
            "server": {"pid_file": str(self._directory / "engine.pid"), "grace_seconds": 5},
        }

    def _start(self, name: str, arguments: list[str]) -> None:
        """Start one of the program's commands, which the terminal's Ctrl-C does not reach."""
        with self._output(name).open("w") as output:
            self._programs[name] = subprocess.Popen(
                [sys.executable, "-P", "-m", "provision_engine.cli", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
            )

    def _output(self, name: str) -> Path:
        return self._directory / f"{name}.txt"

    def _says_ready(self, name: str, lines: list[str]) -> bool:
        lines[:] = self._output(name).read_text().splitlines()
        return "ready" in lines

    def _wait(self, name: str, is_ready: Callable[[], bool]) -> None:
        until = time.monotonic() + START_SECONDS
        while not is_ready():
            code = self._programs[name].poll()
            if code is not None:
                raise DemoError(f"the {name} ended at once, with exit code {code}")
            if time.monotonic() > until:
                raise DemoError(f"the {name} is not ready after {START_SECONDS:.0f} s")
            time.sleep(POLL_SECONDS)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _responds(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PROBE_SECONDS)
    try:
        connection.request("GET", "/")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()
