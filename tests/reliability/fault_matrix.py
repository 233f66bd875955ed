"""OpenNebula fails at each call of each operation in each way, and the engine stays right.

From the chosen call of an operation on its backend refuses connections, hangs, cuts its responses,
answers garbage or HTTP 500, is slow, is late (it does what was asked when nobody waits any more),
stalls in the middle of a late response, or sends its headers, body or chunks byte by byte; or oned
refuses that one call. In a multicall, the calls before the chosen one have been executed. Checked
are the status, the form of the error, that the response comes within ``timeout`` plus one second
and that nothing harmful was repeated; and when the backend is back, what was left behind, before
and after ``reconcile --apply``, and that the repeated request succeeds. Prints a table; the exit
code is 1 when anything is wrong.

    python tests/reliability/fault_matrix.py                      # everything, both sandboxes
    python tests/reliability/fault_matrix.py --first --release 7.4.0
    python tests/reliability/fault_matrix.py --oned http://one:2633/RPC2 --oneflow http://one:2474 \
        --admin oneadmin:PASSWORD                                  # on a real OpenNebula
"""

from __future__ import annotations

import contextlib
import itertools
import sys
import tempfile
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
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
    wrong_lines,
)
from tests.reliability.operations import (
    OPERATIONS,
    Judge,
    Matrix,
    Of,
    Operation,
    add_choices,
    chosen_calls,
)
from tests.support.calls import Call
from tests.support.client import Response
from tests.support.installation import Target, target
from tests.support.proxy import ENDLESS, REFUSALS
from tests.support.waiting import wait_until

SANDBOX_TIMEOUT_SECONDS, REAL_TIMEOUT_SECONDS = 8.0, 15.0
TIDY_SECONDS = 1.0
"""A response may come so much later than the timeout."""
LANES = 8
KINDS: dict[str, tuple[int, ...]] = {
    "refuse": (503,),
    "hang": (504,),
    "cut": (502, 503),
    "garbage": (502,),
    "error": (502,),
    **dict.fromkeys(REFUSALS, (502,)),
    "slow": (),
    "late": (504,),
    **dict.fromkeys(ENDLESS, (504,)),
}
"""The statuses that each kind of fault may lead to; a slow backend is not a fault."""
OUT_OF_TIME = 504
LEAST_SECONDS = 1.0
"""With less of its timeout left, a request that a fault strikes may end OUT_OF_TIME: an OpenNebula
that is overloaded has used it up."""
SLOW_SECONDS, LATE_SECONDS = 0.03, 0.5
"""Of each call; and longer than the timeout."""
STALL_SHARE, MOST_SHARE = 0.7, 1.4
"""Of the timeout: when a response stalls (a create spends the last quarter on undoing), and how
late the engine's response to an endless one is wrong even on a busy machine."""
ONCE = ("document.allocate", "POST service_template/action", "vm.diskresize")
"""Calls that must not be repeated, since a second one would do more than the first."""
GOES_COLD = Counter({"document.allocate": 1, "POST service_template/action": 1})
"""Further calls of a create that could not take its standby, and went on without it."""
LAST_CALL = "document.update"
"""Of a create; with it the runtime is complete."""
PATIENCE_SECONDS = 60.0


class Case(NamedTuple):
    release: str
    operation: str
    specification: str
    backend: str
    kind: str
    call: str
    number: int
    """The fault begins with this call among those of that name, counted from 1."""


@dataclass
class Outcome:
    case: Case
    status: int | None = None
    """None when the operation never came to this call."""
    seconds: float = 0.0
    struck_after_seconds: float = 0.0
    """From the request to the fault."""
    left: str = ""
    """What was left behind before anything was reconciled."""
    wrong: list[str] = field(default_factory=list)


def once(operation: str) -> tuple[str, ...]:
    """Two orders to end a VM do no harm, but of two leases the earlier one would hold."""
    return (*ONCE, "vm.schedadd") if operation == "update" else ONCE


# ---- one case ------------------------------------------------------------------------------


