"""For all tests."""

from __future__ import annotations

import os
import signal
import threading

import hypothesis
import pytest

# A busy machine takes any time for an example.
hypothesis.settings.register_profile(
    "busy", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("busy")

# Where assertions of helpers fail, both sides are shown.
pytest.register_assert_rewrite("tests.support", "tests.cli.cli_engine")

# A shell starts what it puts into the background with SIGINT ignored, and children inherit that:
# programs that are ended with Ctrl-C could not be tried then.
_is_ignored = signal.getsignal(signal.SIGINT) is signal.SIG_IGN
if _is_ignored and threading.current_thread() is threading.main_thread():
    signal.signal(signal.SIGINT, signal.default_int_handler)

# ---- no test is skipped because a program is missing, where TESTS_NEED_PROGRAMS is set ---------

_MISSING = ("is not installed", "apt-get install")
_skipped: list[str] = []


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.skipped and isinstance(report.longrepr, tuple):
        reason = str(report.longrepr[2])
        if any(words in reason for words in _MISSING):
            _skipped.append(f"{report.nodeid}: {reason}")


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    is_controller = not hasattr(session.config, "workerinput")
    if _skipped and is_controller and os.environ.get("TESTS_NEED_PROGRAMS"):
        session.exitstatus = max(session.exitstatus, pytest.ExitCode.TESTS_FAILED)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if _skipped and os.environ.get("TESTS_NEED_PROGRAMS"):
        terminalreporter.section("skipped although TESTS_NEED_PROGRAMS is set", red=True)
        for line in _skipped:
            terminalreporter.line(line)
