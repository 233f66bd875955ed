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

import argparse
import contextlib
import itertools
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

sys.path.insert(0, str(Path(__file__).parents[2]))

from provision_engine.sandbox import Timings
from tests.reliability.crash_matrix import stale_seconds
from tests.reliability.lanes import (
    NOTHING,
    Lane,
    reconciler,
    run_all,
    silence_logs,
    until_accepted,
)
from tests.support.client import RUNTIMES, SPECIFICATIONS, Response
from tests.support.drivers import ACTIONS_HELP, BOOT_FAILS, SLOW, driver_actions
from tests.support.engine import engine_in_process, settings_for
from tests.support.installation import Target, add_options, target
from tests.support.proxy import Call, Proxy
from tests.support.waiting import wait_until

STATES = (
    "PENDING", "PROLOG", "BOOT", "RUNNING", "HOTPLUG_RESIZE", "DISK_RESIZE", "SUSPENDED",
    "SUSPENDED-BY-ENGINE", "POWEROFF", "SHUTDOWN", "BOOT_FAILURE", "UNKNOWN",
)  # fmt: skip
UNKNOWN_ID = -1
NO_HOST = 'NAME = "no such host"'
INSTANTIATE = "POST service_template/action"
ENDED = {"RUNNING", "BOOT_FAILURE", "DONE"}
"""Where a new VM does not go on by itself."""
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
REACH_SECONDS = 90.0
LEFT_SECONDS = 60.0
"""So much later nothing may be left."""
RECONCILE_SECONDS = 60.0
LEASE_SECONDS = {"PROLOG": 2, "BOOT": 5, "PENDING": 5, "BOOT_FAILURE": 10}
REAL_LEASE_SECONDS = {"PROLOG": 7, "BOOT": 18, "PENDING": 5, "BOOT_FAILURE": 35}
LONG_LEASE_SECONDS, REAL_LONG_LEASE_SECONDS = 12, 60
"""For the states that follow RUNNING."""
LANES, REAL_LANES = 8, 8
"""With more, oneflow has so many requests to wait for that the VMs have left their states."""


class Case(NamedTuple):
    release: str
    state: str
    specification: str
    ending: str

    def is_seen_in(self, vm_states: set[str]) -> bool:
        """Whether a VM is in the state."""
        return vm_state(self.state) in vm_states


def vm_state(state: str) -> str:
    """OpenNebula's state of a VM that was brought into a state of the matrix."""
    return state.partition("-")[0]


@dataclass
class Outcome:
    case: Case
    is_reached: bool = False
    """Whether the VMs were in the state when the end came."""
    is_possible: bool = True
    is_reconciled: bool = False
    """A document stayed until it was reconciled."""
    wrong: list[str] = field(default_factory=list)


class Unreached(Exception):
    """The state cannot be brought about here."""


@dataclass
class LeakLane(Lane):
    patience_seconds: float = field(kw_only=True)
    """The timeout of ``reconcile``; what is younger than twice that, it leaves alone."""

    @property
    def is_real(self) -> bool:
        return self.installation.sandbox is None


@contextlib.contextmanager
def open_lane(release: str, aim: Target, directory: Path) -> Iterator[LeakLane]:
    with aim.installation(release) as installation, Proxy(installation) as proxy:
        settings = settings_for(
            proxy,
            timeout=TIMEOUT_SECONDS,
            lock={"stale_seconds": stale_seconds(TIMEOUT_SECONDS)},
            cache={"seconds": 0},
        )
        # What the dead engine left need not be as old as for a living one.
        patience = REAL_RECONCILE_TIMEOUT_SECONDS if aim.is_real else RECONCILE_TIMEOUT_SECONDS
        impatient = settings_for(
            installation, timeout=patience, lock={"stale_seconds": stale_seconds(patience)}
        )
        with engine_in_process(settings) as url:
            lane = LeakLane(installation, proxy, urlsplit(url).port or 0, patience_seconds=patience)
            where = directory / uuid.uuid4().hex
            lane.reconcile = reconciler(where, impatient, installation.user)
            yield lane


# ---- states --------------------------------------------------------------------------------


def vm_ids(lane: Lane) -> list[int]:
    """Those of the case, as soon as there are all of them."""

    def complete() -> list[int]:
        found = sorted(lane.opennebula.vm_ids())
        return found if len(found) == len(lane.members) else []

    found: list[int] = wait_until(complete, REACH_SECONDS, 0.1)
    return found


def reach(lane: LeakLane, state: str) -> bool:
    """Bring the VMs into a state, at least one of them. Unreached where that cannot be."""
    numbers = vm_ids(lane)
    if state in _ACTIONS:
        _await(lane, numbers, "RUNNING")
        for vm_id in numbers:
            _ACTIONS[state](lane, vm_id)
    return _await(lane, numbers, state)


