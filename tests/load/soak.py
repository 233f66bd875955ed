"""Many clients, several engines, one of them killed and one restarted all the time.

Starts a sandbox, engines and HAProxy with etc/haproxy.cfg (without HAProxy the clients take the
engines in turn), and lets the clients race: the same idempotency key, updates of the same
runtime, and creates, updates and deletes of their own. A client repeats what was answered
423, 429, 502, 503 or 504, or was cut, as a device would. With --oned a real OpenNebula takes the
sandbox's place. Checked are:

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

import argparse
import contextlib
import http.client
import itertools
import os
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))


from tests.reliability.lanes import NOTHING, reconciler
from tests.support.client import RUNTIMES, Response, request
from tests.support.drivers import ACTIONS_HELP, SLOW, driver_actions
from tests.support.engine import EngineProcess, is_answering, settings_for
from tests.support.installation import Installation, Target, add_options, target
from tests.support.opennebula import OpenNebula
from tests.support.ports import free_port
from tests.support.users import USER, User
from tests.support.waiting import wait_until

HAPROXY_CONFIGURATION = Path(__file__).parents[2] / "etc" / "haproxy.cfg"
MOST_MINUTES = 60.0
SANDBOX_TIMEOUT_SECONDS, REAL_TIMEOUT_SECONDS = 8.0, 30.0
CURE_SECONDS = 240.0
"""So long a client repeats; longer than what a dead engine left stays locked."""
REPEAT = (0, 423, 429, 502, 503, 504)
"""Statuses that a client repeats; 0 is a connection that broke."""
PAUSE_SECONDS = 0.1
LEFT_SECONDS = 60.0
"""So much later nothing may be left."""
MOST_SHOWN = 10
SHARED_RUNTIMES = 10
SHARED_KEYS = 8
DRIVER_SECONDS = 2
"""So long takes each action of a real OpenNebula whose driver we may slow down."""
FUNCTION = {"FLAVOUR": "nature", "CPU": 1, "MEMORY": 128, "DISK_SIZE": 1025}


@dataclass
class Findings:
    """What went on, and what was wrong. Safe for threads."""

    answers: Counter[tuple[str, int]] = field(default_factory=Counter)
    """By operation and status."""
    seconds: list[float] = field(default_factory=list)
    """Of each answer of an engine."""
    cured: int = 0
    """Operations that took more than one request."""
    done: int = 0
    kills: int = 0
    restarts: int = 0
    wrong: list[str] = field(default_factory=list)
    left_before_reconcile: dict[str, int] = field(default_factory=dict)
    left: dict[str, int] = field(default_factory=dict)
    reconciled: str = ""
    crashes: list[str] = field(default_factory=list)
    """Lines of engine.log."""
    guard: threading.Lock = field(default_factory=threading.Lock)

    def note(self, operation: str, status: int, seconds: float) -> None:
        with self.guard:
            self.answers[operation, status] += 1
            self.seconds.append(seconds)

    def blame(self, text: str) -> None:
        with self.guard:
            self.wrong.append(text)

    @property
    def server_errors(self) -> int:
        return sum(n for (_, status), n in self.answers.items() if status >= 500)


class Shared:
    """What the clients race for."""

    def __init__(self) -> None:
        self.guard = threading.Lock()
        self.runtime_ids: list[int] = []
        self.acknowledged: dict[tuple[int, str], int] = {}
        """By runtime and member of DEVICE_INFO: the last count that was acknowledged."""
        self.keys: list[str] = [uuid.uuid4().hex for _ in range(SHARED_KEYS)]
        self.made: dict[str, set[int]] = {}
        """By key: the runtimes that answers named."""
        self.end = threading.Event()


class Client(threading.Thread):
    """One device, which does one thing after the other."""

    def __init__(
        self, number: int, ports: Iterator[int], user: User, shared: Shared, findings: Findings
    ) -> None:
        super().__init__(name=f"client-{number}")
        self._number, self._ports, self._user = number, ports, user
        self._shared, self._findings = shared, findings
        self._counts = itertools.count(1)
        self._random = random.Random(number)

    def run(self) -> None:
        deeds = (self.race_for_key, self.count, self.count, self.live)
        try:
            while not self._shared.end.is_set():
                self._random.choice(deeds)()
                self._findings.done += 1
        except Exception as error:
            self._findings.blame(f"{self.name}: {type(error).__name__}: {error}")

    def race_for_key(self) -> None:
        """All who use the same key get the same runtime."""
        key = self._random.choice(self._shared.keys)
        answer = self.until(
            "create with shared key",
            (200, 201),
            "POST",
            RUNTIMES,
            {"FAAS": FUNCTION},
            headers={"Idempotency-Key": key},
        )
        if answer is not None:
            with self._shared.guard:
                self._shared.made.setdefault(key, set()).add(answer.runtime["ID"])

    def count(self) -> None:
        """Change one's own member of a runtime that all change."""
        runtime_id, member = self._random.choice(self._shared.runtime_ids), f"C{self._number}"
        count = next(self._counts)
        answer = self.until(
            "update of shared runtime",
            (200,),
            "PUT",
            f"{RUNTIMES}/{runtime_id}",
            {"DEVICE_INFO": {member: count}},
        )
        if answer is None:
            return
        if answer.runtime["DEVICE_INFO"].get(member) != count:
            self._findings.blame(f"lost: {member}={count} in the answer {answer.runtime}")
        with self._shared.guard:
            self._shared.acknowledged[runtime_id, member] = count

    def live(self) -> None:
        """Create, update and delete a runtime of one's own; two delete it at the same time."""
        headers = {"Idempotency-Key": uuid.uuid4().hex}
        made = self.until(
            "create", (200, 201), "POST", RUNTIMES, {"FAAS": FUNCTION}, headers=headers
        )
        if made is None:
            return
        path = f"{RUNTIMES}/{made.runtime['ID']}"
        seen = self.until("read", (200,), "GET", f"{path}?wait=10")
        wanted = {"FAAS": {"FLAVOUR": "", "MEMORY": 256}, "NAME": f"of {self.name}"}
        changed = self.until("update", (200,), "PUT", path, wanted)
        if changed and (changed.runtime["NAME"], changed.runtime["FAAS"]["MEMORY"]) != (
            wanted["NAME"],
            256,
        ):
            self._findings.blame(f"not updated: {changed.runtime} after {seen}")
        rival = threading.Thread(target=self.until, args=("delete", (204, 404), "DELETE", path))
        rival.start()
        self.until("delete", (204, 404), "DELETE", path)
        rival.join()
        self.until("read of nothing", (404,), "GET", path)

    def until(
        self,
        operation: str,
        accepted: tuple[int, ...],
        method: str,
        path: str,
        members: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Response | None:
        """Repeat a request until it is accepted; None, and a blame, when that never happens."""
        until = time.monotonic() + CURE_SECONDS
        for attempt in itertools.count(1):
            answer = self._once(operation, method, path, members, headers)
            if answer.status in accepted:
                self._findings.cured += attempt > 1
                return answer
            if answer.status not in REPEAT or time.monotonic() > until:
                break
            time.sleep(PAUSE_SECONDS * (1 + self._random.random()))
        self._findings.blame(
            f"{operation} {path}: {answer.status} {answer.content.decode()[:200]}, try {attempt}"
        )
        return None

    def _once(
        self,
        operation: str,
        method: str,
        path: str,
        members: Mapping[str, Any] | None,
        headers: Mapping[str, str] | None,
    ) -> Response:
        start = time.monotonic()
        try:
            answer = request(
                next(self._ports), method, path, members, headers=headers, user=self._user
            )
        except (OSError, http.client.HTTPException):
            answer = Response(0, {}, b"")
        self._findings.note(operation, answer.status, time.monotonic() - start)
        return answer


class Chaos(threading.Thread):
    """Kills one engine and restarts another, and again."""

    def __init__(
        self, engines: list[EngineProcess], findings: Findings, pause_seconds: float
    ) -> None:
        super().__init__(name="chaos")
        self._engines, self._findings, self._pause_seconds = engines, findings, pause_seconds
        self.end = threading.Event()

    @property
    def has_struck(self) -> bool:
        return bool(self._findings.kills and self._findings.restarts)

    def run(self) -> None:
        for victim in itertools.cycle(self._engines):
            if self.end.wait(self._pause_seconds):
                return
            victim.kill()
            self._findings.kills += 1
            victim.start()
            if self.end.wait(self._pause_seconds):
                return
            other = self._engines[(self._engines.index(victim) + 1) % len(self._engines)]
            other.stop()
            other.start()
            self._findings.restarts += 1


# ---- what it runs on -----------------------------------------------------------------------


@contextlib.contextmanager
def backend(aim: Target, release: str) -> Iterator[Installation]:
    """The real OpenNebula, or a sandbox in a process of its own, so that it delays no client."""
    if aim.is_real:
        with aim.installation(release) as found:
            yield found
        return
    ports = ["--oned-port", "0", "--oneflow-port", "0"]
    command = [sys.executable, "-m", "provision_engine.sandbox", "--release", release, *ports]
    process = subprocess.Popen(
        [*command, "--hosts", "1000"], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        assert process.stdout is not None
        lines = itertools.takewhile(lambda line: line != "ready\n", process.stdout)
        urls = dict(line.split()[:2] for line in lines if "http" in line)
        yield Installation(release, urls["oned"], urls["oneflow"], USER)
    finally:
        process.terminate()
        process.wait(30)


@contextlib.contextmanager
def proxied(engines: list[EngineProcess], is_behind_haproxy: bool) -> Iterator[list[int]]:
    """The ports that clients use: HAProxy's where there is one, else the engines' own."""
    haproxy = shutil.which("haproxy") or shutil.which("haproxy", path="/usr/sbin")
    if haproxy is None or not is_behind_haproxy:
        yield [engine.port for engine in engines]
        return
    port = free_port()
    addresses = {f"PROVISION_ENGINE_{n}": f"127.0.0.1:{e.port}" for n, e in enumerate(engines, 1)}
    process = subprocess.Popen(
        [haproxy, "-q", "-db", "-f", str(HAPROXY_CONFIGURATION)],
        env={**os.environ, **addresses, "PROVISION_ENGINE_BIND": f"127.0.0.1:{port}"},
    )
    try:
        wait_until(lambda: is_answering(port))
        yield [port]
    finally:
        process.terminate()
        process.wait(30)


@contextlib.contextmanager
def running_engines(
    settings: Mapping[str, Any], count: int, directory: Path
) -> Iterator[list[EngineProcess]]:
    with contextlib.ExitStack() as stack:
        engines = []
        for number in range(count):
            engine = EngineProcess(directory / f"engine{number}", settings)
            stack.callback(engine.kill)
            engine.start()
            engines.append(engine)
        yield engines


# ---- the race ------------------------------------------------------------------------------


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
        settings = settings_for(
            there,
            timeout=timeout_seconds,
            lock={"stale_seconds": 2 * timeout_seconds + 0.5},
            server={"threads": 32},
        )
        reconcile = reconciler(Path(name) / "reconcile", settings, there.user)
        with (
            running_engines(settings, engine_count, Path(name)) as engines,
            proxied(engines, is_behind_haproxy) as ports,
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
        f"{requests} requests in {seconds:.0f} s, {findings.done} deeds done, {findings.cured} of "
        "their steps by repeating a request",
        f"{findings.kills} engines killed, {findings.restarts} restarted",
        "median {:.0f} ms, 99 % within {:.0f} ms".format(
            *(ordered[int(requests * share)] * 1000 for share in (0.5, 0.99))
        ),
    ]
    statuses = sorted({status for _, status in findings.answers})
    lines.append(f"{'':26}" + "".join(f"{status or 'cut':>7}" for status in statuses))
    for operation in sorted({operation for operation, _ in findings.answers}):
        counts = (findings.answers.get((operation, status), 0) for status in statuses)
        lines.append(f"{operation:26}" + "".join(f"{count or '':>7}" for count in counts))
    lines += [
        f"left before reconcile: {findings.left_before_reconcile}, after: {findings.left}",
        f"wrong: {len(findings.wrong)}",
        *findings.wrong[:MOST_SHOWN],
        *findings.crashes[:MOST_SHOWN],
    ]
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=1.0, help=f"at most {MOST_MINUTES}")
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--engines", type=int, default=3, choices=(1, 2, 3))
    parser.add_argument("--chaos-seconds", type=float, default=10.0)
    parser.add_argument("--driver-actions", type=Path, metavar="DIR", help=ACTIONS_HELP)
    add_options(parser)
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
