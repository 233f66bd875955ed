"""An OpenNebula to test on, a sandbox or a real one, with a user for one test at a time."""

from __future__ import annotations

import argparse
import contextlib
import itertools
import os
import secrets
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

from provision_engine.sandbox import Sandbox, Timings
from provision_engine.sandbox.clock import Clock
from tests.support.opennebula import ORDINARY_GROUP, OpenNebula
from tests.support.users import ADMINISTRATOR, USER, User


class MovableClock(Clock):
    """The clock of a sandbox. Engines follow it, as they follow OpenNebula's."""

    def __init__(self, ahead_seconds: float = 0.0) -> None:
        self.ahead_seconds = ahead_seconds

    def now(self) -> float:
        return time.time() + self.ahead_seconds


RELEASES = ("6.8.0", "7.4.0")
"""The default release of the sandbox."""


@dataclass
class Installation:
    """What one test case runs on; no other uses its user meanwhile."""

    release: str
    oned_url: str
    oneflow_url: str
    user: User
    admin: User | None = None
    """An administrator, to set quotas; absent in some real installations."""
    sandbox: Sandbox | None = None
    """None if the installation is a real one."""

    @property
    def opennebula(self) -> OpenNebula:
        """As the user sees it."""
        return OpenNebula(self.oned_url, self.oneflow_url, self.user)


class Target:
    """Which OpenNebula the tests run on, and how many cases it can run at the same time."""

    def __init__(
        self,
        oned_url: str = "",
        oneflow_url: str = "",
        users: tuple[User, ...] = (),
        admin: User | None = None,
        releases: tuple[str, ...] = RELEASES,
        timings: Timings | None = None,
    ) -> None:
        self.is_real = bool(oned_url)
        self._urls, self._users, self._admin = (oned_url, oneflow_url), users, admin
        self._timings = timings
        self._guard = threading.Lock()
        self._free = list(users)
        self.releases = (self._real_release(),) if self.is_real else releases

    def _real_release(self) -> str:
        someone = self._admin or (self._users[0] if self._users else None)
        if someone is None or not self._urls[1]:
            raise ValueError("a real OpenNebula needs --oneflow, and --admin or --user")
        return OpenNebula(*self._urls, someone).version()

    def lanes(self, wanted: int) -> int:
        """How many cases may run at once: a user for each."""
        return min(wanted, len(self._users)) if self.is_real and not self._admin else wanted

    @contextlib.contextmanager
    def installation(self, release: str) -> Iterator[Installation]:
        """For one lane; safe to call from any thread."""
        if not self.is_real:
            with Sandbox(release, timings=self._timings, hosts=1000) as box:
                yield Installation(release, box.oned_url, box.oneflow_url, USER, ADMINISTRATOR, box)
            return
        with self._user() as user:
            found = Installation(release, *self._urls, user, self._admin)
            try:
                yield found
            finally:
                found.opennebula.clear()

    @contextlib.contextmanager
    def _user(self) -> Iterator[User]:
        """One of the given users, or else one that is created and removed."""
        if self._admin is None:
            with self._guard:
                user = self._free.pop()
            yield user
            with self._guard:
                self._free.append(user)
            return
        with new_user(OpenNebula(*self._urls, self._admin)) as user:
            yield user


@contextlib.contextmanager
def new_user(admin: OpenNebula, group_id: int = ORDINARY_GROUP) -> Iterator[User]:
    """A user whom an administrator creates and removes."""
    user = User(f"pe-test-{secrets.token_hex(4)}", secrets.token_hex(8))
    user_id = admin.add_user(user, group_id)
    try:
        yield user
    finally:
        admin.call("user.delete", user_id)


@contextlib.contextmanager
def sandbox_process(release: str, *options: str) -> Iterator[Installation]:
    """A sandbox in a process of its own, so that it delays no client. Ctrl-C does not reach it."""
    ports = ("--oned-port", "0", "--oneflow-port", "0")
    command = [sys.executable, "-m", "provision_engine.sandbox", "--release", release, *ports]
    process = subprocess.Popen(
        [*command, *options], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        assert process.stdout is not None
        lines = itertools.takewhile(lambda line: line != "ready\n", process.stdout)
        urls = dict(line.split()[:2] for line in lines if "http" in line)
        yield Installation(release, urls["oned"], urls["oneflow"], USER)
    finally:
        process.terminate()
        process.wait(30)


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options that name a real OpenNebula; each has an environment variable too."""
    group = parser.add_argument_group(
        "a real OpenNebula", "Without --oned, sandboxes are started in this process."
    )

    def add(option: str, variable: str, **settings: object) -> None:
        text = f"{settings.pop('help')} (or {variable})"
        group.add_argument(option, default=os.environ.get(variable, ""), help=text, **settings)  # type: ignore[arg-type]

    add("--oned", "CONTRACT_ONED", metavar="URL", help="http://HOST:2633/RPC2")
    add("--oneflow", "CONTRACT_ONEFLOW", metavar="URL", help="http://HOST:2474")
    add(
        *("--admin", "CONTRACT_ADMIN"),
        metavar="NAME:PASSWORD",
        help="an administrator, who makes an ordinary user for each lane and removes it again",
    )
    group.add_argument(
        "--user",
        metavar="NAME:PASSWORD",
        action="append",
        type=User.from_text,
        default=[],
        help="instead of --admin: an ordinary user for these tests only, one for each lane",
    )
    parser.add_argument("--release", action="append", help="of the sandbox: 6.8.0, 7.4.0 or both")


def target(options: argparse.Namespace, timings: Timings | None = None) -> Target:
    """The target that the options name. ValueError when one is missing."""
    admin = User.from_text(options.admin) if options.admin else None
    releases = tuple(options.release or RELEASES)
    return Target(options.oned, options.oneflow, tuple(options.user), admin, releases, timings)
