"""A real engine in front of a sandbox."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from provision_engine.sandbox import Sandbox
from tests.support.engine import EngineProcess, engine_process, is_answering
from tests.support.waiting import wait_until


@pytest.fixture
def engine(tmp_path: Path, sandbox: Sandbox) -> Iterator[EngineProcess]:
    """Two workers, so that their counters have to be added up."""
    server = {"workers": 2, "grace_seconds": 1}
    with engine_process(tmp_path, sandbox, server=server) as engine:
        wait_until(lambda: is_answering(engine.port, "/healthz"))
        yield engine