def _await(lane: LeakLane, numbers: Sequence[int], state: str) -> bool:
    """Whether the VMs came into a state; a transient one may be too short to be seen."""
    end = time.monotonic() + REACH_SECONDS
    while time.monotonic() < end:
        seen = lane.opennebula.vm_states(numbers)
        if vm_state(state) in seen and (state != "RUNNING" or seen == {"RUNNING"}):
            return True
        if seen <= ENDED and state != "RUNNING" and state not in _ACTIONS:
            break
        time.sleep(0.05)
    raise Unreached(f"the VMs are {seen}, not {state}")


def _resize(lane: LeakLane, vm_id: int) -> None:
    lane.opennebula.call("vm.resize", vm_id, "CPU=2\nVCPU=2", True)


def _resize_disk(lane: LeakLane, vm_id: int) -> None:
    lane.opennebula.call("vm.diskresize", vm_id, 0, "2000")


def _lose_sight(lane: LeakLane, vm_id: int) -> None:
    if lane.installation.sandbox is None:
        raise Unreached("only the sandbox can lose sight of a VM")
    lane.installation.sandbox.store.put_vm(vm_id, "UNKNOWN", stays=True)


def _suspend_runtime(lane: LeakLane, vm_id: int) -> None:
    """As its owner does: one request suspends all VMs of the runtime."""
    if lane.runtime_id == UNKNOWN_ID:
        raise Unreached("a runtime that is still being created has no owner who could suspend it")
    if vm_id != min(lane.opennebula.vm_ids()):
        return
    response = lane.request("POST", f"{lane.path}/suspend")
    assert response.status == 200, response.content


def _acting(action: str) -> Callable[[LeakLane, int], None]:
    return lambda lane, vm_id: lane.opennebula.call("vm.action", action, vm_id)


_ACTIONS: dict[str, Callable[[LeakLane, int], None]] = {
    "HOTPLUG_RESIZE": _resize,
    "DISK_RESIZE": _resize_disk,
    "SUSPENDED": _acting("suspend"),
    "SUSPENDED-BY-ENGINE": _suspend_runtime,
    "POWEROFF": _acting("poweroff-hard"),
    "SHUTDOWN": _acting("terminate"),
    "UNKNOWN": _lose_sight,
}
"""What brings a VM that runs into a state."""


# ---- endings -------------------------------------------------------------------------------


def _create(lane: LeakLane, case: Case, **members: Any) -> Response:
    if case.state == "PENDING":
        members["SCHEDULING"] = {"REQUIREMENTS": NO_HOST}
    return lane.request("POST", RUNTIMES, lane.members | members)


def _made(lane: LeakLane, case: Case, **members: Any) -> dict[str, Any]:
    runtime = until_accepted(partial(_create, lane, case, **members), (201,)).runtime
    lane.runtime_id = runtime["ID"]
    return runtime


def _delete(lane: LeakLane) -> Response:
    return until_accepted(lambda: lane.request("DELETE", lane.path), (204, 404))


def _is_end(call: Call) -> bool:
    """Whether a call may end a service or a VM."""
    return call.is_change and not call.name.startswith("document.") and call.name != INSTANTIATE


def _watch_end(lane: LeakLane, case: Case, outcome: Outcome) -> None:
    """See in which state the VMs are when the engine begins to end them."""

    def on_call(call: Call, moment: str) -> None:
        if moment == "before" and _is_end(call):
            lane.proxy.on_call = None
            outcome.is_reached = case.is_seen_in(lane.opennebula.vm_states(vm_ids(lane)))

    lane.proxy.on_call = on_call


def delete(lane: LeakLane, case: Case, outcome: Outcome) -> None:
    _made(lane, case)
    reach(lane, case.state)
    _watch_end(lane, case, outcome)
    _delete(lane)


def delete_twice(lane: LeakLane, case: Case, outcome: Outcome) -> None:
    _made(lane, case)
    reach(lane, case.state)
    _watch_end(lane, case, outcome)
    with ThreadPoolExecutor(2) as pool:
        asked = [pool.submit(_delete, lane) for _ in range(2)]
    statuses = sorted(response.result().status for response in asked)
    if 204 not in statuses:
        outcome.wrong.append(f"the DELETEs were answered {statuses}")


def undo(lane: LeakLane, case: Case, outcome: Outcome) -> None:
    """The response of oneflow is lost when the VMs are in the state."""
    response = _disturbed_create(lane, case, outcome, is_fatal=False)
    if response is None or response.status < 500:
        outcome.wrong.append(f"the create was answered {response}")


def lease(lane: LeakLane, case: Case, outcome: Outcome) -> None:
    """The lease is over while the VMs are in the state; then the device asks for its runtimes."""
    seconds = _lease_seconds(lane, case.state)
    end = time.monotonic() + seconds
    _made(lane, case, LEASE={"TTL": seconds})
    numbers = vm_ids(lane)
    if case.state in _ACTIONS:
        _await(lane, numbers, "RUNNING")
        # Transient states last some seconds: the end has to come while they do.
        time.sleep(max(0.0, end - time.monotonic() - 1.5))
        for vm_id in numbers:
            _ACTIONS[case.state](lane, vm_id)
    time.sleep(max(0.0, end - time.monotonic() - 0.5))
    outcome.is_reached = case.is_seen_in(lane.opennebula.vm_states(numbers))


