"""The two programs of the demo, a sandbox and the engine: commands of the command line."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from pathlib import Path

from provision_engine.errors import OperatorError

# Slow enough to see each state, and fast enough to watch.
SANDBOX = (
    "sandbox --oned-port 0 --oneflow-port 0 --schedule-seconds 0.4 --prolog-seconds 0.6 "
    "--boot-seconds 0.5 --resize-seconds 0.5 --disk-resize-seconds 0.3"
)
STOP_SECONDS = 15.0
SHOWN_LOG_LINES = 12


class DemoError(OperatorError):
    """A step failed; the text says which and why."""


class Programs:
    """Both programs, and their files in one directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._programs: dict[str, subprocess.Popen[str]] = {}

    def start_cloud(self, release: str) -> tuple[str, str]:
        """Start a sandbox. Returns the URLs of oned and oneflow when it is ready."""
        lines = self._start("OpenNebula", [*SANDBOX.split(), "--release", release], "ready")
        urls = dict(line.split(maxsplit=1) for line in lines if line.startswith("one"))
        return urls["oned"], urls["oneflow"]

    def start_engine(self, oned_url: str, oneflow_url: str) -> str:
        """Start the engine. Returns its URL when its port is open."""
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = probe.getsockname()[1]
        settings = {
            "one_xmlrpc": oned_url,
            "oneflow_server": oneflow_url,
            "port": port,
            "log": {"directory": str(self._directory / "log")},
            "server": {"pid_file": str(self._directory / "engine.pid"), "grace_seconds": 5},
        }
        configuration = self._directory / "engine.conf"
        configuration.write_text(json.dumps(settings))  # every JSON text is YAML too
        arguments = ["--config", str(configuration), "start", "--foreground"]
        return self._start("engine", arguments, "serving on ")[-1].split()[2]

    def _start(self, name: str, arguments: list[str], last: str) -> list[str]:
        """Start a command, and return what it prints up to the line with this beginning."""
        with (self._directory / f"{name}.txt").open("w") as errors:
            program = self._programs[name] = subprocess.Popen(
                [sys.executable, "-P", "-m", "provision_engine.cli", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                start_new_session=True,  # Ctrl-C does not reach it
            )
        lines: list[str] = []
        while not (lines and lines[-1].startswith(last)):
            assert program.stdout is not None
            if not (line := program.stdout.readline()):
                raise DemoError(f"the {name} ended at once, with exit code {program.wait()}")
            lines.append(line.rstrip("\n"))
        return lines

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
        return code

    def stop(self) -> None:
        """Stop what is still running; nothing interrupts that."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        for program in reversed(self._programs.values()):
            program.terminate()
            try:
                program.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                program.kill()
                program.wait()

    def last_words(self) -> list[str]:
        """The last lines of the programs' errors and of the engine's log."""
        lines = []
        for path in (*self._directory.glob("*.txt"), self._directory / "log/engine.log"):
            text = path.read_text(errors="replace") if path.exists() else ""
            lines += [f"{path.name}: {line}" for line in text.splitlines()[-SHOWN_LOG_LINES:]]
        return lines
