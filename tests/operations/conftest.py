"""A real engine in front of a sandbox."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from provision_engine.sandbox import Sandbox

from .engine_process import Engine


@pytest.fixture
def engine(tmp_path: Path, sandbox: Sandbox) -> Iterator[Engine]:
    engine = Engine(tmp_path, sandbox)
    engine.start()
    yield engine
    engine.stop()
