"""Many cases at the same time, each in a lane of its own; they mostly wait."""

from __future__ import annotations

import argparse
import contextlib
import http.client
import itertools
import logging
import os
import queue
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar
from urllib.parse import urlsplit

from tests.support.client import RUNTIMES, SPECIFICATIONS, Response, request
from tests.support.engine import EngineProcess, engine_in_process, engine_process, settings_for
from tests.support.installation import Installation, Target, add_options
from tests.support.opennebula import OpenNebula
from tests.support.programs import Done, run
from tests.support.proxy import Proxy
from tests.support.users import User
from tests.support.waiting import wait_until

NOTHING = {"runtimes": 0, "services": 0, "VMs": 0, "locks": 0}
REPEAT = (423, 429, 502, 503, 504)
"""A client repeats a request that was answered so, or not at all."""
GATEWAY_TIMEOUT = 504
PATIENCE_SECONDS = 180.0
PAUSES_SECONDS = (0.5, 0.5, 0.5, 1.0, 2.0, 4.0)
RESPONSE_SECONDS = 300.0
"""Longer than any timeout of an engine here."""


@dataclass
class Lane:
    """An OpenNebula with a user of its own, a proxy before it, and an engine before that."""

    installation: Installation
    proxy: Proxy
    timeout_seconds: float = 0.0
    """Of the engine."""
    port: int = 0
    """Of the engine."""
    engine: EngineProcess | None = None
    """None if it is in this process."""
    specification: str = "FAAS"
    key: str = ""
    runtime_id: int = 0
    is_unsure: bool = False
    """A request was answered 504. A service that it asked for may still appear, and is left to the
    next request that reads its document: a list."""
    reconcile: Callable[[], str] = field(default=lambda: "")
    """Run ``provision-engine reconcile --apply``; what it printed."""
    reconcile_seconds: float = 0.0
    """The timeout of that command; what is younger than twice that, it leaves alone."""

    @property
    def opennebula(self) -> OpenNebula:
        return self.installation.opennebula

    @property
    def is_real(self) -> bool:
        return self.installation.sandbox is None

    def warnings(self) -> str:
        """The latest warnings and errors in the engine's log, if it has one."""
        return self.engine.warnings() if self.engine else ""

    @property
    def members(self) -> dict[str, Any]:
        """What is asked for."""
        return SPECIFICATIONS[self.specification]

    @property
    def path(self) -> str:
        return f"{RUNTIMES}/{self.runtime_id}"

    def request(self, method: str, path: str, *arguments: Any, **named: Any) -> Response:
        named.setdefault("seconds", RESPONSE_SECONDS)
        user = self.installation.user
        response = request(self.port, method, path, *arguments, user=user, **named)
        self.is_unsure |= response.status == GATEWAY_TIMEOUT
        return response

    def expected(self, runtimes: int) -> dict[str, int]:
        """What there is in OpenNebula when there are so many runtimes, and nothing is wrong."""
        vms = runtimes * len(self.members)
        return {"runtimes": runtimes, "services": runtimes, "VMs": vms, "locks": 0}


def until_accepted(
    send: Callable[[], Response],
    accepted: tuple[int, ...],
    seconds: float = PATIENCE_SECONDS,
    pauses_seconds: Iterable[float] = PAUSES_SECONDS,
) -> Response:
    """Repeat as a client does, until it is accepted. AssertionError when it is refused.

    The pauses grow, so that an OpenNebula that is too slow for the engine's timeout recovers.
    """
    end = time.monotonic() + seconds
    pauses = itertools.chain(pauses_seconds, itertools.repeat(PAUSES_SECONDS[-1]))
    while True:
        told = "the connection broke"
        with contextlib.suppress(OSError, http.client.HTTPException):
            response = send()
            if response.status in accepted:
                return response
            told = f"{response.status} {response.content.decode()[:300]}"
            if response.status not in REPEAT:
                raise AssertionError(told)
        if time.monotonic() > end:
            raise AssertionError(told)
        time.sleep(next(pauses))


def until_count(lane: Lane, *expected: dict[str, int], seconds: float = PATIENCE_SECONDS) -> str:
    """Wait until there is what is expected; what there is instead, empty if nothing."""

    def is_met() -> bool:
        if lane.is_unsure:
            lane.request("GET", RUNTIMES)
        return lane.opennebula.count() in expected

    try:
        wait_until(is_met, seconds, 0.25)
    except AssertionError:
        return f"{lane.opennebula.holdings()} instead of {' or '.join(map(str, expected))}"
    return ""


class HasRelease(Protocol):
    @property
    def release(self) -> str: ...


class HasWrong(Protocol):
    case: Any
    wrong: list[str]


C = TypeVar("C", bound=HasRelease)
O = TypeVar("O", bound=HasWrong)  # noqa: E741
OpenLane = Callable[[str], contextlib.AbstractContextManager[Lane]]


