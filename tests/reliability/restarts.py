"""OpenNebula's services are killed and started while devices create, read and delete.

Four devices create runtimes with keys, read and delete them, and repeat what fails, while oneflow,
oned and oneflow again are killed and started. A oneflow that was killed has forgotten VMs, and
deploys what it finds deploying once more as its own user. No response may tell of a VM that is not
the user's. Afterwards nothing of the user is left, without ``reconcile``; the VMs of oneflow's user
are all found by an administrator's ``reconcile --apply``. The exit code is 1 if anything is wrong.

    python tests/reliability/restarts.py                              # both sandboxes
    python tests/reliability/restarts.py --oned http://one:2633/RPC2 --oneflow http://one:2474 \
        --admin oneadmin:PASSWORD --kill 'COMMAND {}' --start 'COMMAND {}'

``{}`` in the two commands stands for ``oneflow`` or ``oned``.
"""

from __future__ import annotations

import contextlib
import http.client
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).parents[2]))

from provision_engine.engine.safety.reconcile import ONEFLOW_USER
from provision_engine.sandbox import Sandbox, Timings
from tests.reliability.lanes import (
    NOTHING,
    REPEAT,
    Lane,
    exit_code,
    matrix_parser,
    open_lane,
    reconciler,
    stale_seconds,
)
from tests.support.client import RUNTIMES, Response
from tests.support.drivers import ACTIONS_HELP, SLOW, driver_actions
from tests.support.engine import settings_for
from tests.support.installation import Target, target
from tests.support.opennebula import OpenNebula
from tests.support.waiting import wait_until

SLOW_SANDBOX = Timings(vms_visible_seconds=0.5, boot_seconds=1.0, shutdown_seconds=0.5)
TIMEOUT_SECONDS, REAL_TIMEOUT_SECONDS = 3.0, 30.0
OUTAGES = ("oneflow", "oned", "oneflow")
APART_SECONDS = 12.0
DOWN_SECONDS = 1.0
LEFT_SECONDS = 180.0
"""So much later than what may still appear, nothing may be left."""
PATIENCE_SECONDS = 600.0
DEPLOYING_NETS = 11
DEPLOY_FAILED = 500
"""oneflow could not order a VM, for one because oned was down: a device repeats that too."""
DRIVER_SECONDS = 3
ENDABLE = ("PENDING", "RUNNING", "UNKNOWN", "POWEROFF", "BOOT_FAILURE", "PROLOG_FAILURE")
RECOVER_DELETE = 3


class Case(NamedTuple):
    release: str


class Services(NamedTuple):
    """How to kill and to start oneflow or oned."""

    kill: Callable[[str], None]
    start: Callable[[str], None]

    @classmethod
    def from_commands(cls, kill: str, start: str) -> Services:
        def runner(command: str) -> Callable[[str], None]:
            return lambda name: _run(command.replace("{}", name))

        return cls(runner(kill), runner(start))

    @classmethod
    def of_sandbox(cls, sandbox: Sandbox) -> Services:
        def kill(name: str) -> None:
            if name == "oned":
                sandbox.faults.set("oned", "refuse")
                return
            wait_until(lambda: any(s["state"] == DEPLOYING_NETS for s in sandbox.store.services()))
            sandbox.kill_oneflow()

        def start(name: str) -> None:
            sandbox.faults.clear("oned") if name == "oned" else sandbox.start_oneflow()

        return cls(kill, start)


def _run(command: str) -> None:
    # What it starts may outlive it, and keep its output.
    subprocess.run(command, shell=True, check=True, stdout=subprocess.DEVNULL, timeout=600)


@dataclass
class Outcome:
    case: Case
    wrong: list[str] = field(default_factory=list)
    responses: Counter[tuple[str, int]] = field(default_factory=Counter)
    """By action and status; 0 is a connection that broke."""
    foreign: set[int] = field(default_factory=set)
    """VMs that oneflow deployed as its own user."""
    stuck: list[str] = field(default_factory=list)
    """VMs of the user that oned, when it was killed, left in a state in which nobody but an
    administrator can end them; each carries an order."""


class Device(threading.Thread):
    """Creates, reads and deletes runtimes until it is told to end."""

    def __init__(self, lane: Lane, outcome: Outcome) -> None:
        super().__init__(daemon=True)
        self._lane, self._outcome = lane, outcome
        self.end = threading.Event()

    def run(self) -> None:
        try:
            while not self.end.is_set():
                self._live_once()
        except Exception as error:
            self._outcome.wrong.append(f"{type(error).__name__}: {error}")

    def _live_once(self) -> None:
        key = {"Idempotency-Key": uuid.uuid4().hex}
        members = self._lane.members
        created = self._until("create", (200, 201), "POST", RUNTIMES, members, headers=key)
        for role in members:
            if refusal := self._refusal(created.runtime[role]["VM_ID"]):
                self._outcome.wrong.append(f"not the user's VM ({refusal:#x}): {created.text}")
        path = f"{RUNTIMES}/{created.runtime['ID']}"
        self._until("read", (200,), "GET", path)
        self._until("delete", (204, 404), "DELETE", path)

    def _refusal(self, vm_id: int) -> int:
        """The error with which oned refuses the user a VM; 0 if it does not."""
        while True:
            with contextlib.suppress(OSError, http.client.HTTPException):
                return self._lane.opennebula.refusal("vm.info", vm_id, False)
            time.sleep(0.5)

    def _until(
        self, action: str, accepted: tuple[int, ...], *request: object, **more: object
    ) -> Response:
        """Repeat as a device does. AssertionError when that does not help."""
        end = time.monotonic() + PATIENCE_SECONDS
        while True:
            response = self._lane.request(*request, **more)  # type: ignore[arg-type]
            self._outcome.responses[action, response.status] += 1
            if response.status in accepted:
                return response
            told = f"{action}: {response.status} {response.text[:300]}"
            assert response.status in (DEPLOY_FAILED, *REPEAT), told
            assert time.monotonic() < end, told
            time.sleep(0.5)


