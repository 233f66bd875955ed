"""Logs in a temporary directory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from provision_engine import log
from provision_engine.config import Log


@pytest.fixture(autouse=True)
def _no_request() -> Iterator[None]:
    """Removes what requests of other tests left in this process."""
    with log.request(""):
        yield


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Path]:
    """Logs at debug level, in a temporary directory."""
    log.start(Log(0, "file", tmp_path / "logs"))
    yield tmp_path / "logs"
    log.stop()