def run_all(
    cases: Iterable[C],
    open_lane: OpenLane,
    run_case: Callable[[Lane, C], O],
    outcome: Callable[..., O],
    lanes: int,
) -> list[O]:
    """All of these cases, several at the same time; the outcomes in their order.

    A lane in which a case raises is closed, and the next case gets a new one; ``outcome`` makes an
    outcome of the case and of what is ``wrong``.
    """
    ordered = list(cases)
    waiting: queue.Queue[int] = queue.Queue()
    for number in sorted(range(len(ordered)), key=lambda number: ordered[number].release):
        waiting.put(number)
    outcomes: dict[int, O] = {}

    def done(number: int, found: O) -> None:
        outcomes[number] = found
        if sys.stderr.isatty():
            sys.stderr.write(f"\r{len(outcomes)} of {len(ordered)} ")

    def failed(number: int, error: object) -> None:
        done(number, outcome(ordered[number], wrong=[f"{type(error).__name__}: {error}"]))

    def work() -> None:
        with contextlib.suppress(queue.Empty):
            first = waiting.get_nowait()
            while True:
                first = work_in_lane(first)

    def work_in_lane(number: int) -> int:
        """Cases of one release, until one of them raises; the first that is not among them."""
        release = ordered[number].release
        with contextlib.ExitStack() as stack:
            try:
                lane = stack.enter_context(open_lane(release))
            except Exception as error:
                failed(number, error)
                return waiting.get_nowait()
            while True:
                try:
                    done(number, run_case(lane, ordered[number]))
                except Exception as error:
                    failed(number, error)
                    return waiting.get_nowait()
                number = waiting.get_nowait()
                if ordered[number].release != release:
                    return number

    threads = [threading.Thread(target=work) for _ in range(min(lanes, len(ordered)))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [
        outcomes[n] if n in outcomes else outcome(ordered[n], wrong=["it was not run"])
        for n in range(len(ordered))
    ]


def wrong_lines(outcomes: Iterable[HasWrong]) -> list[str]:
    return [f"WRONG {tuple(o.case)}: {'; '.join(o.wrong)}" for o in outcomes if o.wrong]


def check(outcomes: Iterable[HasWrong], table: str) -> None:
    """Show what came of a matrix; AssertionError when anything is wrong."""
    print(table)
    assert wrong_lines(outcomes) == []


def exit_code(outcomes: Iterable[HasWrong], table: str) -> int:
    """Show what came of a matrix. Returns 1 when anything is wrong."""
    print(table)
    return int(bool(wrong_lines(outcomes)))


def stale_seconds(timeout_seconds: float) -> float:
    """The least that the engine accepts, so that a dead engine's locks are soon broken."""
    return 2 * timeout_seconds + 0.1


@contextlib.contextmanager
def open_lane(
    release: str,
    aim: Target,
    directory: Path,
    timeout_seconds: float,
    *,
    reconcile_seconds: float | None = None,
    is_process: bool = False,
    **further: Any,
) -> Iterator[Lane]:
    """A lane with an engine in this process, or in one that can be killed."""
    with contextlib.ExitStack() as stack:
        installation = stack.enter_context(aim.installation(release))
        proxy = stack.enter_context(Proxy(installation))
        standbys = further.pop("standbys", lambda _: {})(installation.opennebula)
        limits = {
            "timeout": timeout_seconds,
            "lock": {"stale_seconds": stale_seconds(timeout_seconds)},
            **further,
            **standbys,
        }
        patience = reconcile_seconds or timeout_seconds
        lane = Lane(installation, proxy, timeout_seconds, reconcile_seconds=patience)
        if is_process:
            limits["server"] = {"grace_seconds": 1}
            where = directory / uuid.uuid4().hex
            lane.engine = stack.enter_context(engine_process(where, proxy, **limits))
            lane.port = lane.engine.port
        else:
            # The caches are off, so that each case makes the same calls.
            limits["cache"] = {"seconds": 0}
            url = stack.enter_context(engine_in_process(settings_for(proxy, **limits)))
            lane.port = urlsplit(url).port or 0
        limits |= {"timeout": patience, "lock": {"stale_seconds": stale_seconds(patience)}}
        direct = settings_for(installation, **limits)
        lane.reconcile = reconciler(directory / uuid.uuid4().hex, direct, installation.user)
        yield lane


def command_as(engine: EngineProcess, user: User, *arguments: str) -> Done:
    """Run a command with the configuration of an engine, as a user."""
    one_auth = engine.directory / "one_auth"
    one_auth.write_text(user.session)
    return run(*engine.command(*arguments), env={**os.environ, "ONE_AUTH": str(one_auth)})


def reconciler(
    directory: Path, settings: Mapping[str, Any], user: User, older_than: str = "0"
) -> Callable[[], str]:
    """``provision-engine reconcile --apply`` for all that is left of a user, as a command."""
    engine = EngineProcess(directory, settings)

    def reconcile() -> str:
        done = command_as(engine, user, "reconcile", "--apply", "--older-than", older_than)
        return done.stdout + done.stderr

    return reconcile


# ---- the commands of the matrices ----------------------------------------------------------


def matrix_parser(description: str) -> argparse.ArgumentParser:
    """The options that all of them have."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--lanes", type=int, help="cases at the same time; they mostly wait")
    add_options(parser)
    # Engines in this process log to nobody, so that only the table is printed.
    logging.getLogger().addHandler(logging.NullHandler())
    return parser
