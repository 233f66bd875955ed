"""Prints the results of the replay at the end of a run."""

from __future__ import annotations

import pytest

from . import test_replay


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if not test_replay.FIGURES:
        return
    terminalreporter.section("sandbox: recorded calls replayed")
    for release, results in sorted(test_replay.FIGURES.items()):
        for line in test_replay.lines(release, results):
            terminalreporter.write_line(line)
