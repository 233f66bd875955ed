"""What ``soak`` runs on: OpenNebula, engines, HAProxy, and what kills the engines."""

from __future__ import annotations

import contextlib
import itertools
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.load.devices import Findings
from tests.reliability.proxies import haproxy
from tests.support.engine import Backend, EngineProcess, engine_process
from tests.support.installation import Installation, Target, sandbox_process


@contextlib.contextmanager
def backend(aim: Target, release: str) -> Iterator[Installation]:
    """The real OpenNebula, or a sandbox in a process of its own, so that it delays no client."""
    if aim.is_real:
        with aim.installation(release) as found:
            yield found
        return
    with sandbox_process(release, "--hosts", "1000") as found:
        yield found


@contextlib.contextmanager
def proxied(
    engines: list[EngineProcess], is_behind_haproxy: bool, directory: Path
) -> Iterator[list[int]]:
    """The ports that clients use: HAProxy's, or the engines' own in turn."""
    if is_behind_haproxy:
        with haproxy(directory, engines) as port:
            yield [port]
    else:
        yield [engine.port for engine in engines]


@contextlib.contextmanager
def running_engines(
    there: Backend, settings: Mapping[str, Any], count: int, directory: Path
) -> Iterator[list[EngineProcess]]:
    with contextlib.ExitStack() as stack:
        places = [directory / f"engine{number}" for number in range(count)]
        yield [stack.enter_context(engine_process(place, there, **settings)) for place in places]


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