def _lease_seconds(lane: LeakLane, state: str) -> int:
    if lane.is_real:
        return REAL_LEASE_SECONDS.get(state, REAL_LONG_LEASE_SECONDS)
    return LEASE_SECONDS.get(state, LONG_LEASE_SECONDS)


def reconcile_delete(lane: LeakLane, case: Case, outcome: Outcome) -> None:
    """The engine dies after the first call of a delete that ends something."""
    _made(lane, case)
    outcome.is_reached = reach(lane, case.state)

    def on_call(call: Call, moment: str) -> None:
        if moment == "after" and _is_end(call):
            _die(lane)
            raise ConnectionAbortedError("the engine is dead")

    lane.proxy.on_call = on_call
    with contextlib.suppress(OSError):
        lane.request("DELETE", lane.path)
    _die(lane)


def reconcile_create(lane: LeakLane, case: Case, outcome: Outcome) -> None:
    """The engine dies after it has started the service."""
    _disturbed_create(lane, case, outcome, is_fatal=True)


def _disturbed_create(
    lane: LeakLane, case: Case, outcome: Outcome, is_fatal: bool
) -> Response | None:
    """Lose the response to instantiate, and with ``is_fatal`` the engine."""
    errors: list[Exception] = []

    def on_call(call: Call, moment: str) -> None:
        if (call.name, moment) != (INSTANTIATE, "after"):
            return
        lane.proxy.on_call = None
        try:
            outcome.is_reached = reach(lane, case.state)
        except (AssertionError, Unreached) as error:
            errors.append(error)
        if is_fatal:
            _die(lane)
        else:
            _watch_end(lane, case, outcome)
        raise ConnectionAbortedError("the response is lost")

    lane.proxy.on_call = on_call
    try:
        return _create(lane, case)
    finally:
        if errors:
            raise errors[0]


def _die(lane: LeakLane) -> None:
    """Nothing of the engine reaches OpenNebula any more."""

    def on_call(call: Call, moment: str) -> None:
        raise ConnectionAbortedError("the engine is dead")

    lane.proxy.on_call = on_call


ENDINGS: dict[str, Callable[[LeakLane, Case, Outcome], None]] = {
    "delete": delete,
    "delete-twice": delete_twice,
    "undo": undo,
    "lease": lease,
    "reconcile-delete": reconcile_delete,
    "reconcile-create": reconcile_create,
}


# ---- one case ------------------------------------------------------------------------------


def run_case(lane: LeakLane, case: Case) -> Outcome:
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


def what_is_left(lane: LeakLane, case: Case, outcome: Outcome) -> list[str]:
    """What is alive one minute later. Documents may need to be reconciled, VMs never."""
    one, told = lane.opennebula, ""
    is_reconcile = case.ending.startswith("reconcile")
    seconds = LEFT_SECONDS + (stale_seconds(lane.patience_seconds) if is_reconcile else 0)

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
            outcomes += run_all(
                some,
                partial(open_lane, aim=aim, directory=directory),
                run_case,  # type: ignore[arg-type]
                lambda case, error: Outcome(case, wrong=[error]),
                aim.lanes(lanes),
            )
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
    wrong = [outcome for outcome in outcomes if outcome.wrong]
    lines += [f"WRONG {tuple(o.case)}: {'; '.join(o.wrong)}" for o in wrong]
    possible = [outcome for outcome in outcomes if outcome.is_possible]
    reached = sum(outcome.is_reached for outcome in possible)
    return "\n".join(
        [
            *lines,
            f"{len(possible)} endings, {reached} of them in the state, {len(wrong)} wrong; "
            f"{len(outcomes) - len(possible)} could not be brought about",
        ]
    )


def _cell(outcome: Outcome) -> str:
    if outcome.wrong:
        return "WRONG"
    if not outcome.is_possible:
        return "-"
    return f"ok{'*' if outcome.is_reconciled else ''}{'' if outcome.is_reached else '~'}"


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--state", action="append", choices=STATES)
    parser.add_argument("--ending", action="append", choices=list(ENDINGS))
    parser.add_argument("--specification", action="append", choices=list(SPECIFICATIONS))
    parser.add_argument("--lanes", type=int, help="cases at the same time; they mostly wait")
    parser.add_argument("--driver-actions", type=Path, metavar="DIR", help=ACTIONS_HELP)
    add_options(parser)
    options = parser.parse_args()
    silence_logs()
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
    print(table(outcomes))
    return int(any(outcome.wrong for outcome in outcomes))


if __name__ == "__main__":
    sys.exit(main())
