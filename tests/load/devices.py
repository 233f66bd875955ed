"""The devices that race in ``soak``, what they race for, and what they find."""

from __future__ import annotations

import itertools
import random
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.reliability.lanes import until_accepted
from tests.support.client import RUNTIMES, Response, request
from tests.support.users import User

CURE_SECONDS = 240.0
"""How long a client repeats a request: longer than what a dead engine left stays locked."""
PAUSE_SECONDS = 0.1
SHARED_KEYS = 8
FUNCTION = {"FLAVOUR": "nature", "CPU": 1, "MEMORY": 128, "DISK_SIZE": 1025}


@dataclass
class Findings:
    """What went on, and what was wrong. Safe for threads."""

    responses: Counter[tuple[str, int]] = field(default_factory=Counter)
    """By operation and status."""
    seconds: list[float] = field(default_factory=list)
    """Of each response of an engine."""
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
            self.responses[operation, status] += 1
            self.seconds.append(seconds)

    def blame(self, text: str) -> None:
        with self.guard:
            self.wrong.append(text)


class Shared:
    """What the clients race for."""

    def __init__(self) -> None:
        self.guard = threading.Lock()
        self.runtime_ids: list[int] = []
        self.acknowledged: dict[tuple[int, str], int] = {}
        """By runtime and member of DEVICE_INFO: the last count that was acknowledged."""
        self.keys: list[str] = [uuid.uuid4().hex for _ in range(SHARED_KEYS)]
        self.made: dict[str, set[int]] = {}
        """By key: the runtimes that responses named."""
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
        actions = (self.race_for_key, self.count, self.count, self.live)
        try:
            while not self._shared.end.is_set():
                self._random.choice(actions)()
                self._findings.done += 1
        except Exception as error:
            self._findings.blame(f"{self.name}: {type(error).__name__}: {error}")

    def race_for_key(self) -> None:
        """All who use the same key get the same runtime."""
        key = self._random.choice(self._shared.keys)
        response = self.until(
            "create with shared key",
            (200, 201),
            "POST",
            RUNTIMES,
            {"FAAS": FUNCTION},
            headers={"Idempotency-Key": key},
        )
        if response is not None:
            with self._shared.guard:
                self._shared.made.setdefault(key, set()).add(response.runtime["ID"])

    def count(self) -> None:
        """Change one's own member of a runtime that all change."""
        runtime_id, member = self._random.choice(self._shared.runtime_ids), f"C{self._number}"
        count = next(self._counts)
        response = self.until(
            "update of shared runtime",
            (200,),
            "PUT",
            f"{RUNTIMES}/{runtime_id}",
            {"DEVICE_INFO": {member: count}},
        )
        if response is None:
            return
        if response.runtime["DEVICE_INFO"].get(member) != count:
            self._findings.blame(f"lost: {member}={count} in the response {response.runtime}")
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
        """Repeat a request until it is accepted. None, noted as wrong, when that never happens."""
        attempts = itertools.count()

        def send() -> Response:
            self._findings.cured += next(attempts) == 1
            status, start = 0, time.monotonic()
            try:
                response = request(
                    next(self._ports), method, path, members, headers=headers, user=self._user
                )
                status = response.status
            finally:
                self._findings.note(operation, status, time.monotonic() - start)
            return response

        pauses = (PAUSE_SECONDS * (1 + self._random.random()) for _ in itertools.count())
        try:
            return until_accepted(send, accepted, CURE_SECONDS, pauses)
        except AssertionError as error:
            self._findings.blame(f"{operation} {path}: {error}, try {next(attempts)}")
            return None