def run_case(lane: Lane, case: Case, allowed: Counter[str], is_timed: bool) -> Outcome:
    """Disturb an operation, and see what comes of it, and how often it made which calls."""
    operation = OPERATIONS[case.operation]
    lane.specification, lane.key = case.specification, uuid.uuid4().hex
    operation.prepare(lane)
    outcome = Outcome(case)
    lane.proxy.calls.clear()
    response = _struck(lane, operation, outcome)
    made = Counter(call.name for call in lane.proxy.calls)
    lane.proxy.clear_faults()
    if response is not None:
        outcome.status, outcome.seconds = response.status, response.seconds
        if operation.standbys_judge is not None:
            allowed = allowed + GOES_COLD
        outcome.wrong = [
            *what_is_wrong_with(response, operation, outcome, lane.timeout_seconds),
            *(f"{made[n]} × {n}" for n in once(case.operation) if made[n] > allowed[n]),
            *_what_is_left(lane, operation, outcome),
        ]
        most = lane.timeout_seconds * MOST_SHARE
        if is_timed:
            most = lane.timeout_seconds + TIDY_SECONDS
        if (is_timed or case.kind in ENDLESS) and response.seconds > most:
            outcome.wrong.append(f"it took {response.seconds:.2f} s")
    lane.opennebula.clear()
    return outcome


def _struck(lane: Lane, operation: Operation, outcome: Outcome) -> Response | None:
    """The response of an operation in which a backend fails from one call on."""
    case, seen, struck = outcome.case, itertools.count(1), threading.Event()
    start = time.monotonic()

    def on_call(call: Call, moment: str) -> None:
        is_meant = moment == "before" and call.name == case.call
        if is_meant and next(seen) == case.number and not struck.is_set():
            struck.set()
            outcome.struck_after_seconds = time.monotonic() - start
            kind = "slow" if case.kind == "late" else case.kind
            only = {"name": case.call, "times": 1} if kind in REFUSALS else {}
            lane.proxy.set_fault(case.backend, kind, seconds=fault_seconds(), **only)

    def fault_seconds() -> float:
        if case.kind == "late":
            return lane.timeout_seconds + LATE_SECONDS
        if case.kind == "stall":
            return max(0.0, lane.timeout_seconds * STALL_SHARE - outcome.struck_after_seconds)
        return SLOW_SECONDS

    lane.proxy.on_call = on_call
    response = operation.request(lane)
    if operation.standbys_judge is not None:  # the engine continues after its response
        standbys.until_idle(lane)
    lane.proxy.on_call = None
    return response if struck.is_set() else None


def what_is_wrong_with(
    response: Response, operation: Operation, outcome: Outcome, timeout_seconds: float
) -> list[str]:
    wrong = []
    right = [*operation.accepted, *KINDS[outcome.case.kind]]
    if outcome.struck_after_seconds > timeout_seconds - LEAST_SECONDS:
        right.append(OUT_OF_TIME)
    if response.status not in right:
        wrong.append(f"{response.status} {response.content.decode()[:300]}")
    if response.status >= 400 and not response.is_error:
        wrong.append(f"{response} is no error of ours")
    return wrong


def _what_is_left(lane: Lane, operation: Operation, outcome: Outcome) -> list[str]:
    """Repeat what a client repeats, reconcile, and count."""
    if operation.standbys_judge is not None:
        return _what_is_wrong_beside_standbys(lane, operation, operation.standbys_judge)
    expected = _expected(lane, operation, outcome)
    if not operation.is_repeated and outcome.case.kind != "late":
        count = lane.opennebula.count()
        outcome.left = "" if count in expected else str(count)
    if operation.is_repeated:
        try:
            until_accepted(lambda: operation.request(lane), (*operation.accepted, 404))
        except AssertionError as error:
            return [f"the repetition fails: {error}"]

    def is_clean() -> bool:
        return lane.opennebula.count() in expected

    with contextlib.suppress(AssertionError):  # then it has to be reconciled
        wait_until(is_clean, 1.0)
    told = ""

    def is_reconciled() -> bool:
        nonlocal told
        if is_clean():
            return True
        told = lane.reconcile()
        return is_clean()

    try:
        wait_until(is_reconciled, PATIENCE_SECONDS, 0.5)
    except AssertionError:
        return [f"{lane.opennebula.holdings()} instead of {expected}: {told}"]
    return []


