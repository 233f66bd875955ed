"""The processes that are measured: engines in front of an OpenNebula, and a proxy."""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, ClassVar

from tests.reliability.proxies import haproxy
from tests.support.client import Json
from tests.support.engine import Backend, EngineProcess, settings_for

CHECKS_SECONDS = 3.0
"""By then haproxy has found which engines there are."""


class Engine(EngineProcess):
    """An engine as it is shipped, with the resources that its master and workers use."""

    SERVER: ClassVar[Json] = {}
    LOG: ClassVar[Json] = {"level": 2}

    def cpu_seconds(self) -> float:
        """The CPU time that they have used so far."""
        fields = [self._read(pid, "stat").rpartition(")")[2].split() for pid in self._pids()]
        ticks = sum(int(user) + int(system) for *_, user, system in (f[:13] for f in fields))
        return ticks / os.sysconf("SC_CLK_TCK")

    def memory_mb(self) -> float:
        """Their memory; what they share is counted once."""
        texts = [self._read(pid, "smaps_rollup") for pid in self._pids()]
        return sum(int(re.findall(r"\nPss: +(\d+) kB", text)[0]) for text in texts) / 1024

    def _pids(self) -> list[int]:
        assert self.process is not None
        return [self.process.pid, *self.workers()]

    def _read(self, pid: int, name: str) -> str:
        return Path(f"/proc/{pid}/{name}").read_text()


@contextmanager
def engine(cloud: Backend, directory: Path, **settings: Any) -> Iterator[Engine]:
    """The engine on a free port, with these settings of engine.conf besides the usual ones."""
    running = Engine(directory, settings_for(cloud, **{"timeout": 60} | settings))
    with contextlib.closing(running):
        running.start()
        yield running


@contextmanager
def engines_behind_proxy(cloud: Backend, directory: Path, count: int) -> Iterator[int]:
    """This many engines of one worker each behind etc/haproxy.cfg; the proxy's port."""
    with ExitStack() as stack:
        places = [directory / f"engine{number}" for number in range(count)]
        engines = [stack.enter_context(engine(cloud, p, server={"workers": 1})) for p in places]
        port = stack.enter_context(haproxy(directory, engines))
        time.sleep(CHECKS_SECONDS)
        yield port
