"""OpenNebula fails at each call of each operation in each way, and the engine stays right.

From the chosen call of an operation on its backend refuses connections, hangs, cuts its answers,
answers garbage or HTTP 500, is slow, or is late (it does what was asked when nobody waits any
more). Checked are the status, the form of the error, that the answer comes within ``timeout``
plus one second and that nothing harmful was repeated; and when the backend is back, what was left
behind, before and after ``reconcile --apply``, and that the repeated request succeeds. Prints a
table; the exit code is 1 when anything is wrong.

    python tests/reliability/fault_matrix.py                      # everything, about 6 minutes
    python tests/reliability/fault_matrix.py --first --release 7.4.0
"""

from __future__ import annotations

import argparse
import itertools
import json
import queue
import sys
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from flask.testing import FlaskClient

from provision_engine.app import create_app
from provision_engine.cloud.client import Backends, CloudClient, Credentials
from provision_engine.deadline import Deadline
from provision_engine.engine.reconcile import Reconciler, Result
from provision_engine.sandbox import CallRecord, Sandbox
from tests.reliability.crash_matrix import RELEASES, changes, name_of
from tests.support.client import RUNTIMES, SPECIFICATIONS, authorization, body_of
from tests.support.engine import configuration_for
from tests.support.users import ADMINISTRATOR, USER, User
from tests.support.waiting import wait_until

TIMEOUT_SECONDS = 1.0
TIDY_SECONDS = 1.0
"""An answer may come so much later than the timeout."""
STALE_SECONDS = 2.1
LANES = 8
BACKENDS = ("oned", "oneflow")
KINDS: dict[str, tuple[int, ...]] = {
    "refuse": (503,),
    "hang": (504,),
    "cut": (502, 503),
    "garbage": (502,),
    "error": (502,),
    "slow": (),
    "late": (504,),
}
"""The statuses that may tell of each kind of fault; a slow backend is no fault."""
SECONDS = {"slow": 0.03, "late": TIMEOUT_SECONDS + 0.5}
ONCE = ("document.allocate", "POST service_template/action", "vm.diskresize", "vm.schedadd")
"""Calls that must not be repeated, since a second one would do more than the first."""
SPECIFICATION = SPECIFICATIONS["FAAS"]
LAST_CALL = "document.update"
"""Of a create; with it the runtime is complete."""
RUNNING, FAILED_DEPLOYING = 2, 7
"""States of a service."""


class Response(NamedTuple):
    status: int
    body: Any
    headers: dict[str, str]
    seconds: float


@dataclass
class Lane:
    """A sandbox and an engine in this process."""

    sandbox: Sandbox
    client: FlaskClient
    key: str = ""
    runtime_id: int = 0

    def ask(
        self,
        method: str,
        path: str,
        members: Any = None,
        credentials: User = USER,
        **headers: str,
    ) -> Response:
        start = time.monotonic()
        sent = None if members is None else body_of(members)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        answer = self.client.open(
            path, method=method, data=sent, headers=authorization(credentials) | named
        )
        content = answer.get_data()
        body = json.loads(content) if content else None
        seconds = time.monotonic() - start
        return Response(answer.status_code, body, dict(answer.headers), seconds)


class Operation(NamedTuple):
    request: Callable[[Lane], Response]
    prepare: Callable[[Lane], None]
    succeeds: tuple[int, ...]
    runtimes_left: int
    is_repeated: bool = True


def _create(lane: Lane) -> Response:
    return lane.ask("POST", RUNTIMES, SPECIFICATION)


def _create_with_key(lane: Lane) -> Response:
    return lane.ask("POST", RUNTIMES, SPECIFICATION, Idempotency_Key=lane.key)


def _read(lane: Lane) -> Response:
    return lane.ask("GET", f"{RUNTIMES}/{lane.runtime_id}")


def _list(lane: Lane) -> Response:
    return lane.ask("GET", RUNTIMES)


def _update(lane: Lane) -> Response:
    members = {
        "FAAS": {"FLAVOUR": "", "CPU": 2, "MEMORY": 700, "DISK_SIZE": 2000},
        "SCHEDULING": {"POLICY": "energy"},
        "LEASE": {"TTL": 5000},
        "NAME": "renamed",
    }
    return lane.ask("PUT", f"{RUNTIMES}/{lane.runtime_id}", members)