def _what_is_wrong_beside_standbys(lane: Lane, operation: Operation, judge: Judge) -> list[str]:
    try:
        response = until_accepted(lambda: operation.request(lane), operation.accepted)
    except AssertionError as error:
        return [f"the repetition fails: {error}"]
    # A standby that could not be undone is counted until it is removed, and not replaced.
    return judge(lane, response, range(standbys.KEPT + 1))


def _expected(lane: Lane, operation: Operation, outcome: Outcome) -> list[dict[str, int]]:
    """How many runtimes, services and VMs there may be in the end."""
    is_created = outcome.status == 201 and not operation.is_repeated
    allowed = [1 if is_created else operation.runtimes_left]
    if outcome.case.operation == "create" and outcome.case.call == LAST_CALL:
        # The document may have been completed, and only the response lost: then the runtime is
        # there, whole and listed, as if the engine's own response had been lost.
        allowed = [0, 1]
    return [lane.expected(runtimes) for runtimes in allowed]


# ---- all of them ---------------------------------------------------------------------------


def cases_of(of: Of, calls: Sequence[Call], kinds: Sequence[str], which: str) -> Iterator[Case]:
    """The faults that begin at each of these calls; oneflow refuses none like oned."""
    for call, number, _ in chosen_calls(of[1], calls, which):
        for kind in kinds:
            if call.backend == "oned" or kind not in REFUSALS:
                yield Case(*of, call.backend, kind, call.name, number)


def matrix(
    aim: Target,
    operations: Sequence[str],
    specifications: Sequence[str],
    kinds: Sequence[str],
    which: str,
    directory: Path,
    lanes: int | None = None,
    timeout_seconds: float | None = None,
    is_timed: bool = False,
) -> list[Outcome]:
    """Everything asked for; ``is_timed``: late responses are wrong."""
    calm: dict[Of, Counter[str]] = {}

    def chosen(of: Of, calls: Sequence[Call]) -> Iterator[Case]:
        calm[of] = Counter(call.name for call in calls)
        return cases_of(of, calls, kinds, which)

    default = REAL_TIMEOUT_SECONDS if aim.is_real else SANDBOX_TIMEOUT_SECONDS
    faults = Matrix(
        Outcome,
        chosen,
        lambda of: Case(*of, "", "none", "no call", 0),
        lambda lane, case: run_case(lane, case, calm[case[:3]], is_timed),
    )
    return faults.outcomes(
        aim, operations, specifications, directory, timeout_seconds or default, lanes or LANES
    )


def table(outcomes: Sequence[Outcome]) -> str:
    """One line for each operation and call, one column for each kind of fault."""
    kinds = [kind for kind in KINDS if kind in {outcome.case.kind for outcome in outcomes}]
    rows: dict[tuple[str, ...], dict[str, Outcome]] = {}
    for outcome in outcomes:
        c = outcome.case
        key = (c.release, c.operation, c.specification, c.backend, f"{c.call} {c.number}")
        rows.setdefault(key, {})[c.kind] = outcome
    head = f"{'release':8}{'operation':16}{'runtime':11}{'backend':8}{'fails from the call':34}"
    lines = [head + "".join(f"{kind:>13}" for kind in kinds)]
    for (release, operation, runtime, backend, call), found in rows.items():
        cells = "".join(f"{_cell(found.get(kind)):>13}" for kind in kinds)
        lines.append(f"{release:8}{operation:16}{runtime:11}{backend:8}{call:34}{cells}")
    return "\n".join([*lines, *wrong_lines(outcomes), _sum(outcomes)])


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
        f"{len(reached)} faults, {sum(bool(o.wrong) for o in outcomes)} wrong; the slowest "
        f"response took {longest:.2f} s; of {judged} creates that failed {clean} left nothing "
        "behind as soon as OpenNebula was back, the others (*) nothing after reconcile --apply"
    )


def main() -> int:
    parser = matrix_parser(__doc__)
    add_choices(parser, OPERATIONS)
    parser.add_argument("--kind", action="append", choices=list(KINDS))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        outcomes = matrix(
            target(options),
            options.operation or list(OPERATIONS),
            options.specification or ["FAAS"],
            options.kind or list(KINDS),
            options.which,
            Path(directory),
            options.lanes,
            options.timeout,
            is_timed=True,
        )
    return exit_code(outcomes, table(outcomes))


if __name__ == "__main__":
    sys.exit(main())
