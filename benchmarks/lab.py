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

from benchmarks.bare import BareClient
from benchmarks.device import Device
from benchmarks.figures import at_once
from benchmarks.processes import Engine
from provision_engine.cloud import template
from provision_engine.engine.runtime import document
from provision_engine.engine.runtime.model import Function, Phase, Runtime
from provision_engine.engine.runtime.sizes import SIZES
from tests.support.client import Json
from tests.support.installation import Installation
from tests.support.opennebula import RUNTIME, SERVICE
from tests.support.waiting import wait_until

RUNNING_SECONDS = 180.0
WRITERS = 4


@dataclass
class Lab:
    """A cloud, an engine in front of it, and one name for everything that is created."""

    cloud: Installation
    flavour: str
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

    @property
    def members(self) -> Json:
        """What a create asks for: a function, named so that it is found for its removal."""
        return {"NAME": self.name, "FAAS": {"FLAVOUR": self.flavour}}

    def device(self, url: str = "") -> Device:
        return Device(url or self.engine.url, self.cloud.user)

    def bare(self) -> BareClient:
        return BareClient(self.cloud)

    def new_name(self) -> str:
        return f"{self.name}-{next(self._numbers)}"

    @contextmanager
    def runtime(self) -> Iterator[tuple[Device, Json]]:
        """A running runtime, which is deleted afterwards."""
        with contextlib.closing(self.device()) as device:
            made = device.create(**self.members)
            try:
                device.read_until(made["ID"], "RUNNING")
                yield device, made
            finally:
                self.delete(made["ID"])

    def delete(self, runtime_id: int) -> None:
        """Repeat the request while the runtime is locked: a standby may still be created."""
        with contextlib.closing(self.device()) as device:
            wait_until(lambda: device.delete(runtime_id).status in (204, 404), interval_seconds=0.2)

    def write_documents(self, total: int, sample: Json) -> None:
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
        one, left = self.cloud.opennebula, list[str]()
        for number, name in one.names(RUNTIME).items():
            if name == f"{self.name}-document":
                _try(left, f"document {number}", one.call, "document.delete", number)
            elif name == self.name:
                _try(left, f"runtime {number}", self.delete, number)
        for number, name in one.names(SERVICE).items():
            if name.startswith(f"{self.name}-"):
                _try(left, f"service {number}", one.end_service, number)
        return left


def _try(left: list[str], what: str, action: Callable[..., Any], *arguments: Any) -> None:
    try:
        action(*arguments)
    except (AssertionError, RuntimeError, OSError) as error:
        left.append(f"{what}: {error}")


def _body(name: str, sample: Json) -> str:
    """The document as the engine would write it."""
    now = int(time.time())
    function = sample["FAAS"]
    sizes = {size: function[size] for size in SIZES}
    return document.body_of(
        Runtime(
            id=-1,
            name=f"{name}-document",
            functions={"FAAS": Function(function["FLAVOUR"], sizes, function["VM_ID"])},
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
