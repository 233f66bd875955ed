"""A backend and an engine for each release; each test has to leave nothing behind."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from provision_engine.sandbox import Sandbox
from tests.support.installation import MovableClock
from tests.support.opennebula import OpenNebula
from tests.support.waiting import wait_until

from . import settings
from .device import QUICK, Device, Stage


@contextmanager
def _backend(release: str) -> Iterator[Stage]:
    if settings.IS_REAL:
        stage = Stage(settings.ONED, settings.ONEFLOW, None)
        with _users(stage):
            settings.PATIENCE.measured(_start_seconds(stage.seen_by(settings.USER)))
            yield stage
        return
    clock = MovableClock()
    with Sandbox(release, timings=QUICK, clock=clock) as sandbox:
        yield Stage(sandbox.oned_url, sandbox.oneflow_url, sandbox, clock)


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
        opennebula.until_service_runs(service_id, 300)
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
        with stage.engine() as stage.engine_url:
            yield stage


@pytest.fixture
def stage(whole_stage: Stage) -> Iterator[Stage]:
    """The stage; fails a test that leaves anything behind."""
    users = [whole_stage.seen_by(user) for user in (settings.USER, settings.STRANGER)]
    before = [user.holdings() for user in users]
    yield whole_stage
    whole_stage.reset()

    def is_as_before() -> bool:
        if [user.holdings() for user in users] == before:
            return True
        # What could not be removed at once is removed by the next request that reads it.
        for user in users:
            whole_stage.device(user.user).list()
        time.sleep(0.2)
        return False

    try:
        wait_until(is_as_before)
    finally:
        left = [user.sweep(held) for user, held in zip(users, before, strict=True)]
        wait_until(lambda: [user.holdings() for user in users] == before)
    if whole_stage.clock is not None:
        whole_stage.clock.ahead_seconds = 0.0
    assert left == [{}, {}], f"left behind: {left}"


@pytest.fixture
def device(stage: Stage) -> Iterator[Device]:
    """The client of the ordinary user; what it created is deleted after the test."""
    client = stage.device()
    yield client
    stage.reset()
    for runtime_id in client.made:
        wait_until(lambda made=runtime_id: client.delete(made).status in (204, 404))


@pytest.fixture
def stranger(stage: Stage) -> Device:
    """Another user's client."""
    return stage.device(settings.STRANGER)


@pytest.fixture
def opennebula(stage: Stage) -> OpenNebula:
    """OpenNebula as the ordinary user sees it."""
    return stage.device().one


@pytest.fixture
def sandbox(stage: Stage) -> Sandbox:
    """For tests that have to manipulate the backend."""
    return stage.device().sandbox


@pytest.fixture
def only_sandbox(device: Device) -> None:
    """Skips a test on a real OpenNebula before it makes anything there."""
    assert device.sandbox
