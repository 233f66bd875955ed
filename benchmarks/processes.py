"""The processes that are measured: an OpenNebula, and the engine in front of it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import psutil

from provision_engine.sandbox import Sandbox, Timings

START_SECONDS = 20.0


@dataclass(frozen=True)
class Cloud:
    """An OpenNebula and a user of it."""

    oned_url: str
    oneflow_url: str
    user: str = "devuser"
    password: str = "devpass"
    flavour: str = "nature"
    name: str = "OpenNebula"
    control: Connection | None = None
    """To the sandbox's process; None where a real OpenNebula is measured."""

    def ask(self, what: str, *arguments: Any) -> Any:
        """Have the sandbox's process do or tell something (see ``_serve``)."""
        if self.control is None:
            raise RuntimeError("a real OpenNebula cannot be asked")
        self.control.send((what, *arguments))
        return self.control.recv()


@contextmanager
def sandbox(release: str, profile: str, flow_templates: int = 0) -> Iterator[Cloud]:
    """A sandbox in a process of its own. Profile: ``none`` or ``measured``."""
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, release, profile, flow_templates))
    process.start()
    try:
        oned_url, oneflow_url = ours.recv()
        yield Cloud(oned_url, oneflow_url, name=f"sandbox {release} ({profile})", control=ours)
    finally:
        ours.send(("stop",))
        process.join(START_SECONDS)


def _serve(control: Connection, release: str, profile: str, flow_templates: int) -> None:
    measured = profile == "measured"
    timings = Timings.measured(release) if measured else Timings(vms_visible_seconds=0.0)
    latency = "measured" if measured else None
    with Sandbox(release=release, timings=timings, latency=latency, hosts=2000) as box:
        roles = [{"name": "FAAS", "cardinality": 1, "vm_template": 0, "template_id": 0}]
        for number in range(flow_templates):
            box.store.add_flow_template(f"unused-{number}", roles)
        control.send((box.oned_url, box.oneflow_url))
        answers = {
            "calls": lambda: [(call.backend, call.method) for call in box.calls],
            "clear": box.clear_calls,
            "connections": lambda: dict(box.connections),
            "slow": lambda backend, seconds: box.faults.set(backend, "slow", seconds=seconds),
            "mend": box.faults.clear,
        }
        while (asked := control.recv())[0] != "stop":
            answer = answers[asked[0]](*asked[1:])
            control.send(answer if isinstance(answer, list | dict) else None)


def real_cloud(environment: Mapping[str, str] = os.environ) -> Cloud | None:
    """A real OpenNebula, by the same variables as the contract tests; None without them."""
    oned_url = environment.get("CONTRACT_ONED")
    if not oned_url:
        return None
    return Cloud(
        oned_url,
        environment["CONTRACT_ONEFLOW"],
        environment["CONTRACT_USER"],
        environment["CONTRACT_PASSWORD"],
        environment.get("CONTRACT_FLAVOUR", "Function"),
    )


@dataclass
class Engine:
    """An engine that runs, in processes of its own."""

    port: int
    master: psutil.Process
    start_seconds: float

    def cpu_seconds(self) -> float:
        """What master and workers have used so far."""
        return sum(sum(p.cpu_times()[:2]) for p in self._processes())

    def memory_mb(self) -> float:
        """Of master and workers together; what they share is counted once."""
        return sum(p.memory_full_info().pss for p in self._processes()) / 2**20

    def threads(self) -> int:
        return sum(p.num_threads() for p in self._processes())

    def _processes(self) -> list[psutil.Process]:
        return [self.master, *self.master.children(recursive=True)]


@contextmanager
def engine(cloud: Cloud, directory: Path, **settings: Any) -> Iterator[Engine]:
    """The engine on a free port, with these settings of engine.conf besides the usual ones."""
    port = _free_port()
    configuration = {
        "one_xmlrpc": cloud.oned_url,
        "oneflow_server": cloud.oneflow_url,
        "port": port,
        "log": {"level": 2, "directory": str(directory)},
        "server": {"pid_file": str(directory / "engine.pid")},
        **settings,
    }
    path = directory / "engine.conf"
    path.write_text(json.dumps(configuration), encoding="utf-8")
    command = [sys.executable, "-m", "provision_engine", "--config", str(path), "start"]
    began = time.perf_counter()
    process = subprocess.Popen([*command, "--foreground"])
    try:
        _wait_for(port)
        yield Engine(port, psutil.Process(process.pid), time.perf_counter() - began)
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
            time.sleep(0.005)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
