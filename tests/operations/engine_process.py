"""A real engine in front of a sandbox, in processes of its own."""

from __future__ import annotations

import base64
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from provision_engine.sandbox import Sandbox

WAIT_SECONDS = 30.0
AUTHORIZATION = "Basic " + base64.b64encode(b"devuser:devpass").decode()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_until(condition: Callable[[], Any], seconds: float = WAIT_SECONDS) -> Any:
    """The first true value of the condition; fails when there is none in time."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if value := condition():
            return value
        time.sleep(0.05)
    raise AssertionError(f"nothing came of it within {seconds} seconds")


class Engine:
    """An engine with two workers, in the foreground as a service manager runs it."""

    def __init__(self, directory: Path, sandbox: Sandbox, **settings: Any) -> None:
        self.directory, self.port = directory, free_port()
        self.file = directory / "engine.conf"
        self.pid_file = directory / "run" / "engine.pid"
        self.file.write_text(
            yaml.safe_dump(
                {
                    "one_xmlrpc": sandbox.oned_url,
                    "oneflow_server": sandbox.oneflow_url,
                    "port": self.port,
                    "timeout": 5,
                    "log": {"directory": str(directory / "logs")},
                    "server": {"pid_file": str(self.pid_file), "workers": 2, "grace_seconds": 1},
                    **settings,
                }
            )
        )
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, environment: dict[str, str] | None = None) -> None:
        command = [sys.executable, "-m", "provision_engine.cli", "--config", str(self.file)]
        self.process = subprocess.Popen(
            [*command, "start", "--foreground"], env={**os.environ, **(environment or {})}
        )
        wait_until(self.answers)

    def answers(self) -> bool:
        try:
            return self.call("GET", "/healthz")[0] == 200
        except OSError:
            return False

    def call(self, method: str, path: str, body: Any = None) -> tuple[int, str]:
        """Ask on a connection of its own, so that any worker may take it."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=WAIT_SECONDS)
        try:
            data = None if body is None else json.dumps(body)
            connection.request(method, path, data, {"Authorization": AUTHORIZATION})
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def workers(self) -> list[int]:
        assert self.process is not None
        pid = self.process.pid
        return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(WAIT_SECONDS)