def _delete(lane: Lane) -> Response:
    return lane.ask("DELETE", f"{RUNTIMES}/{lane.runtime_id}")


def _recover(lane: Lane) -> Response:
    path = f"{RUNTIMES}/{lane.runtime_id}/recover"
    return lane.ask("POST", path, credentials=ADMINISTRATOR)


def _nothing(lane: Lane) -> None:
    """Nothing has to be there."""


def _make(lane: Lane) -> None:
    _make_until(lane, RUNNING)


def _break(lane: Lane) -> None:
    """A runtime whose VM did not boot, but would now."""
    lane.sandbox.faults.drivers.set("boot", fails=True)
    _make_until(lane, FAILED_DEPLOYING)
    lane.sandbox.faults.clear()


def _make_until(lane: Lane, state: int) -> None:
    answer = lane.ask("POST", RUNTIMES, SPECIFICATION)
    lane.runtime_id = answer.body["SERVERLESS_RUNTIME"]["ID"]
    wait_until(lambda: all(s["state"] == state for s in lane.sandbox.store.services()))


OPERATIONS = {
    "create": Operation(_create, _nothing, (201,), 0, is_repeated=False),
    "create with key": Operation(_create_with_key, _nothing, (200, 201), 1),
    "read": Operation(_read, _make, (200,), 1),
    "list": Operation(_list, _make, (200,), 1),
    "update": Operation(_update, _make, (200,), 1),
    "delete": Operation(_delete, _make, (204, 404), 0),
    "recover": Operation(_recover, _break, (200,), 1),
}


class Case(NamedTuple):
    release: str
    operation: str
    backend: str
    kind: str
    call: str
    number: int
    """The how manieth call of that name the fault begins with, from 1."""


@dataclass
class Outcome:
    case: Case
    status: int | None = None
    """None when the operation never came to this call."""
    seconds: float = 0.0
    left: str = ""
    """What was left behind before anything was reconciled."""
    wrong: list[str] = field(default_factory=list)


# ---- one case ------------------------------------------------------------------------------


def run_case(lane: Lane, case: Case, calm: Counter[str]) -> Outcome:
    operation = OPERATIONS[case.operation]
    lane.key = uuid.uuid4().hex
    operation.prepare(lane)
    outcome = Outcome(case)
    lane.sandbox.clear_calls()
    answer = _struck(lane, operation, case)
    made = Counter(map(name_of, lane.sandbox.calls))
    lane.sandbox.faults.clear()
    if answer is not None:
        outcome.status, outcome.seconds = answer.status, answer.seconds
        outcome.wrong = [
            *_what_is_wrong_with(answer, case, operation),
            *(f"{made[n]} × {n}" for n in ONCE if made[n] > calm[n]),
            *_what_is_left(lane, operation, outcome),
        ]
    _tidy(lane)
    return outcome


def _struck(lane: Lane, operation: Operation, case: Case) -> Response | None:
    """The answer of an operation in which a backend fails from one call on."""
    seen, struck = itertools.count(1), threading.Event()

    def on_call(record: CallRecord, moment: str) -> None:
        is_meant = moment == "before" and name_of(record) == case.call
        if is_meant and next(seen) == case.number and not struck.is_set():
            struck.set()
            kind = "slow" if case.kind == "late" else case.kind
            lane.sandbox.faults.set(case.backend, kind, seconds=SECONDS.get(case.kind, 1.0))

    lane.sandbox.on_call = on_call
    answer = operation.request(lane)
    lane.sandbox.on_call = None
    return answer if struck.is_set() else None


def _what_is_wrong_with(answer: Response, case: Case, operation: Operation) -> list[str]:
    wrong = []
    if answer.status not in (*operation.succeeds, *KINDS[case.kind]):
        wrong.append(f"{answer.status} {answer.body}")
    if answer.status >= 400 and not _is_error(answer):
        wrong.append(f"{answer.body} is no error of ours")
    if answer.seconds > TIMEOUT_SECONDS + TIDY_SECONDS:
        wrong.append(f"it took {answer.seconds:.2f} s")
    return wrong


def _is_error(answer: Response) -> bool:
    is_form = isinstance(answer.body, dict) and sorted(answer.body) == ["error", "message"]
    is_json = answer.headers.get("Content-Type") == "application/json"
    return is_form and is_json and "X-Request-ID" in answer.headers


