"""Sandboxes of both releases; the results of the replay, printed at the end of a run."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from provision_engine.sandbox import ManualClock, Sandbox

from . import test_replay


@pytest.fixture(params=["6.8.0", "7.4.0"])
def sandbox(request: pytest.FixtureRequest) -> Iterator[Sandbox]:
    """A sandbox of each release, whose clock stands still."""
    with Sandbox(request.param, clock=ManualClock()) as running:
        yield running


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if not test_replay.FIGURES:
        return
    terminalreporter.section("sandbox: recorded calls replayed")
    for release, results in sorted(test_replay.FIGURES.items()):
        for line in test_replay.lines(release, results):
            terminalreporter.write_line(line)