def run(
    aim: Target,
    release: str,
    directory: Path,
    services: Services | None = None,
    *,
    devices: int = 4,
    apart_seconds: float = APART_SECONDS,
    outages: Sequence[str] = OUTAGES,
) -> Outcome:
    """Kill and start the services while devices work, and look at what is left."""
    outcome = Outcome(Case(release))
    timeout_seconds = REAL_TIMEOUT_SECONDS if aim.is_real else TIMEOUT_SECONDS
    with open_lane(release, aim, directory, timeout_seconds) as lane:
        there = lane.installation
        assert there.admin, "an administrator is needed"
        admin = OpenNebula(there.oned_url, there.oneflow_url, there.admin)
        services = services or Services.of_sandbox(_sandbox(lane))
        before = admin.vm_ids(ONEFLOW_USER)
        working = [Device(lane, outcome) for _ in range(devices)]
        for device in working:
            device.start()
        for name in outages:
            time.sleep(apart_seconds)
            services.kill(name)
            time.sleep(DOWN_SECONDS)
            services.start(name)
        time.sleep(apart_seconds)
        for device in working:
            device.end.set()
        for device in working:
            device.join()
        outcome.wrong += _left_of_user(lane, outcome, admin)
        outcome.foreign = admin.vm_ids(ONEFLOW_USER) - before
        limits = {
            "timeout": timeout_seconds,
            "lock": {"stale_seconds": stale_seconds(timeout_seconds)},
        }
        reconcile = reconciler(
            directory / "admin", settings_for(there, **limits), there.admin, "100d"
        )
        outcome.wrong += _left_of_oneflow(admin, before, reconcile, stale_seconds(timeout_seconds))
    return outcome


def _sandbox(lane: Lane) -> Sandbox:
    assert lane.installation.sandbox, "a real OpenNebula needs --kill and --start"
    return lane.installation.sandbox


def _left_of_user(lane: Lane, outcome: Outcome, admin: OpenNebula) -> list[str]:
    """What the user still has, although no request is pending and the user looks at a list."""

    def is_empty() -> bool:
        lane.request("GET", RUNTIMES)
        return lane.opennebula.count() == NOTHING

    with contextlib.suppress(AssertionError):
        wait_until(is_empty, stale_seconds(lane.timeout_seconds) + LEFT_SECONDS, 1.0)
        return []
    for vm_id in lane.opennebula.vm_ids():
        state = lane.opennebula.vm_state(vm_id)
        if state not in ENDABLE and "SCHED_ACTION" in lane.opennebula.vm(vm_id)["TEMPLATE"]:
            outcome.stuck.append(f"{vm_id} in {state}")
            admin.call("vm.recover", vm_id, RECOVER_DELETE)
    with contextlib.suppress(AssertionError):
        wait_until(is_empty, LEFT_SECONDS, 1.0)
        return []
    return [f"left: {lane.opennebula.holdings()}"]


def _left_of_oneflow(
    admin: OpenNebula, before: set[int], reconcile: Callable[[], str], stale: float
) -> list[str]:
    """What of oneflow's own user reconcile does not find."""
    told = ""

    def is_empty() -> bool:
        nonlocal told
        if not admin.vm_ids(ONEFLOW_USER) - before:
            return True
        told = reconcile()
        return False

    with contextlib.suppress(AssertionError):
        wait_until(is_empty, stale + LEFT_SECONDS, 1.0)
        return []
    return [f"left of oneflow: VMs {sorted(admin.vm_ids(ONEFLOW_USER) - before)}: {told}"]


def report(outcomes: Sequence[Outcome]) -> str:
    lines = []
    for outcome in outcomes:
        counts = sorted(outcome.responses.items())
        responses = ", ".join(f"{action} {status}: {n}" for (action, status), n in counts)
        lines += [
            f"{outcome.case.release}: {responses}",
            f"  VMs of oneflow: {len(outcome.foreign)}",
        ]
        lines += [f"  VM {stuck}, with an order" for stuck in outcome.stuck]
        lines += [f"  WRONG {wrong}" for wrong in outcome.wrong]
    return "\n".join(lines)


def main() -> int:
    parser = matrix_parser(__doc__)
    parser.add_argument("--kill", metavar="COMMAND", help="kills {}: oneflow or oned")
    parser.add_argument(
        "--start", metavar="COMMAND", help="starts {} again; returns when it answers"
    )
    parser.add_argument("--driver-actions", type=Path, metavar="DIR", help=ACTIONS_HELP)
    parser.add_argument("--rounds", type=int, default=1, help="of oneflow, oned, oneflow")
    options = parser.parse_args()
    aim, services = target(options, SLOW_SANDBOX), None
    if options.kill and options.start:
        services = Services.from_commands(options.kill, options.start)
    slow = dict.fromkeys(SLOW, f"success {DRIVER_SECONDS}")
    with driver_actions(options.driver_actions, slow), tempfile.TemporaryDirectory() as directory:
        outages = OUTAGES * options.rounds
        outcomes = [
            run(aim, release, Path(directory), services, outages=outages)
            for release in aim.releases
        ]
    return exit_code(outcomes, report(outcomes))


if __name__ == "__main__":
    sys.exit(main())