def _what_is_left(lane: Lane, operation: Operation, outcome: Outcome) -> list[str]:
    """Repeat what a client repeats, reconcile, and count."""
    outcome.left = _left(lane, operation, outcome)
    settled = (*operation.succeeds, 404)
    if operation.is_repeated:
        try:
            wait_until(lambda: operation.request(lane).status in settled, 15)
        except AssertionError:
            return [f"the repetition fails: {operation.request(lane)}"]
    expected = _expected(operation, outcome)
    try:
        wait_until(lambda: _reconciled(lane) and lane.sandbox.store.count() in expected, 15)
    except AssertionError:
        return [f"{lane.sandbox.store.count()} instead of {expected}"]
    return [f"document {d.id} is locked" for d in lane.sandbox.store.documents() if d.lock]


def _expected(operation: Operation, outcome: Outcome) -> list[dict[str, int]]:
    """How many runtimes, services and VMs there may be in the end."""
    is_created = outcome.status == 201 and not operation.is_repeated
    allowed = [1 if is_created else operation.runtimes_left]
    if outcome.case.operation == "create" and outcome.case.call == LAST_CALL:
        # The document may have been completed, and only the answer lost: then the runtime is
        # there, whole and listed, as if the engine's own answer had been lost.
        allowed = [0, 1]
    return [dict.fromkeys(("runtimes", "services", "vms"), number) for number in allowed]


def _left(lane: Lane, operation: Operation, outcome: Outcome) -> str:
    """What was left as soon as the backend was back, of a request that will not be repeated."""
    if operation.is_repeated or outcome.case.kind == "late":
        return ""
    count = lane.sandbox.store.count()
    return "" if count in _expected(operation, outcome) else json.dumps(count)


def cloud(sandbox: Sandbox) -> CloudClient:
    backends = Backends(configuration_for(sandbox))
    return CloudClient(backends, Credentials(*USER), Deadline(10.0))


def _reconciled(lane: Lane) -> bool:
    """Whether there was nothing to do, or all of it was done."""
    reconciler = Reconciler(cloud(lane.sandbox), 0.0, STALE_SECONDS, 5.0)
    outcomes = [reconciler.settle(finding) for finding in reconciler.find()]
    return all(outcome.result in (Result.DONE, Result.GONE) for outcome in outcomes)


def _tidy(lane: Lane) -> None:
    lane.sandbox.restart(keep_state=False)


# ---- all of them ---------------------------------------------------------------------------


def calm_calls(lane: Lane, operation: str) -> list[CallRecord]:
    """The calls of an operation when nothing fails."""
    lane.key = uuid.uuid4().hex
    OPERATIONS[operation].prepare(lane)
    lane.sandbox.clear_calls()
    answer = OPERATIONS[operation].request(lane)
    assert answer.status in OPERATIONS[operation].succeeds, answer
    calls = lane.sandbox.calls
    _tidy(lane)
    return calls


def cases_of(
    release: str, operation: str, calls: Sequence[CallRecord], kinds: Sequence[str], which: str
) -> list[Case]:
    """Faults that begin at each call; ``which``: at all, only changing or only first calls."""
    chosen, numbers, previous = [], Counter[str](), ""
    for call in calls:
        name = name_of(call)
        numbers[name] += 1
        is_first = call.backend not in {case.backend for case in chosen}
        is_again = name == previous and not changes(name)
        previous = name
        if is_again or (which == "changes" and not (is_first or changes(name))):
            continue
        if which == "first" and not is_first:
            continue
        chosen += [Case(release, operation, call.backend, k, name, numbers[name]) for k in kinds]
    return chosen


def new_lane(release: str) -> Lane:
    sandbox = Sandbox(release=release).start()
    # The caches are off, so that each case makes the same calls.
    configured = configuration_for(
        sandbox,
        timeout=TIMEOUT_SECONDS,
        lock={"stale_seconds": STALE_SECONDS},
        cache={"seconds": 0},
    )
    return Lane(sandbox, create_app(configured).test_client())


