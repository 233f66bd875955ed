"""Many clients, several engines, one of them killed and one restarted all the time.

Starts a sandbox, engines and HAProxy with etc/haproxy.cfg (without HAProxy the clients take the
engines in turn), and lets the clients race: the same idempotency key, updates of the same
runtime, and creates, updates and deletes of their own. A client repeats what was answered
423, 429, 502, 503 or 504, or was cut, as a device would. Checked are:

- no duplicate: all answers to one key name one runtime, and nothing else is there in the end;
- no lost update: each client counts in a member of DEVICE_INFO of its own in runtimes that all of
  them update, and what was acknowledged is there ever after;
- no 5xx that a repetition does not cure, and no 500 at all;
- nothing left: after everything was deleted and ``reconcile --apply`` ran there is no document,
  no service, no VM.

    python tests/load/soak.py --minutes 10
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
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))


from tests.support.client import RUNTIMES, Response, request
from tests.support.engine import EngineProcess, is_answering
from tests.support.ports import free_port
from tests.support.users import USER
from tests.support.waiting import wait_until

HAPROXY_CONFIGURATION = Path(__file__).parents[2] / "etc" / "haproxy.cfg"
MOST_MINUTES = 60.0
TIMEOUT_SECONDS = 8
STALE_SECONDS = 16.5
CURE_SECONDS = 90.0
"""So long a client repeats; longer than what a dead engine left stays locked."""
REPEAT = (0, 423, 429, 502, 503, 504)
"""Statuses that a client repeats; 0 is a connection that broke."""
PAUSE_SECONDS = 0.1
MOST_SHOWN = 10
SHARED_RUNTIMES = 10
SHARED_KEYS = 8
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
        self, number: int, ports: Iterator[int], shared: Shared, findings: Findings
    ) -> None:
        super().__init__(name=f"client-{number}")
        self._number, self._ports = number, ports
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
            answer = request(next(self._ports), method, path, members, headers=headers, seconds=60)
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


@dataclass
class SandboxProcess:
    """A sandbox that takes no time from the clients."""

    process: subprocess.Popen[str]
    urls: dict[str, str]

    @classmethod
    def start(cls, release: str) -> SandboxProcess:
        ports = ["--oned-port", "0", "--oneflow-port", "0", "--control-port", "0"]
        command = [sys.executable, "-m", "provision_engine.sandbox", "--release", release, *ports]
        process = subprocess.Popen(
            [*command, "--hosts", "1000"], stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        assert process.stdout is not None
        lines = itertools.takewhile(lambda line: line != "ready\n", process.stdout)
        return cls(process, dict(line.split()[:2] for line in lines if "http" in line))

    def count(self) -> dict[str, int]:
        port = int(self.urls["control"].rpartition(":")[2])
        counted: dict[str, int] = request(port, "GET", "/count").json
        return counted

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(30)


@contextlib.contextmanager
def proxied(engines: list[EngineProcess]) -> Iterator[list[int]]:
    """The ports that clients use: HAProxy's where there is one, else the engines' own."""
    haproxy = shutil.which("haproxy") or shutil.which("haproxy", path="/usr/sbin")
    if haproxy is None:
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
def installation(
    engine_count: int, release: str, directory: Path
) -> Iterator[tuple[SandboxProcess, list[EngineProcess], list[int]]]:
    """A sandbox, engines and a proxy."""
    with contextlib.ExitStack() as stack:
        sandbox = SandboxProcess.start(release)
        stack.callback(sandbox.stop)
        settings = {
            "one_xmlrpc": sandbox.urls["oned"],
            "oneflow_server": sandbox.urls["oneflow"],
            "timeout": TIMEOUT_SECONDS,
            "lock": {"stale_seconds": STALE_SECONDS},
            "server": {"threads": 32},
        }
        engines = []
        for number in range(engine_count):
            engine = EngineProcess(directory / f"engine{number}", settings)
            stack.callback(engine.kill)
            engine.start()
            engines.append(engine)
        yield sandbox, engines, stack.enter_context(proxied(engines))


# ---- the race ------------------------------------------------------------------------------


def soak(
    seconds: float,
    client_count: int = 50,
    engine_count: int = 3,
    chaos_seconds: float = 10.0,
    release: str = "7.4.0",
) -> Findings:
    """Race for so long, then clean up and count."""
    findings, shared = Findings(), Shared()
    with (
        tempfile.TemporaryDirectory() as directory,
        installation(engine_count, release, Path(directory)) as (sandbox, engines, ports),
    ):
        turns = itertools.cycle(ports)
        clients = [Client(n, turns, shared, findings) for n in range(client_count)]
        _make_shared(clients[0], shared)
        chaos = Chaos(engines, findings, chaos_seconds)
        for thread in (*clients, chaos):
            thread.start()
        time.sleep(seconds)
        chaos.end.set()
        chaos.join()
        shared.end.set()
        for client in clients:
            client.join()
        _check(clients[0], shared, findings, sandbox)
        _clean_up(clients[0], findings, sandbox, engines[0])
        findings.crashes = _crashes(engines)
    return findings


def _crashes(engines: list[EngineProcess]) -> list[str]:
    """What the engines' logs say of requests that crashed."""
    logs = (line for engine in engines for line in engine.log().splitlines())
    return [line for line in logs if "Traceback" in line]


def _make_shared(client: Client, shared: Shared) -> None:
    for number in range(SHARED_RUNTIMES):
        key = {"Idempotency-Key": f"shared {number}"}
        made = client.until("set up", (200, 201), "POST", RUNTIMES, {"FAAS": FUNCTION}, key)
        assert made is not None, client._findings.wrong
        shared.runtime_ids.append(made.runtime["ID"])


def _check(client: Client, shared: Shared, findings: Findings, sandbox: SandboxProcess) -> None:
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
    client: Client, findings: Findings, sandbox: SandboxProcess, engine: EngineProcess
) -> None:
    listed = client.until("list", (200,), "GET", RUNTIMES)
    for entry in listed.json if listed else []:
        path = f"{RUNTIMES}/{entry['SERVERLESS_RUNTIME']['ID']}"
        client.until("delete", (204, 404), "DELETE", path)
    nothing = {"runtimes": 0, "services": 0, "vms": 0}
    with contextlib.suppress(AssertionError):  # then it is counted as left
        wait_until(lambda: sandbox.count() == nothing, 10)
    findings.left_before_reconcile = sandbox.count()

    def is_clean() -> bool:
        findings.reconciled = _reconcile(engine)
        findings.left = sandbox.count()
        return findings.left == nothing

    try:
        wait_until(is_clean, 3 * STALE_SECONDS)
    except AssertionError:
        findings.blame(f"left behind: {findings.left}: {findings.reconciled}")


def _reconcile(engine: EngineProcess) -> str:
    """What the command said when there was something to do, else what it said before."""
    one_auth = engine.directory / "one_auth"
    one_auth.write_text(USER.session)
    done = subprocess.run(
        engine.command("reconcile", "--apply", "--older-than", "0"),
        env={**os.environ, "ONE_AUTH": str(one_auth)},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout + done.stderr


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
    parser.add_argument("--release", default="7.4.0")
    options = parser.parse_args()
    seconds = min(options.minutes, MOST_MINUTES) * 60
    findings = soak(
        seconds, options.clients, options.engines, options.chaos_seconds, options.release
    )
    print(report(findings, seconds))
    return int(bool(findings.wrong))


if __name__ == "__main__":
    sys.exit(main())
