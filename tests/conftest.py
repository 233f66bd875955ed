"""For all tests."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import hypothesis
import pytest
import yaml

# Where assertions of helpers fail, both sides are shown.
pytest.register_assert_rewrite("tests.support", "tests.cli.cli_engine")

from provision_engine import cli  # noqa: E402
from provision_engine.sandbox import Sandbox  # noqa: E402
from tests.support.engine import settings_for  # noqa: E402
from tests.support.opennebula import OpenNebula  # noqa: E402
from tests.support.users import USER, User  # noqa: E402

# A busy machine takes any time for an example.
hypothesis.settings.register_profile(
    "busy", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("busy")
# For the tests that try many inputs: --hypothesis-profile=long
hypothesis.settings.register_profile("long", max_examples=1000)

# A shell starts what it puts into the background with SIGINT ignored, and children inherit that:
# programs that are ended with Ctrl-C could not be tried then.
_is_ignored = signal.getsignal(signal.SIGINT) is signal.SIG_IGN
if _is_ignored and threading.current_thread() is threading.main_thread():
    signal.signal(signal.SIGINT, signal.default_int_handler)

SLOW = (
    "docs/test_demo",
    "docs/test_examples",
    "install/",
    "load/",
    "operations/test_prometheus",
    "operations/test_proxies",
    "reliability/",
    "security/test_hostile",
    "ui/",
)
"""What `bin/check` leaves to `bin/check --all`: crashes, faults, browsers, proxies, load."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if str(item.path.relative_to(Path(__file__).parent)).startswith(SLOW):
            item.add_marker("slow")


# ---- what many tests begin with ------------------------------------------------------------------


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox() as sandbox:
        yield sandbox


@pytest.fixture
def one(sandbox: Sandbox) -> OpenNebula:
    """OpenNebula as the ordinary user sees it."""
    return OpenNebula(sandbox.oned_url, sandbox.oneflow_url, USER)


class Printed(NamedTuple):
    """What a command printed, and its exit code."""

    code: int
    out: str
    err: str


@pytest.fixture
def command_settings() -> dict[str, Any]:
    """Additional settings of engine.conf for `run`."""
    return {}


@pytest.fixture
def run(
    sandbox: Sandbox,
    command_settings: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Callable[..., Printed]:
    """Calls a command as a user whose credentials are in a file."""
    engine_conf, one_auth = tmp_path / "engine.conf", tmp_path / "one_auth"
    engine_conf.write_text(yaml.safe_dump(settings_for(sandbox, **command_settings)))
    monkeypatch.setenv("ONE_AUTH", str(one_auth))

    def run(command: str, *arguments: str, user: User | None = USER) -> Printed:
        """Without a user, the file stays as it is."""
        if user is not None:
            one_auth.write_text(f"{user.session}\n")
        code = cli.main([command, "--config", str(engine_conf), *arguments])
        return Printed(code, *capsys.readouterr())

    return run


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
