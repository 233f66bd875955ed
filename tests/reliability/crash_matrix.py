"""The engine is killed at each call it makes to OpenNebula, and nothing is left or done twice.

For each operation and each call that it makes, a real engine process is killed with SIGKILL
``before`` the call arrives and ``after`` its effect (before its answer); then it is started
again, the request is repeated as a client would repeat it, and what there is in the sandbox is
counted. Prints a table step × outcome; the exit code is 1 when anything is wrong.

    python tests/reliability/crash_matrix.py                       # everything, both releases
    python tests/reliability/crash_matrix.py --changes --release 7.4.0 --specification FAAS
"""

from __future__ import annotations

import argparse
import http.client
import itertools
import queue
import sys
import tempfile
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from provision_engine.sandbox import CallRecord, Sandbox
from tests.support.client import RUNTIMES, SPECIFICATIONS, Response
from tests.support.engine import EngineProcess, settings_for
from tests.support.users import ADMINISTRATOR, USER
from tests.support.waiting import wait_until

RELEASES = ("6.8.0", "7.4.0")
MOMENTS = ("before", "after")
TIMEOUT_SECONDS = 1.5
STALE_SECONDS = 3.1
"""So that what the dead engine left counts as left soon; the rule is more than twice timeout."""
LANES = 6
"""Cases at the same time, each with a sandbox and an engine of its own; they mostly wait."""
REPEAT = (423, 429, 502, 503, 504)
"""A client repeats a request that was answered so."""
CHANGING = (
    "allocate", "update", "rename", "delete", "lock", "unlock", "resize", "diskresize",
    "action", "schedadd", "schedupdate",
)  # fmt: skip
"""Last words of oned's methods that change something, and so of the calls that matter most."""

Settled = Callable[[Sandbox, "Lane", Response], list[str]]


@dataclass
class Lane:
    """A sandbox and an engine process that the cases of one thread share."""

    sandbox: Sandbox
    engine: EngineProcess
    key: str = ""
    runtime_id: int = 0


class Operation(NamedTuple):
    """What is asked for, what has to be there before, and what is wrong afterwards."""

    prepare: Callable[[Lane, dict[str, Any]], None]
    request: Callable[[Lane, dict[str, Any]], Response]
    accepted: tuple[int, ...]
    """Statuses that end the repetition well."""
    runtimes_left: int


class Case(NamedTuple):
    """One kill."""

    release: str
    operation: str
    specification: str
    call: str
    number: int
    """The how manieth call of that name, from 1."""
    moment: str


@dataclass
class Outcome:
    """What came of it."""

    case: Case
    status: int | None = None
    """Of the last repetition; None when the call was not reached this time."""
    repetitions: int = 0
    wrong: list[str] = field(default_factory=list)


# ---- the operations ------------------------------------------------------------------------


def _create(lane: Lane, members: dict[str, Any]) -> Response:
    return lane.engine.request("POST", RUNTIMES, members, headers={"Idempotency-Key": lane.key})


def _make(lane: Lane, members: dict[str, Any]) -> None:
    runtime = _until_answered(lambda: _create(lane, members), (200, 201)).runtime
    lane.runtime_id = runtime["ID"]
    wait_until(lambda: all(s["state"] == 2 for s in lane.sandbox.store.services()))


def _break(lane: Lane, members: dict[str, Any]) -> None:
    """A runtime whose VMs did not boot, but would now."""
    lane.sandbox.faults.drivers.set("boot", fails=True)
    answer = _until_answered(lambda: _create(lane, members), (200, 201))
    lane.runtime_id = answer.runtime["ID"]
    wait_until(lambda: all(s["state"] == 7 for s in lane.sandbox.store.services()))
    lane.sandbox.faults.clear()


def _update(lane: Lane, members: dict[str, Any]) -> Response:
    grown = {role: {"FLAVOUR": "", "CPU": 2, "MEMORY": 700, "DISK_SIZE": 2000} for role in members}
    scheduling = {"SCHEDULING": {"POLICY": "energy"}, "LEASE": {"TTL": 5000}, "NAME": "renamed"}
    return lane.engine.request("PUT", _path(lane), grown | scheduling)


def _delete(lane: Lane, members: dict[str, Any]) -> Response:
    return lane.engine.request("DELETE", _path(lane))


def _recover(lane: Lane, members: dict[str, Any]) -> Response:
    return lane.engine.request("POST", f"{_path(lane)}/recover", user=ADMINISTRATOR)


def _path(lane: Lane) -> str:
    return f"{RUNTIMES}/{lane.runtime_id}"


OPERATIONS = {
    "create": Operation(lambda lane, members: None, _create, (200, 201), 1),
    "update": Operation(_make, _update, (200,), 1),
    "delete": Operation(_make, _delete, (204, 404), 0),
    "recover": Operation(_break, _recover, (200,), 1),
}


# ---- one case ------------------------------------------------------------------------------


