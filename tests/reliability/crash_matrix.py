"""The engine is killed at each call it makes to OpenNebula, and nothing is left or done twice.

For each operation and each call that it makes, a real engine process is killed with SIGKILL
``before`` the call arrives and ``after`` its effect (before its response); then it is started
again, the request is repeated as a client would repeat it, and what there is in OpenNebula is
counted. Prints a table step × outcome; the exit code is 1 when anything is wrong.

    python tests/reliability/crash_matrix.py                       # everything, both sandboxes
    python tests/reliability/crash_matrix.py --changes --release 7.4.0 --specification FAAS
    python tests/reliability/crash_matrix.py --oned http://one:2633/RPC2 --oneflow http://one:2474 \
        --admin oneadmin:PASSWORD                                   # on a real OpenNebula
"""

from __future__ import annotations

import http.client
import itertools
import sys
import tempfile
import threading
import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.reliability import standbys
from tests.reliability.lanes import (
    Lane,
    exit_code,
    matrix_parser,
    until_accepted,
    until_count,
)
from tests.reliability.operations import (
    GROWN,
    OPERATIONS,
    UPDATED,
    Matrix,
    Of,
    Operation,
    add_choices,
    chosen_calls,
    read_whole,
)
from tests.support.calls import Call
from tests.support.client import ROLES, SPECIFICATIONS, Response
from tests.support.engine import EngineProcess
from tests.support.installation import Target, target
from tests.support.waiting import wait_until

MOMENTS = ("before", "after")
KILLED = (
    "create with key",
    "update",
    "delete",
    "recover",
    "replace",
    "take standby",
    "order standby",
)
"""Of the operations those that change something and may be repeated."""
LANES = 6
SANDBOX_TIMEOUT_SECONDS, REAL_TIMEOUT_SECONDS = 1.5, 20.0


class Case(NamedTuple):
    """One kill."""

    release: str
    operation: str
    specification: str
    call: str
    number: int
    """Among the calls of that name, counted from 1."""
    moment: str


@dataclass
class Outcome:
    """What came of it."""

    case: Case
    status: int | None = None
    """Of the last repetition; None when the call was not reached this time."""
    repetitions: int = 0
    wrong: list[str] = field(default_factory=list)


# ---- one case ------------------------------------------------------------------------------


def run_case(lane: Lane, case: Case) -> Outcome:
    """Kill, start again, repeat, count."""
    operation = OPERATIONS[case.operation]
    lane.specification, lane.key = case.specification, uuid.uuid4().hex
    lane.is_unsure = False
    operation.prepare(lane)
    outcome = Outcome(case)
    if _killed(lane, operation, case):
        engine_of(lane).start()
        _repeat(lane, operation, outcome)
    lane.opennebula.clear()
    return outcome


def engine_of(lane: Lane) -> EngineProcess:
    assert lane.engine is not None
    return lane.engine


def _killed(lane: Lane, operation: Operation, case: Case) -> bool:
    """Make the request with an engine that dies on the way; whether it did."""
    seen, struck = itertools.count(1), threading.Event()

    def on_call(call: Call, moment: str) -> None:
        if moment != case.moment or struck.is_set() or call.name != case.call:
            return
        if next(seen) != case.number:
            return
        struck.set()
        engine_of(lane).kill()
        raise ConnectionAbortedError("the engine is dead")

    lane.proxy.on_call = on_call
    try:
        operation.request(lane)
        if operation.standbys_judge is not None:  # the engine continues after its response
            wait_until(lambda: struck.is_set() or standbys.is_idle(lane))
    except (OSError, http.client.HTTPException):
        pass
    finally:
        lane.proxy.on_call = None
    # What oneflow may still start is removed by a later list.
    lane.is_unsure |= struck.is_set()
    return struck.is_set()


def _repeat(lane: Lane, operation: Operation, outcome: Outcome) -> None:
    def repeat() -> Response:
        outcome.repetitions += 1
        return operation.request(lane)

    try:
        response = until_accepted(repeat, operation.accepted)
        outcome.status = response.status
        outcome.wrong = what_is_wrong(lane, outcome.case, response)
    except AssertionError as error:
        outcome.wrong = [f"the repetition was never accepted: {error}"]


def what_is_wrong(lane: Lane, case: Case, response: Response) -> list[str]:
    """Whether there is one runtime or none, whole, unlocked, and as it was asked for."""
    runtimes_left = OPERATIONS[case.operation].runtimes_left
    if judge := OPERATIONS[case.operation].standbys_judge:
        # A create that finds its runtime made already orders no further standby.
        is_new = response.status == 201
        return judge(lane, response, {standbys.KEPT} if is_new else range(standbys.KEPT + 1))
    if wrong := until_count(lane, lane.expected(runtimes_left)):
        return [wrong]
    if not runtimes_left:
        return []
    lane.runtime_id = response.runtime["ID"]
    runtime = read_whole(lane, wait_seconds=60)
    if (roles := sorted(set(runtime) & {*ROLES})) != sorted(lane.members):
        return [f"it has {roles}"]
    if case.operation == "update":
        return standbys.what_differs(lane, runtime, GROWN, UPDATED)
    return [f"{r} is {runtime[r]}" for r in roles if runtime[r]["STATE"] != "RUNNING"]


# ---- all of them ---------------------------------------------------------------------------


def cases_of(of: Of, calls: Sequence[Call], which: str) -> list[Case]:
    """The kills of one operation. In a multicall, "after the first call" is "before the second"."""
    return [
        Case(*of, call.name, number, moment)
        for call, number, follows in chosen_calls(of[1], calls, which)
        for moment in (MOMENTS[1:] if follows else MOMENTS)
    ]


def matrix(
    aim: Target,
    operations: Sequence[str],
    specifications: Sequence[str],
    which: str,
    directory: Path,
    lanes: int | None = None,
    timeout_seconds: float | None = None,
    only: Collection[str] | None = None,
) -> list[Outcome]:
    """Everything asked for, or only the kills at calls of these names."""

    def chosen(of: Of, calls: Sequence[Call]) -> list[Case]:
        found = cases_of(of, calls, which)
        return [case for case in found if only is None or case.call in only]

    default = REAL_TIMEOUT_SECONDS if aim.is_real else SANDBOX_TIMEOUT_SECONDS
    kills = Matrix(Outcome, chosen, lambda of: Case(*of, "no kill", 0, "with"), run_case)
    return kills.outcomes(
        aim,
        operations,
        specifications,
        directory,
        timeout_seconds or default,
        lanes or LANES,
        is_process=True,
    )


def table(outcomes: Sequence[Outcome]) -> str:
    """Step × outcome, one line for each kill."""
    lines = [f"{'release':8}{'operation':16}{'runtime':11}{'killed':42}{'outcome'}"]
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
        lines.append(f"{case.release:8}{case.operation:16}{case.specification:11}{step:42}{told}")
    bad = sum(bool(outcome.wrong) for outcome in outcomes)
    reached = sum(outcome.status is not None for outcome in outcomes)
    return "\n".join([*lines, f"{len(outcomes)} kills, {reached} of them survived, {bad} wrong"])


def main() -> int:
    parser = matrix_parser(__doc__)
    add_choices(parser, KILLED)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        outcomes = matrix(
            target(options),
            options.operation or KILLED,
            options.specification or list(SPECIFICATIONS),
            options.which,
            Path(directory),
            options.lanes,
            options.timeout,
        )
    return exit_code(outcomes, table(outcomes))


if __name__ == "__main__":
    sys.exit(main())
