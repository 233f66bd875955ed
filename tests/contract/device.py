"""A device client beside the OpenNebula it uses, and what tests of the lifecycle need."""

from __future__ import annotations

import dataclasses
import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest

from provision_engine.sandbox import Sandbox, Timings
from tests.support import client
from tests.support.client import RUNTIMES as PATH
from tests.support.client import Json
from tests.support.engine import engine_in_process, settings_for
from tests.support.installation import MovableClock
from tests.support.opennebula import RUNTIME, OpenNebula, calls_of
from tests.support.users import User

from . import settings
from .settings import DATA_FLAVOUR, DISK_MB, ENGINE, FLAVOUR, USER

__all__ = ["PATH", "Json"]

QUICK = Timings(
    vms_visible_seconds=0.02,
    schedule_seconds=0.01,
    prolog_seconds=0.03,
    boot_seconds=0.03,
    boot_failure_seconds=0.03,
    shutdown_seconds=0.02,
    service_failure_seconds=1.0,  # a create has to see the VMs before their service fails
    nets_seconds=0.01,
)
TIMEOUT_SECONDS = 90 if settings.IS_REAL else 30
"""Of the engine."""
MAPPED = "mapped"
"""A flavour that engine.conf maps to the flow template of CONTRACT_FLAVOUR."""
WRONG = USER._replace(password="wrong")
NO_HOST = "FREE_CPU > 1000000"
"""Requirements that no host satisfies."""


def small(**members: Any) -> Json:
    """A function VM as devices request it."""
    return {"FLAVOUR": FLAVOUR, "CPU": 1, "MEMORY": 128, "DISK_SIZE": DISK_MB, **members}


def data(**members: Any) -> Json:
    return small(**{"FLAVOUR": DATA_FLAVOUR} | members)


class Stage:
    """A backend, and the engine of this session for it."""

    def __init__(
        self,
        oned_url: str,
        oneflow_url: str,
        sandbox: Sandbox | None,
        clock: MovableClock | None = None,
    ) -> None:
        self.oned_url, self.oneflow_url = oned_url, oneflow_url
        self.sandbox, self.clock = sandbox, clock
        self.engine_url = settings.ENGINE

    def seen_by(self, user: User) -> OpenNebula:
        return OpenNebula(self.oned_url, self.oneflow_url, user)

    def device(self, user: User = USER, url: str = "") -> Device:
        return Device(url or self.engine_url, user, self)

    def engine(self, **further: Any) -> AbstractContextManager[str]:
        """The URL of an engine of its own, with additional settings of engine.conf."""
        mapped = self.seen_by(USER).flow_template_id(FLAVOUR)
        usual = {"timeout": TIMEOUT_SECONDS, "mapping": {MAPPED: mapped}, "cache": {"seconds": 0}}
        return engine_in_process(settings_for(self, **usual | further))

    def now(self) -> float:
        """The time of OpenNebula."""
        return self.clock.now() if self.clock else time.time()

    def reset(self) -> None:
        """Let a sandbox work as usual."""
        if self.sandbox is None:
            return
        self.sandbox.faults.clear()
        self.sandbox.timings = QUICK
        self.sandbox.on_call = None
        for user in (USER, settings.STRANGER):
            unlimited = dict.fromkeys(("VMS", "CPU", "MEMORY", "SYSTEM_DISK_SIZE"), -1)
            self.sandbox.store.set_quota(user.name, **unlimited)


class Device(client.Device):
    """One user's client, and that user's view of OpenNebula."""

    def __init__(self, url: str, user: User, stage: Stage) -> None:
        super().__init__(url, user)
        self.stage = stage
        self.one = stage.seen_by(user)

    @property
    def sandbox(self) -> Sandbox:
        """For tests that have to manipulate the backend; skips them on a real one."""
        if self.stage.sandbox is None:
            pytest.skip("only the sandbox can be made to do this")
        return self.stage.sandbox

    @contextmanager
    def another_engine(self, **further: Any) -> Iterator[Device]:
        """The same user's client of another engine; what it creates is this one's to delete."""
        if ENGINE:
            pytest.skip("the running engine has its own configuration")
        with self.stage.engine(**further) as url:
            other = self.stage.device(self.user, url)
            other.made = self.made
            yield other

    def pass_time(self, seconds: float) -> None:
        """Let a sandbox's clock go so far ahead at once; a real OpenNebula takes its time."""
        if self.stage.clock is not None:
            self.stage.clock.ahead_seconds += seconds

    def slow_down(self, **seconds: float) -> None:
        """Let actions of a sandbox take so long, until the end of the test."""
        self.sandbox.timings = dataclasses.replace(QUICK, **seconds)

    def limit(self, **quota: float) -> None:
        """Set quotas of the user."""
        self.sandbox.store.set_quota(self.user.name, **quota)

    def create(self, **members: Any) -> Json:
        return super().create(**(members or {"FAAS": small()}))

    def create_stuck(self, **members: Any) -> Json:
        """A runtime that stays PENDING."""
        return self.create(FAAS=small(), SCHEDULING={"REQUIREMENTS": NO_HOST}, **members)

    def release(self, runtime: Json, role: str = "FAAS") -> None:
        """Let a stuck runtime find its host."""
        placeable = 'SCHED_REQUIREMENTS="FREE_CPU > 0"'
        self.sandbox.store.set_user_template(runtime[role]["VM_ID"], placeable)

    @contextmanager
    def counted(self) -> Iterator[Counter[str]]:
        """Counts the calls that reach OpenNebula, by method (oned) or method and path (oneflow)."""
        calls: Counter[str] = Counter()
        already = len(self.sandbox.calls)
        yield calls
        for call in calls_of(self.sandbox, already):
            calls[call.method if call.backend == "oned" else f"{call.method} {call.path}"] += 1

    def document(self, name: str = "by-hand", **members: Any) -> int:
        """The id of a runtime's document that is written by hand."""
        return document(self.one, name, **members)


def document(one: OpenNebula, name: str = "by-hand", **members: Any) -> int:
    """The id of a runtime's document that is written by hand."""
    engine = {"PHASE": "READY", "SERVICE_NAME": name, "CREATED_AT": int(time.time())}
    engine |= members.pop("ENGINE", {})
    faas = {"FLAVOUR": FLAVOUR, "CPU": 1, "MEMORY": 128, "DISK_SIZE": 1025}
    faas |= members.pop("FAAS", {})
    return raw_document(one, name, json.dumps({"FAAS": faas, "ENGINE": engine, **members}))


def raw_document(one: OpenNebula, name: str, body: str, kind: int = RUNTIME) -> int:
    template = f"<TEMPLATE><NAME>{name}</NAME><BODY><![CDATA[{body}]]></BODY></TEMPLATE>"
    return int(one.call("document.allocate", template, kind))


def ids(runtimes: list[Json]) -> list[int]:
    return [runtime["ID"] for runtime in runtimes]


@contextmanager
def beside(call: Callable[[], Any]) -> Iterator[Future[Any]]:
    """A request that is in flight while the test does something else."""
    with ThreadPoolExecutor(1) as pool:
        yield pool.submit(call)
