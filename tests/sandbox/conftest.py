"""Sandboxes of both releases."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from provision_engine.sandbox import ManualClock, Sandbox


@pytest.fixture(params=["6.8.0", "7.4.0"])
def sandbox(request: pytest.FixtureRequest) -> Iterator[Sandbox]:
    """A sandbox of each release, whose clock stands still."""
    with Sandbox(request.param, clock=ManualClock()) as running:
        yield running
