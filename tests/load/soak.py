"""Many clients, several engines, one of them killed and one restarted all the time.

Starts a sandbox (with --oned it uses a real OpenNebula), engines, and HAProxy with
etc/haproxy.cfg, and lets the clients race: for the same idempotency keys, in updates of the same
runtimes, and in creates, updates and deletes of their own. A client repeats a request that was
answered 423, 429, 502, 503 or 504, or whose connection was cut, as a device would. Checked are:

- no duplicate: all answers to one key name one runtime, and nothing else is there in the end;
- no lost update: each client counts in a member of DEVICE_INFO of its own in runtimes that all of
  them update, and what was acknowledged is there ever after;
- no 5xx that a repetition does not cure, and no 500 at all;
- nothing left: after everything was deleted and ``reconcile --apply`` ran there is no document,
  no service, no VM, no lock.

    python tests/load/soak.py --minutes 10
    python tests/load/soak.py --minutes 10 --clients 20 --oned http://one:2633/RPC2 \
        --oneflow http://one:2474 --admin oneadmin:PASSWORD --driver-actions DIRECTORY
"""

from __future__ import annotations

import contextlib
import itertools
import sys
import tempfile
import time
import uuid
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.load.devices import CURE_SECONDS, FUNCTION, Client, Findings, Shared
from tests.load.servers import Chaos, backend, proxied, running_engines
from tests.reliability.lanes import NOTHING, matrix_parser, reconciler, stale_seconds
from tests.support.client import RUNTIMES
from tests.support.drivers import ACTIONS_HELP, SLOW, driver_actions
from tests.support.engine import EngineProcess, settings_for
from tests.support.installation import Target, target
from tests.support.opennebula import OpenNebula
from tests.support.waiting import wait_until

MOST_MINUTES = 60.0
SANDBOX_TIMEOUT_SECONDS, REAL_TIMEOUT_SECONDS = 8.0, 30.0
LEFT_SECONDS = 60.0
"""After this time nothing may be left."""
MOST_SHOWN = 10
SHARED_RUNTIMES = 10
DRIVER_SECONDS = 2
"""How long each action takes of a real OpenNebula whose dummy driver may be slowed down."""


def soak(
    seconds: float,
    client_count: int = 50,
    engine_count: int = 3,
    chaos_seconds: float = 10.0,
    aim: Target | None = None,
    is_behind_haproxy: bool = True,
) -> Findings:
    """Race for so long, then clean up and count."""
    findings, shared, aim = Findings(), Shared(), aim or Target(releases=("7.4.0",))
    timeout_seconds = REAL_TIMEOUT_SECONDS if aim.is_real else SANDBOX_TIMEOUT_SECONDS
    with tempfile.TemporaryDirectory() as name, backend(aim, aim.releases[0]) as there:
        settings = {
            "timeout": timeout_seconds,
            "lock": {"stale_seconds": stale_seconds(timeout_seconds)},
            "server": {"threads": 32},
        }
        direct = settings_for(there, **settings)
        reconcile = reconciler(Path(name) / "reconcile", direct, there.user)
        with (
            running_engines(there, settings, engine_count, Path(name)) as engines,
            proxied(engines, is_behind_haproxy, Path(name)) as ports,
        ):
            turns = itertools.cycle(ports)
            clients = [Client(n, turns, there.user, shared, findings) for n in range(client_count)]
            _make_shared(clients[0], shared)
            _race(clients, Chaos(engines, findings, chaos_seconds), shared, seconds)
            _check(clients[0], shared, findings)
            _clean_up(clients[0], findings, there.opennebula, reconcile)
            findings.crashes = _crashes(engines)
    return findings


def _race(clients: list[Client], chaos: Chaos, shared: Shared, seconds: float) -> None:
    for thread in (*clients, chaos):
        thread.start()
    time.sleep(seconds)
    # On a busy machine engines start slowly: at least one of each has to have happened.
    with contextlib.suppress(AssertionError):
        wait_until(lambda: chaos.has_struck, 120)
    chaos.end.set()
    chaos.join()
    shared.end.set()
    for client in clients:
        client.join()


def _crashes(engines: list[EngineProcess]) -> list[str]:
    """What the engines' logs say of requests that crashed."""
    logs = (line for engine in engines for line in engine.log().splitlines())
    return [line for line in logs if "Traceback" in line]


def _make_shared(client: Client, shared: Shared) -> None:
    for number in range(SHARED_RUNTIMES):
        key = {"Idempotency-Key": f"shared {number} {uuid.uuid4().hex}"}
        made = client.until("set up", (200, 201), "POST", RUNTIMES, {"FAAS": FUNCTION}, key)
        assert made is not None, client._findings.wrong
        shared.runtime_ids.append(made.runtime["ID"])


