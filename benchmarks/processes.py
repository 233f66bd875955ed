"""The processes that are measured: an OpenNebula, engines in front of it, and a proxy."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import psutil

from provision_engine.sandbox import Sandbox, Timings

START_SECONDS = 20.0
HAPROXY_CONFIGURATION = Path(__file__).parents[1] / "etc" / "haproxy.cfg"


@dataclass(frozen=True)
class Cloud:
    """An OpenNebula and a user of it."""

    oned_url: str
    oneflow_url: str
    user: str = "devuser"
    password: str = "devpass"
    flavour: str = "Function"
    name: str = "OpenNebula"


@contextmanager
def sandbox(release: str, profile: str) -> Iterator[Cloud]:
    """A sandbox in a separate process. Profile: ``none`` or ``measured``."""
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, release, profile))
    process.start()
    try:
        oned_url, oneflow_url = ours.recv()
        yield Cloud(oned_url, oneflow_url, name=f"sandbox {release} ({profile})")
    finally:
        ours.send("stop")
        process.join(START_SECONDS)


def _serve(control: Connection, release: str, profile: str) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the benchmark stops it after cleaning up
    measured = profile == "measured"
    timings = Timings.measured(release) if measured else Timings(vms_visible_seconds=0.0)
    latency = "measured" if measured else None
    with Sandbox(release=release, timings=timings, latency=latency, hosts=2000) as box:
        control.send((box.oned_url, box.oneflow_url))
        control.recv()


@dataclass
class Engine:
    """A running engine, in separate processes."""

    port: int
    master: psutil.Process

    def cpu_seconds(self) -> float:
        """The CPU time that master and workers have used so far."""
        return sum(sum(process.cpu_times()[:2]) for process in self._processes())

    def memory_mb(self) -> float:
        """The memory of master and workers together; shared memory is counted once."""
        return sum(process.memory_full_info().pss for process in self._processes()) / 2**20

    def _processes(self) -> list[psutil.Process]:
        return [self.master, *self.master.children(recursive=True)]


@contextmanager
def engine(cloud: Cloud, directory: Path, **settings: Any) -> Iterator[Engine]:
    """The engine on a free port, with these settings of engine.conf besides the usual ones."""
    port = _free_port()
    directory.mkdir(parents=True, exist_ok=True)
    configuration = {
        "one_xmlrpc": cloud.oned_url,
        "oneflow_server": cloud.oneflow_url,
        "port": port,
        "timeout": 60,
        "log": {"level": 2, "directory": str(directory)},
    }
    server = {"pid_file": str(directory / "engine.pid")}
    configuration |= settings | {"server": server | settings.get("server", {})}
    path = directory / "engine.conf"
    path.write_text(json.dumps(configuration), encoding="utf-8")
    command = [sys.executable, "-m", "provision_engine", "--config", str(path), "start"]
    with _process([*command, "--foreground"], directory) as process:
        _wait_for(port)
        yield Engine(port, psutil.Process(process.pid))


@contextmanager
def engines_behind_proxy(cloud: Cloud, directory: Path, count: int) -> Iterator[int]:
    """This many engines of one worker each behind etc/haproxy.cfg; the proxy's port."""
    with ExitStack() as stack:
        running = [
            stack.enter_context(engine(cloud, directory / f"engine{n}", server={"workers": 1}))
            for n in range(count)
        ]
        ports = [engine.port for engine in running]
        # A server that is left out of the configuration is one that nobody listens for.
        ports += [_free_port() for _ in range(3 - count)]
        variables = {f"PROVISION_ENGINE_{n}": f"127.0.0.1:{p}" for n, p in enumerate(ports, 1)}
        port = _free_port()
        variables["PROVISION_ENGINE_BIND"] = f"127.0.0.1:{port}"
        command = ["haproxy", "-db", "-f", str(HAPROXY_CONFIGURATION)]
        stack.enter_context(_process(command, directory, variables))
        _wait_for(port)
        time.sleep(3)  # by then the checks have found which engines there are
        yield port


@contextmanager
def _process(
    command: list[str], directory: Path, variables: dict[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A process that Ctrl-C does not reach, because the cleanup still needs it."""
    environment = os.environ | (variables or {})
    with (directory / "output").open("ab") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=output, env=environment, start_new_session=True
        )
    try:
        yield process
    finally:
        process.terminate()
        process.wait(START_SECONDS)


def _wait_for(port: int) -> None:
    end = time.monotonic() + START_SECONDS
    while True:
        try:
            with socket.create_connection(("127.0.0.1", port), 1) as connection:
                connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
                if connection.recv(1):
                    return
        except OSError:
            if time.monotonic() > end:
                raise
        time.sleep(0.01)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
