"""Fixtures: engines that are stopped after each test, and a user at a command line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from provision_engine.sandbox import Sandbox, Timings
from tests.support.waiting import wait_until

from .cli_engine import Engine
from .desk import PASSWORD, USER, Desk, RealEngine


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = Engine(tmp_path)
    yield engine
    engine.end()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """One running engine for the tests of a module that leave it as it is."""
    engine = Engine(tmp_path_factory.mktemp("engine"))
    engine.start()
    yield engine
    engine.end()


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Sandbox, RealEngine]]:
    with Sandbox("7.4.0", timings=Timings()) as sandbox:
        engine = RealEngine(tmp_path_factory.mktemp("engine"))
        engine.configuration |= {"one_xmlrpc": sandbox.oned_url, "cache": {"seconds": 0}}
        engine.configuration["oneflow_server"] = sandbox.oneflow_url
        engine.configuration["server"]["threads"] = 16
        engine.write()
        engine.start()
        yield sandbox, engine
        engine.end()


@pytest.fixture
def desk(stage: tuple[Sandbox, RealEngine], tmp_path: Path) -> Iterator[Desk]:
    """With credentials where OpenNebula's own tools look for them; leaves nothing behind."""
    sandbox, engine = stage
    (tmp_path / ".one").mkdir()
    (tmp_path / ".one/one_auth").write_text(f"{USER}:{PASSWORD}\n")
    desk = Desk(f"http://127.0.0.1:{engine.port}", tmp_path, sandbox)
    yield desk
    sandbox.faults.clear()
    sandbox.store.set_quota(USER, VMS=-1)
    left = [str(entry["SERVERLESS_RUNTIME"]["ID"]) for entry in desk.json("list")]
    if left:
        wait_until(lambda: desk.run("delete", *left).returncode in (0, 3))
