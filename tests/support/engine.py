"""The two ways to start an engine: in this process, or as a separate process."""

from __future__ import annotations

import http.client
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import yaml
from werkzeug.serving import WSGIRequestHandler, make_server

from provision_engine.app import create_app
from provision_engine.config import Configuration, parse
from tests.support.client import Response, request
from tests.support.ports import free_port
from tests.support.waiting import WAIT_SECONDS, wait_until

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication


class Backend(Protocol):
    """A sandbox, a proxy, or anything else with the URLs of oned and oneflow."""

    @property
    def oned_url(self) -> str: ...

    @property
    def oneflow_url(self) -> str: ...


def settings_for(backend: Backend, **settings: Any) -> dict[str, Any]:
    """The settings of engine.conf for a backend."""
    urls = {"one_xmlrpc": backend.oned_url, "oneflow_server": backend.oneflow_url}
    return urls | {"timeout": 30} | settings


def configuration(settings: Mapping[str, Any]) -> Configuration:
    return parse(yaml.safe_dump(dict(settings)), Path("/nowhere/engine.conf"))


# ---- in this process -----------------------------------------------------------------------

_building = threading.Lock()
"""Werkzeug compiles each route with `ast`, which up to Python 3.11.4 fails when threads do it at
the same time (SystemError: AST constructor recursion depth mismatch)."""


class _Quiet(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"

    def log(self, type: str, message: str, *args: object) -> None:
        """Nothing: the tests look at responses."""


@contextmanager
def engine_in_process(settings: Mapping[str, Any]) -> Iterator[str]:
    """An engine with these settings on a free port of 127.0.0.1; its URL."""
    with _building:
        app = create_app(configuration(settings))
    with served(app) as url:
        yield url


@contextmanager
def served(app: WSGIApplication) -> Iterator[str]:
    """An application on a free port of 127.0.0.1; its URL."""
    server: Any = make_server("127.0.0.1", 0, app, threaded=True, request_handler=_Quiet)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


# ---- a separate process --------------------------------------------------------------------


@dataclass
class EngineProcess:
    """``provision-engine start --foreground``, as a service manager runs it."""

    directory: Path
    """Holds engine.conf, the logs, the pid file and the output."""
    settings: Mapping[str, Any]
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None
    SERVER: ClassVar[Mapping[str, Any]] = {"workers": 1}
    LOG: ClassVar[Mapping[str, Any]] = {"level": 0}

    def __post_init__(self) -> None:
        self.file = self.directory / "engine.conf"
        self.logs = self.directory / "logs"
        self.pid_file = self.directory / "run" / "engine.pid"
        self.pid_file.parent.mkdir(parents=True, exist_ok=True)
        self.file.write_text(yaml.safe_dump(self._complete()))
        self._guard = threading.Lock()

    def _complete(self) -> dict[str, Any]:
        server = {**self.SERVER, "pid_file": str(self.pid_file)}
        given = dict(self.settings)
        return given | {
            "host": "127.0.0.1",
            "port": self.port,
            "log": {**self.LOG, "directory": str(self.logs)},
            "server": server | given.get("server", {}),
        }

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self, environment: Mapping[str, str] | None = None) -> None:
        """Starts it; returns when it responds."""
        with (self.directory / "output").open("ab") as output:
            self.process = subprocess.Popen(
                [*self.command("start"), "--foreground"],
                stdout=output,
                stderr=output,
                start_new_session=True,
                env={**os.environ, **(environment or {})},
            )
        wait_until(self.answers)

    def command(self, *arguments: str) -> list[str]:
        """A command line that uses this engine's configuration."""
        first = [sys.executable, "-m", "provision_engine", "--config", str(self.file)]
        return [*first, *arguments]

    def kill(self) -> None:
        """Sends SIGKILL to the engine and its workers, which are a process group."""
        with self._guard:
            process = self.process  # another thread may start the next one meanwhile
            if process is not None and process.returncode is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()

    close = kill

    def stop(self) -> None:
        """Stops it as a service manager does."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(WAIT_SECONDS)

    def request(self, method: str, path: str, *arguments: Any, **named: Any) -> Response:
        return request(self.port, method, path, *arguments, **named)

    def answers(self) -> bool:
        """Does it respond now? AssertionError with its output if it has ended."""
        if self.process is None or self.process.poll() is not None:
            raise AssertionError((self.directory / "output").read_text())
        return is_answering(self.port)

    def log(self, component: str = "engine") -> str:
        return (self.logs / f"{component}.log").read_text()

    def warnings(self, count: int = 5) -> str:
        """The latest lines of that severity or a higher one in engine.log."""
        lines = [line for line in self.log().splitlines() if line.startswith(("W,", "E,", "F,"))]
        return "\n".join(lines[-count:])

    def workers(self) -> list[int]:
        """Process ids."""
        assert self.process is not None
        pid = self.process.pid
        return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@contextmanager
def engine_process(directory: Path, backend: Backend, **settings: Any) -> Iterator[EngineProcess]:
    """A started engine with additional settings of engine.conf; it is killed afterwards."""
    engine = EngineProcess(directory, settings_for(backend, **settings))
    try:
        engine.start()
        yield engine
    finally:
        engine.kill()


def is_answering(port: int, path: str = "/") -> bool:
    """Does a server on this port respond with 200?"""
    try:
        return request(port, "GET", path, user=None, seconds=5).status == 200
    except (OSError, http.client.HTTPException):
        return False
