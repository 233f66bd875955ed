"""A runtime is ended in each way while its VMs are in each state, and nothing stays alive.

VM states × endings × FAAS and FAAS-DAAS × releases. The endings are: a DELETE; two DELETEs at the
same time; a create that fails after its service was started, so that the engine undoes it; a lease
that is over; an engine that dies in a delete, or in a create, and ``provision-engine reconcile``
afterwards. Then the user's VMs, services, documents and locks are counted until there are none;
one minute later there must be none. Prints a table; the exit code is 1 when anything is wrong.

    python tests/reliability/leak_matrix.py                        # both sandboxes
    python tests/reliability/leak_matrix.py --state BOOT --ending delete --release 7.4.0
    python tests/reliability/leak_matrix.py --oned http://one:2633/RPC2 --oneflow http://one:2474 \
        --admin oneadmin:PASSWORD --driver-actions DIRECTORY        # on a real OpenNebula

In the table, ``ok`` is a case of which nothing was left, ``ok*`` one of which a document stayed
until it was reconciled, ``ok~`` one in which the VMs had left the state when the end came, and
``-`` a state that could not be brought about.
"""

from __future__ import annotations

import contextlib
import itertools
import sys
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from provision_engine.sandbox import Timings
from tests.reliability.lanes import (
    NOTHING,
    Lane,
    OpenLane,
    exit_code,
    matrix_parser,
    open_lane,
    run_all,
    stale_seconds,
    wrong_lines,
)
from tests.reliability.leak_endings import ENDINGS
from tests.reliability.leak_states import STATES, UNKNOWN_ID, Case, Outcome, Unreached
from tests.support.client import RUNTIMES, SPECIFICATIONS
from tests.support.drivers import ACTIONS_HELP, BOOT_FAILS, SLOW, driver_actions
from tests.support.installation import Target, target
from tests.support.waiting import wait_until

SLOW_SANDBOX = Timings(
    prolog_seconds=3.0,
    boot_seconds=3.0,
    resize_seconds=3.0,
    disk_resize_seconds=3.0,
    shutdown_seconds=3.0,
)
TIMEOUT_SECONDS = 120.0
"""Of the engine; a create is held until its VMs are in their state."""
RECONCILE_TIMEOUT_SECONDS, REAL_RECONCILE_TIMEOUT_SECONDS = 2.0, 10.0
LEFT_SECONDS = 60.0
"""So much later nothing may be left."""
RECONCILE_SECONDS = 60.0
LANES, REAL_LANES = 8, 8
"""With more, oneflow has so many requests to wait for that the VMs have left their states."""


def lane_opener(aim: Target, directory: Path) -> OpenLane:
    """What the dead engine left need not be as old as for a living one."""
    reconcile_seconds = REAL_RECONCILE_TIMEOUT_SECONDS if aim.is_real else RECONCILE_TIMEOUT_SECONDS
    return partial(
        open_lane,
        aim=aim,
        directory=directory,
        timeout_seconds=TIMEOUT_SECONDS,
        reconcile_seconds=reconcile_seconds,
    )


# ---- one case ------------------------------------------------------------------------------


def run_case(lane: Lane, case: Case) -> Outcome:
    lane.specification, outcome = case.specification, Outcome(case)
    lane.runtime_id = UNKNOWN_ID
    sandbox = lane.installation.sandbox
    if sandbox is not None and case.state == "BOOT_FAILURE":
        sandbox.faults.drivers.set("boot", fails=True)
    try:
        ENDINGS[case.ending](lane, case, outcome)
        outcome.wrong += what_is_left(lane, case, outcome)
    except Unreached:
        outcome.is_possible = False
    except AssertionError as error:
        outcome.wrong.append(str(error))
    if sandbox is not None:
        sandbox.faults.clear()
    lane.proxy.on_call = None
    lane.opennebula.clear()
    return outcome


