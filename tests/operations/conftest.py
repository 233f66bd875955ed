"""Fixtures for all tests here: a sandbox, and a real engine in front of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from provision_engine.sandbox import Sandbox

from .engine_process import Engine


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox() as sandbox:
        yield sandbox


@pytest.fixture
def engine(tmp_path: Path, sandbox: Sandbox) -> Iterator[Engine]:
    engine = Engine(tmp_path, sandbox)
    engine.start()
    yield engine
    engine.stop()
