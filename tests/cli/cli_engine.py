"""Real engines on free ports, with their files in a temporary directory."""

from __future__ import annotations

import http.client
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from click.testing import CliRunner

from provision_engine import cli
from provision_engine.errors import OperatorError
from provision_engine.process import PidFile
from tests.support.ports import free_port
from tests.support.waiting import WAIT_SECONDS, wait_until

STUB = Path(__file__).with_name("engine_with_stub.py")


class Ran(NamedTuple):
    """How a command ended, and what it wrote."""

    returncode: int
    stdout: str
    stderr: str


def call(*arguments: str, typed: str = "", **environment: str | None) -> Ran:
    """Calls the command line in this process, which is faster than starting another."""
    with CliRunner().isolation(input=typed, env=environment) as (stdout, stderr, _):
        code = cli.main(arguments)
        sys.stderr.flush()
        return Ran(code, stdout.getvalue().decode(), stderr.getvalue().decode())


@dataclass
class Engine:
    """An engine.conf, and the command line called with it."""

    directory: Path
    port: int = field(default_factory=free_port)
    environment: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.pid = 0
        self.configuration: dict[str, Any] = {
            "port": self.port,
            "timeout": 7,
            "log": {"level": 0, "directory": str(self.logs)},
            "server": {
                "pid_file": str(self.pid_file),
                "grace_seconds": 5,
                "workers": 2,
                "threads": 4,
            },
        }
        self.write()

    @property
    def file(self) -> Path:
        return self.directory / "engine.conf"

    @property
    def logs(self) -> Path:
        return self.directory / "logs"

    @property
    def pid_file(self) -> Path:
        return self.directory / "run" / "engine.pid"

    @property
    def in_flight(self) -> Path:
        """A file that ``GET /held`` creates; the response is held until the file is removed."""
        return self.directory / "in-flight"

    def write(self) -> None:
        self.file.write_text(yaml.safe_dump(self.configuration))

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, str(STUB), "--config", str(self.file), *arguments]

    def call(self, *arguments: str) -> Ran:
        """Calls a command; only one that starts the engine needs a process of its own."""
        if arguments[0] in ("stop", "status"):
            return call("--config", str(self.file), *arguments)
        ran = subprocess.run(
            self.command(*arguments),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env={**os.environ, "STUB_IN_FLIGHT": str(self.in_flight), **self.environment},
        )
        return Ran(ran.returncode, ran.stdout, ran.stderr)

    def start(self) -> int:
        """Starts it and returns the process id of its master."""
        done = self.call("start")
        assert (done.returncode, done.stderr) == (0, "")
        match = re.fullmatch(r"started \(pid (\d+)\) on .*\n", done.stdout)
        assert match
        self.pid = int(match[1])
        return self.pid

    def log(self, component: str = "engine") -> str:
        return (self.logs / f"{component}.log").read_text()

    def get(self, path: str = "/", **options: Any) -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=WAIT_SECONDS)
        try:
            connection.request(options.pop("method", "GET"), path, **options)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def send(self, data: bytes) -> bytes:
        """Sends raw bytes and returns everything that is received."""
        with socket.create_connection(("127.0.0.1", self.port), WAIT_SECONDS) as connection:
            connection.sendall(data)
            return b"".join(iter(lambda: connection.recv(65_536), b""))

    @contextmanager
    def connections(self, count: int, data: bytes = b"") -> Iterator[list[socket.socket]]:
        """So many connections, on which this was sent."""
        with ExitStack() as stack:
            address = ("127.0.0.1", self.port)
            opened = [
                stack.enter_context(socket.create_connection(address, WAIT_SECONDS))
                for _ in range(count)
            ]
            for connection in opened:
                connection.sendall(data)
            yield opened

    def workers(self, master: int) -> list[int]:
        children = Path(f"/proc/{master}/task/{master}/children").read_text()
        return [int(pid) for pid in children.split()]

    def end(self) -> None:
        """Stops an engine that a test left running, by the id in the locked pid file."""
        if pid := self._running():
            os.kill(pid, signal.SIGTERM)
            wait_until(lambda: not self._running())

    def _running(self) -> int | None:
        try:
            return PidFile(self.pid_file).running()
        except OperatorError:
            return None
