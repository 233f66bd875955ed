"""What a run works with, and the removal of everything that it creates."""

from __future__ import annotations

import contextlib
import itertools
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.bare import RUNTIME, SERVICE, BareClient
from benchmarks.device import Device, Runtime
from benchmarks.figures import at_once
from benchmarks.processes import Cloud, Engine
from provision_engine.cloud import template
from provision_engine.engine.runtime import document
from provision_engine.engine.runtime.model import Function, Phase
from provision_engine.engine.runtime.model import Runtime as StoredRuntime
from provision_engine.engine.runtime.sizes import SIZES

RUNNING_SECONDS = 180.0
SERVICE_RUNNING = 2
WRITERS = 4


@dataclass
class Lab:
    """A cloud, an engine in front of it, and one name for everything that is created."""

    cloud: Cloud
    engine: Engine
    directory: Path
    rounds: int
    count: int
    """How many repetitions of a slow operation (a create) are measured."""
    seconds: float
    """How long the rate of a fast operation is measured in each round."""
    name: str = field(default_factory=lambda: f"bench-{secrets.token_hex(4)}")
    documents: list[int] = field(default_factory=list)
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    def device(self, port: int = 0) -> Device:
        cloud = self.cloud
        return Device(cloud.user, cloud.password, port or self.engine.port, self.name)

    def bare(self) -> BareClient:
        cloud = self.cloud
        return BareClient(cloud.oned_url, cloud.oneflow_url, cloud.user, cloud.password)

    def new_name(self) -> str:
        return f"{self.name}-{next(self._numbers)}"

    @contextmanager
    def runtime(self) -> Iterator[tuple[Device, Runtime]]:
        """A running runtime, which is deleted afterwards."""
        device = self.device()
        made = device.create(self.cloud.flavour)
        try:
            device.wait_until_running(made["ID"], RUNNING_SECONDS, 0.1)
            yield device, made
        finally:
            device.close()
            self.delete(made["ID"])

    def delete(self, runtime_id: int) -> None:
        device = self.device()
        device.delete(runtime_id)
        device.close()

    def wait_for_service(self, client: BareClient, service_id: int) -> None:
        """Waits until oneflow can undeploy it with one DELETE."""
        end = time.monotonic() + RUNNING_SECONDS
        while client.service_state(service_id) != SERVICE_RUNNING and time.monotonic() < end:
            time.sleep(0.2)

    def write_documents(self, total: int, sample: Runtime) -> None:
        """Write this many documents of runtimes directly, with the VM of a sample."""
        missing = total - len(self.documents)
        text = template.document(f"{self.name}-document", _body(self.name, sample))

        def write(number: int) -> None:
            client = self.bare()
            for _ in range(number, missing, WRITERS):
                self.documents.append(client.add_document(text))
            client.close()

        at_once(write, WRITERS)

    def sweep(self) -> list[str]:
        """Remove everything that has this run's name; returns what could not be removed."""
        left: list[str] = []
        client = self.bare()
        for number, name in client.names(RUNTIME).items():
            if name == f"{self.name}-document":
                _try(left, f"document {number}", client.call, "one.document.delete", number)
            elif name == self.name:
                _try(left, f"runtime {number}", self.delete, number)
        for number, name in client.names(SERVICE).items():
            if name.startswith(f"{self.name}-"):
                _try(left, f"service {number}", client.remove, number)
        client.close()
        return left


def _try(left: list[str], what: str, action: Callable[..., Any], *arguments: Any) -> None:
    try:
        action(*arguments)
    except (RuntimeError, OSError) as error:
        left.append(f"{what}: {error}")


def _body(name: str, sample: Runtime) -> str:
    """The document as the engine would write it."""
    now = int(time.time())
    function = sample["FAAS"]
    return document.body_of(
        StoredRuntime(
            id=-1,
            name=f"{name}-document",
            functions={
                "FAAS": Function(
                    function["FLAVOUR"],
                    {name: function[name] for name in SIZES},
                    function["VM_ID"],
                )
            },
            service_id=sample["SERVICE_ID"],
            service_name=f"{name}-document",
            phase=Phase.READY,
            created_at=now,
            intended_at=now,
        )
    )


@contextmanager
def swept(lab: Lab) -> Iterator[Lab]:
    """Remove what the run has created, even if it was interrupted."""
    try:
        yield lab
    finally:
        left = []
        with contextlib.suppress(KeyboardInterrupt):
            left = lab.sweep()
        for what in left:
            print(f"left behind: {what}")
