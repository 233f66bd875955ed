"""A sandbox and an engine, as the pages and the examples expect them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from .pages import Site, running_site


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with running_site(tmp_path) as site:
        yield site