def run(cases: Iterable[Case], calm: dict[str, Counter[str]]) -> list[Outcome]:
    """All of these cases, several at the same time, in their order."""
    waiting: queue.Queue[Case] = queue.Queue()
    ordered = list(cases)
    for case in sorted(ordered, key=lambda case: case.release):
        waiting.put(case)
    outcomes: dict[Case, Outcome] = {}

    def work() -> None:
        lanes: dict[str, Lane] = {}
        try:
            while True:
                case = waiting.get_nowait()
                lane = lanes.setdefault(case.release, None) or new_lane(case.release)  # type: ignore[arg-type]
                lanes[case.release] = lane
                try:
                    outcomes[case] = run_case(lane, case, calm[case.operation])
                except Exception as error:
                    outcomes[case] = Outcome(case, wrong=[f"{type(error).__name__}: {error}"])
                    lane.sandbox.on_call = None
                    lane.sandbox.faults.clear()
                    _tidy(lane)
        except queue.Empty:
            pass
        finally:
            for lane in lanes.values():
                lane.sandbox.stop()

    threads = [threading.Thread(target=work) for _ in range(min(LANES, len(ordered)))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [outcomes[case] for case in ordered]


def matrix(
    releases: Sequence[str],
    operations: Sequence[str],
    kinds: Sequence[str],
    which: str,
) -> list[Outcome]:
    cases: list[Case] = []
    calm: dict[str, Counter[str]] = {}
    for release in releases:
        lane = new_lane(release)
        for operation in operations:
            calls = calm_calls(lane, operation)
            calm[operation] = Counter(map(name_of, calls))
            cases += cases_of(release, operation, calls, kinds, which)
        lane.sandbox.stop()
    return run(cases, calm)


def table(outcomes: Sequence[Outcome]) -> str:
    """One line for each operation and call, one column for each kind of fault."""
    kinds = list(dict.fromkeys(outcome.case.kind for outcome in outcomes))
    rows: dict[tuple[str, ...], dict[str, Outcome]] = {}
    for outcome in outcomes:
        case = outcome.case
        key = (case.release, case.operation, case.backend, f"{case.call} {case.number}")
        rows.setdefault(key, {})[case.kind] = outcome
    head = f"{'release':8}{'operation':16}{'backend':8}{'fails from the call':34}"
    lines = [head + "".join(f"{kind:>9}" for kind in kinds)]
    for key, found in rows.items():
        cells = "".join(f"{_cell(found.get(kind)):>9}" for kind in kinds)
        lines.append(f"{key[0]:8}{key[1]:16}{key[2]:8}{key[3]:34}{cells}")
    wrong = [outcome for outcome in outcomes if outcome.wrong]
    lines += [f"WRONG {tuple(o.case)}: {'; '.join(o.wrong)}" for o in wrong]
    return "\n".join([*lines, _sum(outcomes)])


def _cell(outcome: Outcome | None) -> str:
    if outcome is None or (outcome.status is None and not outcome.wrong):
        return "-"
    return f"{outcome.status}{'*' if outcome.left else ''}{'!' if outcome.wrong else ''}"


def _sum(outcomes: Sequence[Outcome]) -> str:
    reached = [o for o in outcomes if o.status is not None]
    failed = [o for o in reached if o.case.operation == "create" and (o.status or 0) >= 500]
    clean = sum(not o.left for o in failed if o.case.kind != "late")
    judged = sum(o.case.kind != "late" for o in failed)
    longest = max((o.seconds for o in reached), default=0.0)
    return (
        f"{len(reached)} faults, {sum(bool(o.wrong) for o in outcomes)} wrong; the slowest answer "
        f"took {longest:.2f} s with a timeout of {TIMEOUT_SECONDS} s; of {judged} creates that "
        f"failed {clean} left nothing behind as soon as OpenNebula was back, the others (*) "
        "nothing after reconcile --apply"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--release", action="append", choices=RELEASES)
    parser.add_argument("--operation", action="append", choices=list(OPERATIONS))
    parser.add_argument("--kind", action="append", choices=list(KINDS))
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--changes", dest="which", action="store_const", const="changes")
    which.add_argument("--first", dest="which", action="store_const", const="first")
    options = parser.parse_args()
    outcomes = matrix(
        options.release or RELEASES,
        options.operation or list(OPERATIONS),
        options.kind or list(KINDS),
        options.which or "all",
    )
    print(table(outcomes))
    return int(any(outcome.wrong for outcome in outcomes))


if __name__ == "__main__":
    sys.exit(main())