def run_case(lane: Lane, case: Case) -> Outcome:
    """Kill, start again, repeat, count."""
    operation, members = OPERATIONS[case.operation], SPECIFICATIONS[case.specification]
    lane.key = uuid.uuid4().hex
    operation.prepare(lane, members)
    outcome = Outcome(case)
    if not _killed(lane, operation, members, case):
        _tidy(lane)
        return outcome
    lane.engine.start()

    def repeat() -> Response:
        outcome.repetitions += 1
        return operation.request(lane, members)

    try:
        answer = _until_answered(repeat, operation.accepted)
        outcome.status = answer.status
        outcome.wrong = what_is_wrong(lane, case, answer)
    except AssertionError as error:
        outcome.wrong = [f"the repetition was never accepted: {error}"]
    _tidy(lane)
    return outcome


def _killed(lane: Lane, operation: Operation, members: dict[str, Any], case: Case) -> bool:
    """Make the request with an engine that dies on the way; whether it did."""
    seen, struck = itertools.count(1), threading.Event()

    def on_call(record: CallRecord, moment: str) -> None:
        if moment != case.moment or struck.is_set() or name_of(record) != case.call:
            return
        if next(seen) != case.number:
            return
        struck.set()
        lane.engine.kill()
        if moment == "before":
            raise ConnectionError("the call never arrived")

    lane.sandbox.on_call = on_call
    try:
        operation.request(lane, members)
    except (OSError, http.client.HTTPException):
        pass
    finally:
        lane.sandbox.on_call = None
    return struck.is_set()


def _until_answered(request: Callable[[], Response], accepted: tuple[int, ...]) -> Response:
    """Repeat as a client does, until it is accepted. AssertionError when it is refused."""
    until = time.monotonic() + 10 * STALE_SECONDS
    while True:
        answer = request()
        if answer.status in accepted:
            return answer
        if answer.status not in REPEAT or time.monotonic() > until:
            raise AssertionError(f"{answer.status} {answer.content.decode()[:300]}")
        time.sleep(0.1)


def what_is_wrong(lane: Lane, case: Case, answer: Response) -> list[str]:
    """Whether there is one runtime or none, whole, unlocked, and as it was asked for."""
    operation, members = OPERATIONS[case.operation], SPECIFICATIONS[case.specification]
    expected = {
        "runtimes": operation.runtimes_left,
        "services": operation.runtimes_left,
        "vms": operation.runtimes_left * len(members),
    }
    store = lane.sandbox.store
    try:
        wait_until(lambda: store.count() == expected, 5 * STALE_SECONDS)
    except AssertionError:
        return [f"{store.count()} instead of {expected}"]
    wrong = [f"document {d.id} is locked" for d in store.documents() if d.lock]
    if case.operation != "delete":
        wrong += _what_is_wrong_with(lane, members, case.operation, answer)
    return wrong


def _what_is_wrong_with(
    lane: Lane, members: dict[str, Any], operation: str, answer: Response
) -> list[str]:
    path = f"{RUNTIMES}/{answer.runtime['ID']}?wait=10"
    runtime = lane.engine.request("GET", path).runtime
    wrong = [
        f"{role} is {runtime[role]}" for role in members if runtime[role]["STATE"] != "RUNNING"
    ]
    if operation == "update":
        wanted = {"CPU": 2, "MEMORY": 700, "DISK_SIZE": 2000}
        wrong += [
            f"{r} is {runtime[r]}" for r in members if not wanted.items() <= runtime[r].items()
        ]
        texts = runtime["NAME"], runtime["SCHEDULING"], runtime["LEASE"]["TTL"]
        if texts != ("renamed", {"POLICY": "energy"}, 5000):
            wrong.append(f"it is not as updated: {texts}")
        user_templates = [
            vm.user_template.text("SCHED_RANK") for vm in lane.sandbox.store.live_vms()
        ]
        if user_templates != ["ENERGY"] * len(members):
            wrong.append(f"SCHED_RANK of the VMs is {user_templates}")
    elif set(runtime) & {"FAAS", "DAAS"} != set(members):
        wrong.append(f"it has {sorted(runtime)}")
    return wrong


def _tidy(lane: Lane) -> None:
    """An empty sandbox for the next case."""
    for runtime in lane.engine.request("GET", RUNTIMES, user=USER).json:
        lane.runtime_id = runtime["SERVERLESS_RUNTIME"]["ID"]
        _until_answered(lambda: _delete(lane, {}), (204, 404))
    lane.sandbox.restart(keep_state=False)


# ---- all of them ---------------------------------------------------------------------------


def calls_of(operation: str, specification: str, release: str, directory: Path) -> list[str]:
    """The calls that an operation makes when nothing happens, in order."""
    with _lane(release, directory) as lane:
        lane.key = uuid.uuid4().hex
        members = SPECIFICATIONS[specification]
        OPERATIONS[operation].prepare(lane, members)
        lane.sandbox.clear_calls()
        answer = _until_answered(
            lambda: OPERATIONS[operation].request(lane, members), OPERATIONS[operation].accepted
        )
        assert answer.status in OPERATIONS[operation].accepted
        return [name_of(call) for call in lane.sandbox.calls]


