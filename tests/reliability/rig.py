"""Sandboxes, engines in this process and engines in processes of their own, for these tests."""

from __future__ import annotations

import base64
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from provision_engine.cloud.client import Backends, CloudClient, Credentials
from provision_engine.config import Configuration, parse
from provision_engine.deadline import Deadline
from provision_engine.sandbox import Sandbox

USER = Credentials("devuser", "devpass")
OTHER = Credentials("other", "otherpass")
ADMINISTRATOR = Credentials("oneadmin", "opennebula")
WAIT_SECONDS = 30.0

FAAS = {"FLAVOUR": "nature", "CPU": 1, "MEMORY": 512, "DISK_SIZE": 1025}
DAAS = {"FLAVOUR": "s3", "CPU": 1, "MEMORY": 256, "DISK_SIZE": 1026}
SPECIFICATIONS: dict[str, dict[str, Any]] = {
    "FAAS": {"FAAS": FAAS},
    "FAAS-DAAS": {"FAAS": FAAS, "DAAS": DAAS},
}
RUNTIMES = "/serverless-runtimes"

Json = Any


def wait_until(condition: Callable[[], Any], seconds: float = WAIT_SECONDS) -> Any:
    """The first true value of the condition; fails when there is none in time."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if value := condition():
            return value
        time.sleep(0.02)
    raise AssertionError(f"nothing came of it within {seconds} seconds")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def written(sandbox: Sandbox, **settings: Any) -> dict[str, Any]:
    """What engine.conf says for this sandbox."""
    return {
        "one_xmlrpc": sandbox.oned_url,
        "oneflow_server": sandbox.oneflow_url,
        "timeout": 5,
    } | settings


def configuration(sandbox: Sandbox, **settings: Any) -> Configuration:
    return parse(yaml.safe_dump(written(sandbox, **settings)), Path("/nowhere/engine.conf"))


def cloud(sandbox: Sandbox, credentials: Credentials = USER, seconds: float = 10.0) -> CloudClient:
    """OpenNebula itself, as a user sees it who goes around the engine."""
    return CloudClient(Backends(configuration(sandbox)), credentials, Deadline(seconds))


def authorization(credentials: Credentials = USER) -> dict[str, str]:
    token = base64.b64encode(credentials.session.encode()).decode()
    return {"Authorization": f"Basic {token}"}


def body_of(members: Mapping[str, Any]) -> bytes:
    return json.dumps({"SERVERLESS_RUNTIME": members}).encode()


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    content: bytes

    @property
    def json(self) -> Json:
        return json.loads(self.content)

    @property
    def runtime(self) -> dict[str, Any]:
        runtime: dict[str, Any] = self.json["SERVERLESS_RUNTIME"]
        return runtime


def ask(
    port: int,
    method: str,
    path: str,
    members: Mapping[str, Any] | None = None,
    *,
    headers: Mapping[str, str] | None = None,
    credentials: Credentials = USER,
    body: bytes | None = None,
    seconds: float = WAIT_SECONDS,
) -> Answer:
    """One request on a connection of its own. Raises OSError or HTTPException when it is cut."""
    sent = body if members is None else body_of(members)
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=seconds)
    try:
        connection.request(method, path, sent, authorization(credentials) | dict(headers or {}))
        answer = connection.getresponse()
        return Answer(answer.status, dict(answer.getheaders()), answer.read())
    finally:
        connection.close()


@dataclass
class EngineProcess:
    """An engine of its own: ``provision-engine start --foreground`` with its engine.conf."""

    directory: Path
    settings: Mapping[str, Any]
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    def __post_init__(self) -> None:
        server = {"workers": 1, "threads": 8, "grace_seconds": 5}
        self.file = self.directory / "engine.conf"
        self.logs = self.directory / "logs"
        conf = {
            "host": "127.0.0.1",
            "port": self.port,
            "log": {"level": 0, "directory": str(self.logs)},
            "server": server
            | {"pid_file": str(self.directory / "run" / "engine.pid")}
            | dict(self.settings.get("server", {})),
        }
        self.directory.mkdir(parents=True, exist_ok=True)
        (self.directory / "run").mkdir(exist_ok=True)
        self.file.write_text(yaml.safe_dump(dict(self.settings) | conf))
        self._guard = threading.Lock()

    def start(self) -> None:
        """Returns when it answers."""
        with (self.directory / "output").open("ab") as output:
            self.process = subprocess.Popen(
                [*self.command("start"), "--foreground"],
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        wait_until(self._answers)

    def command(self, *arguments: str) -> list[str]:
        first = [sys.executable, "-m", "provision_engine", "--config", str(self.file)]
        return [*first, *arguments]

    def kill(self) -> None:
        """SIGKILL for the engine and its workers, which are a process group of their own."""
        with self._guard:
            if self.process is not None and self.process.returncode is None:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait()

    def stop(self) -> None:
        """As a service manager does it."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(WAIT_SECONDS)

    def ask(self, method: str, path: str, *arguments: Any, **named: Any) -> Answer:
        return ask(self.port, method, path, *arguments, **named)

    def log(self, component: str = "engine") -> str:
        return (self.logs / f"{component}.log").read_text()

    def _answers(self) -> bool:
        if self.process is None or self.process.poll() is not None:
            raise AssertionError((self.directory / "output").read_text())
        try:
            return ask(self.port, "GET", "/", seconds=5).status == 200
        except (OSError, http.client.HTTPException):
            return False