def _check(client: Client, shared: Shared, findings: Findings) -> None:
    """Whether there is what was acknowledged, and nothing else."""
    for key, ids in shared.made.items():
        if len(ids) != 1:
            findings.blame(f"duplicate: the key {key} made the runtimes {sorted(ids)}")
    for (runtime_id, member), count in shared.acknowledged.items():
        read = client.until("read of shared runtime", (200,), "GET", f"{RUNTIMES}/{runtime_id}")
        if read and read.runtime["DEVICE_INFO"].get(member) != count:
            found = read.runtime["DEVICE_INFO"].get(member)
            findings.blame(f"lost update: {member} of {runtime_id} is {found}, not {count}")
    known = set(shared.runtime_ids).union(*shared.made.values())
    listed = client.until("list", (200,), "GET", RUNTIMES)
    there = {entry["SERVERLESS_RUNTIME"]["ID"] for entry in listed.json} if listed else set()
    if not known <= there:
        findings.blame(f"gone: the runtimes {sorted(known - there)}")
    # A client whose create was cut by a kill repeats it with its key, so all others are deleted.
    if there - known:
        findings.blame(f"more than was asked for: the runtimes {sorted(there - known)}")


def _clean_up(
    client: Client, findings: Findings, opennebula: OpenNebula, reconcile: Callable[[], str]
) -> None:
    listed = client.until("list", (200,), "GET", RUNTIMES)
    for entry in listed.json if listed else []:
        path = f"{RUNTIMES}/{entry['SERVERLESS_RUNTIME']['ID']}"
        client.until("delete", (204, 404), "DELETE", path)
    with contextlib.suppress(AssertionError):  # then it is counted as left
        wait_until(lambda: opennebula.count() == NOTHING, LEFT_SECONDS, 0.5)
    findings.left_before_reconcile = opennebula.count()

    def is_clean() -> bool:
        findings.left = opennebula.count()
        if findings.left != NOTHING:
            findings.reconciled = reconcile()
        return findings.left == NOTHING

    try:
        wait_until(is_clean, CURE_SECONDS, 0.5)
    except AssertionError:
        findings.blame(f"left behind: {findings.left}: {findings.reconciled}")


def report(findings: Findings, seconds: float) -> str:
    """The figures, as they go into docs/reliability.md."""
    ordered = sorted(findings.seconds)
    requests = len(ordered)
    lines = [
        f"{requests} requests in {seconds:.0f} s, {findings.done} actions, {findings.cured} of "
        "their steps by repeating a request",
        f"{findings.kills} engines killed, {findings.restarts} restarted",
        "median {:.0f} ms, 99 % within {:.0f} ms".format(
            *(ordered[int(requests * share)] * 1000 for share in (0.5, 0.99))
        ),
    ]
    statuses = sorted({status for _, status in findings.responses})
    lines.append(f"{'':26}" + "".join(f"{status or 'cut':>7}" for status in statuses))
    for operation in sorted({operation for operation, _ in findings.responses}):
        counts = (findings.responses.get((operation, status), 0) for status in statuses)
        lines.append(f"{operation:26}" + "".join(f"{count or '':>7}" for count in counts))
    lines += [
        f"left before reconcile: {findings.left_before_reconcile}, after: {findings.left}",
        f"wrong: {len(findings.wrong)}",
        *findings.wrong[:MOST_SHOWN],
        *findings.crashes[:MOST_SHOWN],
    ]
    return "\n".join(lines)


def main() -> int:
    parser = matrix_parser(__doc__)
    parser.add_argument("--minutes", type=float, default=1.0, help=f"at most {MOST_MINUTES}")
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--engines", type=int, default=3, choices=(1, 2, 3))
    parser.add_argument("--chaos-seconds", type=float, default=10.0)
    parser.add_argument("--driver-actions", type=Path, metavar="DIR", help=ACTIONS_HELP)
    options = parser.parse_args()
    seconds = min(options.minutes, MOST_MINUTES) * 60
    options.release = options.release or ["7.4.0"]
    slow = dict.fromkeys(SLOW, f"success {DRIVER_SECONDS}")
    with driver_actions(options.driver_actions, slow):
        findings = soak(
            seconds, options.clients, options.engines, options.chaos_seconds, target(options)
        )
    print(report(findings, seconds))
    return int(bool(findings.wrong))


if __name__ == "__main__":
    sys.exit(main())