def name_of(call: CallRecord) -> str:
    """For example document.lock, or POST service_template/action."""
    if call.backend == "oned":
        return call.method.removeprefix("one.")
    return " ".join(
        [call.method, "/".join(p for p in call.path.split("/") if p and not p.isdigit())]
    )


def changes(call: str) -> bool:
    """Whether a call changes something in OpenNebula."""
    return call.startswith(("POST", "DELETE")) or call.rpartition(".")[2] in CHANGING


def cases_of(
    release: str, operation: str, specification: str, calls: Sequence[str], only_changes: bool
) -> list[Case]:
    """The kills of one operation. A read that is repeated while waiting is taken once."""
    chosen, numbers, previous = [], Counter[str](), ""
    for call in calls:
        numbers[call] += 1
        if changes(call) or not (only_changes or call == previous):
            chosen += [
                Case(release, operation, specification, call, numbers[call], moment)
                for moment in MOMENTS
            ]
        previous = call
    return chosen


class _lane:  # noqa: N801 - used like a function
    """A lane that begins and ends."""

    def __init__(self, release: str, directory: Path) -> None:
        self._release, self._directory = release, directory / uuid.uuid4().hex

    def __enter__(self) -> Lane:
        sandbox = Sandbox(release=self._release).start()
        settings = settings_for(
            sandbox, timeout=TIMEOUT_SECONDS, lock={"stale_seconds": STALE_SECONDS}
        )
        self._lane = Lane(sandbox, EngineProcess(self._directory, settings))
        self._lane.engine.start()
        return self._lane

    def __exit__(self, *_: object) -> None:
        self._lane.engine.kill()
        self._lane.sandbox.stop()


def run(cases: Iterable[Case], directory: Path, lanes: int = LANES) -> list[Outcome]:
    """All of these cases, several at the same time, in their order."""
    waiting: queue.Queue[Case] = queue.Queue()
    ordered = list(cases)
    for case in sorted(ordered, key=lambda case: case.release):
        waiting.put(case)
    outcomes: dict[Case, Outcome] = {}

    def work() -> None:
        lane_of: dict[str, Any] = {}
        try:
            while True:
                case = waiting.get_nowait()
                if case.release not in lane_of:
                    manager = _lane(case.release, directory)
                    lane_of[case.release] = (manager, manager.__enter__())
                try:
                    outcomes[case] = run_case(lane_of[case.release][1], case)
                except BaseException as error:
                    outcomes[case] = Outcome(case, wrong=[f"{type(error).__name__}: {error}"])
                    manager, _ = lane_of.pop(case.release)
                    manager.__exit__()
        except queue.Empty:
            pass
        finally:
            for manager, _ in lane_of.values():
                manager.__exit__()

    threads = [threading.Thread(target=work) for _ in range(min(lanes, len(ordered)))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [outcomes[case] for case in ordered]


def table(outcomes: Sequence[Outcome]) -> str:
    """Step × outcome, one line for each kill."""
    lines = [f"{'release':8}{'operation':10}{'runtime':11}{'killed':42}{'outcome'}"]
    for outcome in outcomes:
        case = outcome.case
        step = f"{case.moment} {case.call} {case.number}"
        if outcome.wrong:
            told = "WRONG: " + "; ".join(outcome.wrong)
        elif outcome.status is None:
            told = "- (done with fewer calls this time)"
        else:
            left = OPERATIONS[case.operation].runtimes_left
            told = f"{outcome.status} after {outcome.repetitions}, {left} runtime, no lock"
        lines.append(f"{case.release:8}{case.operation:10}{case.specification:11}{step:42}{told}")
    bad = sum(bool(outcome.wrong) for outcome in outcomes)
    reached = sum(outcome.status is not None for outcome in outcomes)
    return "\n".join([*lines, f"{len(outcomes)} kills, {reached} of them survived, {bad} wrong"])


def matrix(
    releases: Sequence[str],
    operations: Sequence[str],
    specifications: Sequence[str],
    only_changes: bool,
    directory: Path,
) -> list[Outcome]:
    """Everything asked for."""
    cases: list[Case] = []
    for release, operation, specification in itertools.product(
        releases, operations, specifications
    ):
        calls = calls_of(operation, specification, release, directory)
        cases += cases_of(release, operation, specification, calls, only_changes)
    return run(cases, directory)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--release", action="append", choices=RELEASES)
    parser.add_argument("--operation", action="append", choices=sorted(OPERATIONS))
    parser.add_argument("--specification", action="append", choices=sorted(SPECIFICATIONS))
    parser.add_argument(
        "--changes", action="store_true", help="only at calls that change something"
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        outcomes = matrix(
            options.release or RELEASES,
            options.operation or list(OPERATIONS),
            options.specification or list(SPECIFICATIONS),
            options.changes,
            Path(directory),
        )
    print(table(outcomes))
    return int(any(outcome.wrong for outcome in outcomes))


if __name__ == "__main__":
    sys.exit(main())
