"""A backend and an engine for each release; each test has to leave nothing behind."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest
import yaml

from provision_engine.sandbox import Sandbox, Timings
from tests.support.engine import engine_in_process
from tests.support.waiting import wait_until

from . import settings
from .device import PATH, Device
from .opennebula import OpenNebula, until

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


def engine(oned_url: str, oneflow_url: str, further: str = "") -> AbstractContextManager[str]:
    """The URL of an engine for that OpenNebula, with additional lines of engine.conf."""
    urls = {"one_xmlrpc": oned_url, "oneflow_server": oneflow_url}
    return engine_in_process(urls | (yaml.safe_load(further) or {}))


class Stage:
    """A backend, an engine for it, and the test users."""

    def __init__(self, oned_url: str, oneflow_url: str, sandbox: Sandbox | None) -> None:
        self.oned_url, self.oneflow_url, self.sandbox = oned_url, oneflow_url, sandbox
        self.opennebula = self.seen_by(settings.USER)
        self.engine_url = settings.ENGINE

    def seen_by(self, user: settings.User) -> OpenNebula:
        return OpenNebula(self.oned_url, self.oneflow_url, user)

    def configuration(self) -> str:
        mapped = self.opennebula.flow_template_id(settings.FLAVOUR)
        return (
            f"timeout: {TIMEOUT_SECONDS}\nmapping: {{{MAPPED}: {mapped}}}\ncache: {{seconds: 0}}\n"
        )

    def another_engine(self, further: str = "") -> AbstractContextManager[str]:
        return engine(self.oned_url, self.oneflow_url, further or self.configuration())


@contextmanager
def _backend(release: str) -> Iterator[Stage]:
    if settings.IS_REAL:
        stage = Stage(settings.ONED, settings.ONEFLOW, None)
        with _users(stage):
            settings.PATIENCE.measured(_start_seconds(stage.opennebula))
            yield stage
        return
    with Sandbox(release, timings=QUICK) as sandbox:
        yield Stage(sandbox.oned_url, sandbox.oneflow_url, sandbox)


@contextmanager
def _users(stage: Stage) -> Iterator[None]:
    """The users of this session, created and removed by the administrator if there is one."""
    if not settings.MAKES_USERS:
        yield
        return
    admin = stage.seen_by(settings.ADMIN)
    users = (settings.USER, settings.STRANGER)
    user_ids = [admin.add_user(user) for user in users]
    try:
        yield
    finally:
        for user, user_id in zip(users, user_ids, strict=True):
            stage.seen_by(user).clear()
            admin.call("user.delete", user_id)


def _start_seconds(opennebula: OpenNebula) -> float:
    """How long OpenNebula takes, without an engine, until the VM of a new service runs."""
    start = time.monotonic()
    service_id = opennebula.start_service(opennebula.flow_template_id(settings.FLAVOUR), "measure")
    try:
        vm_ids = wait_until(lambda: opennebula.service_vm_ids(service_id), 300, 0.1)
        wait_until(lambda: opennebula.vm_states(vm_ids) == {"RUNNING"}, 300, 0.1)
        seconds = time.monotonic() - start
        # Before its service is running too, it could not be undeployed cleanly.
        wait_until(lambda: opennebula.service_state(service_id) == 2, 300, 0.1)
    finally:
        opennebula.flow("DELETE", f"/service/{service_id}")
    wait_until(lambda: opennebula.refusal("document.info", service_id, False), 300, 0.1)
    return seconds


@pytest.fixture(scope="session", params=settings.RELEASES)
def whole_stage(request: pytest.FixtureRequest) -> Iterator[Stage]:
    with _backend(request.param) as stage:
        if settings.ENGINE:
            yield stage
            return
        with engine(stage.oned_url, stage.oneflow_url, stage.configuration()) as url:
            stage.engine_url = url
            yield stage


@pytest.fixture
def stage(whole_stage: Stage) -> Iterator[Stage]:
    """The stage; fails a test that leaves anything behind."""
    users = [whole_stage.opennebula, whole_stage.seen_by(settings.STRANGER)]
    before = [user.holdings() for user in users]
    yield whole_stage
    if whole_stage.sandbox is not None:
        _reset(whole_stage.sandbox)

    def is_as_before() -> bool:
        if [user.holdings() for user in users] == before:
            return True
        # What could not be removed at once is removed by the next request that reads it.
        for user in users:
            Device(whole_stage.engine_url, user.user).request("GET", PATH)
        time.sleep(0.2)
        return False

    until(is_as_before)
    left = [user.sweep(held) for user, held in zip(users, before, strict=True)]
    until(lambda: [user.holdings() for user in users] == before)
    assert left == [{}, {}], f"left behind: {left}"


def _reset(sandbox: Sandbox) -> None:
    sandbox.faults.clear()
    sandbox.timings = QUICK
    sandbox.on_call = None
    for user in (settings.USER, settings.STRANGER):
        sandbox.store.set_quota(user.name, VMS=-1, CPU=-1, MEMORY=-1, SYSTEM_DISK_SIZE=-1)


@pytest.fixture
def device(stage: Stage) -> Iterator[Device]:
    """The client of the ordinary user; what it created is deleted after the test."""
    client = Device(stage.engine_url, settings.USER)
    yield client
    if stage.sandbox is not None:
        _reset(stage.sandbox)
    for runtime_id in client.made:
        until(lambda made=runtime_id: client.delete(made).status_code in (204, 404))


@pytest.fixture
def stranger(stage: Stage) -> Device:
    """Another user's client."""
    return Device(stage.engine_url, settings.STRANGER)


@pytest.fixture
def opennebula(stage: Stage) -> OpenNebula:
    """OpenNebula as the ordinary user sees it."""
    return stage.opennebula


@pytest.fixture
def sandbox(stage: Stage) -> Sandbox:
    """For tests that have to manipulate the backend."""
    if stage.sandbox is None:
        pytest.skip("only the sandbox can be made to do this")
    return stage.sandbox