def what_is_left(lane: Lane, case: Case, outcome: Outcome) -> list[str]:
    """What is alive one minute later. Documents may need to be reconciled, VMs never."""
    one, told = lane.opennebula, ""
    is_reconcile = case.ending.startswith("reconcile")
    seconds = LEFT_SECONDS + (stale_seconds(lane.reconcile_seconds) if is_reconcile else 0)

    def is_empty() -> bool:
        nonlocal told
        if one.count() == NOTHING:
            return True
        if is_reconcile:
            told = lane.reconcile()
        if case.ending == "lease":
            lane.request("GET", RUNTIMES)  # as the device does, to see what it has
        return False

    with contextlib.suppress(AssertionError):
        wait_until(is_empty, seconds, 1.0)
        return []
    left = one.holdings()
    alive = {vm_id: one.vm_state(vm_id) for vm_id in left["VMs"]}
    if alive or left["services"] or is_reconcile:
        return [f"left: VMs {alive}, {left} {told}".strip()]
    outcome.is_reconciled = True
    with contextlib.suppress(AssertionError):
        wait_until(lambda: lane.reconcile() and one.count() == NOTHING, RECONCILE_SECONDS, 0.5)
        return []
    return [f"left after reconcile: {one.holdings()}"]


# ---- all of them ---------------------------------------------------------------------------


def matrix(
    aim: Target,
    states: Sequence[str],
    endings: Sequence[str],
    specifications: Sequence[str],
    directory: Path,
    lanes: int,
    actions: Path | None = None,
) -> list[Outcome]:
    """Everything asked for. Where the driver of a real OpenNebula has to fail, it comes last."""
    cases = [
        Case(*members)
        for members in itertools.product(aim.releases, states, specifications, endings)
    ]
    failing = [case for case in cases if case.state == "BOOT_FAILURE"]
    others = [case for case in cases if case.state != "BOOT_FAILURE"]
    outcomes: list[Outcome] = []
    for some, how in ((others, SLOW), (failing, BOOT_FAILS)):
        with driver_actions(actions, how):
            opener = lane_opener(aim, directory)
            outcomes += run_all(some, opener, run_case, Outcome, aim.lanes(lanes))
    by_case = {outcome.case: outcome for outcome in outcomes}
    return [by_case[case] for case in cases]


def table(outcomes: Sequence[Outcome]) -> str:
    """One line for each state and runtime, one column for each ending."""
    endings = list(dict.fromkeys(outcome.case.ending for outcome in outcomes))
    rows: dict[tuple[str, ...], dict[str, Outcome]] = {}
    for outcome in outcomes:
        rows.setdefault(outcome.case[:3], {})[outcome.case.ending] = outcome
    lines = [f"{'release':8}{'VM state':20}{'runtime':11}" + "".join(f"{e:>18}" for e in endings)]
    for (release, state, runtime), found in rows.items():
        cells = "".join(f"{_cell(found[ending]):>18}" for ending in endings)
        lines.append(f"{release:8}{state:20}{runtime:11}{cells}")
    wrong = wrong_lines(outcomes)
    possible = [outcome for outcome in outcomes if outcome.is_possible]
    reached = sum(outcome.is_reached for outcome in possible)
    counted = (
        f"{len(possible)} endings, {reached} of them in the state, {len(wrong)} wrong; "
        f"{len(outcomes) - len(possible)} could not be brought about"
    )
    return "\n".join([*lines, *wrong, counted])


def _cell(outcome: Outcome) -> str:
    if outcome.wrong:
        return "WRONG"
    if not outcome.is_possible:
        return "-"
    return f"ok{'*' if outcome.is_reconciled else ''}{'' if outcome.is_reached else '~'}"


def main() -> int:
    parser = matrix_parser(__doc__)
    parser.add_argument("--state", action="append", choices=STATES)
    parser.add_argument("--ending", action="append", choices=list(ENDINGS))
    parser.add_argument("--specification", action="append", choices=list(SPECIFICATIONS))
    parser.add_argument("--driver-actions", type=Path, metavar="DIR", help=ACTIONS_HELP)
    options = parser.parse_args()
    aim = target(options, SLOW_SANDBOX)
    with tempfile.TemporaryDirectory() as directory:
        outcomes = matrix(
            aim,
            options.state or STATES,
            options.ending or list(ENDINGS),
            options.specification or list(SPECIFICATIONS),
            Path(directory),
            options.lanes or (REAL_LANES if aim.is_real else LANES),
            options.driver_actions,
        )
    return exit_code(outcomes, table(outcomes))


if __name__ == "__main__":
    sys.exit(main())
