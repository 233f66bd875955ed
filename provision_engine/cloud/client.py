"""Both services of OpenNebula as one, on behalf of one caller, within one deadline."""

from __future__ import annotations

import base64
import contextvars
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from provision_engine.cloud.oned import Call, Oned, Outcome
from provision_engine.cloud.oneflow import Oneflow
from provision_engine.cloud.shared_reads import SharedReads
from provision_engine.cloud.transport import Backend
from provision_engine.config import Configuration
from provision_engine.deadline import Deadline

LEAST_HIDDEN_CHARACTERS = 4


@dataclass(frozen=True)
class Credentials:
    """A user of OpenNebula, as the caller gave them."""

    user: str
    password: str

    @property
    def session(self) -> str:
        """Return the form in which oned takes them."""
        return f"{self.user}:{self.password}"

    @property
    def token(self) -> str:
        """Return the form in which HTTP Basic has them: the Base64 of ``user:password``."""
        return base64.b64encode(self.session.encode()).decode()

    @property
    def secrets(self) -> tuple[str, ...]:
        """Return the texts that no log may show.

        A password of a few letters is part of many words: it is hidden only behind its user.
        """
        is_short = len(self.password) < LEAST_HIDDEN_CHARACTERS
        return (self.session if is_short else self.password, self.token)

    def __repr__(self) -> str:
        return f"Credentials({self.user!r}, ***)"


class Backends:
    """What all requests of a process share: connections, and a thread for what none waits for."""

    def __init__(self, configuration: Configuration) -> None:
        tls, limits = configuration.tls, configuration.limits
        self.timeout_seconds = configuration.timeout_seconds
        ca_file = str(tls.ca_file) if tls.ca_file else True
        verify = ca_file if tls.verify else False
        self.oned = Backend("oned", configuration.one_xmlrpc, limits.oned_requests, verify)
        self.oneflow = Backend(
            "oneflow", configuration.oneflow_server, limits.oneflow_requests, verify
        )
        self.reads = SharedReads()
        # Its thread starts with the first call, thus in the worker: threads survive no fork.
        self.background = ThreadPoolExecutor(1, "background")


class CloudClient:
    """Calls to OpenNebula with the caller's own credentials. Every call is logged."""

    def __init__(self, backends: Backends, credentials: Credentials, deadline: Deadline) -> None:
        self.credentials = credentials
        self.deadline = deadline
        self._backends = backends
        self.oned = Oned(backends.oned, credentials.session, deadline)
        self.oneflow = Oneflow(backends.oneflow, credentials.session, deadline)

    def now(self) -> float:
        """Return the time of OpenNebula's clock (Unix time)."""
        return self._backends.oned.clock.now()

    def with_deadline(self, deadline: Deadline) -> CloudClient:
        """Return the same caller with another deadline."""
        return CloudClient(self._backends, self.credentials, deadline)

    def read_together(self, *calls: Call[Any]) -> list[Outcome[Any]]:
        """Make calls that only read, in one request, perhaps with those of the caller's others."""

        def send(several: Sequence[Call[Any]], deadline: Deadline) -> list[Outcome[Any]]:
            client = self if deadline is self.deadline else self.with_deadline(deadline)
            return client.oned.together(*several)

        return self._backends.reads.send(self.credentials.session, send, self.deadline, calls)

    def submit_in_background(self, call: Callable[[CloudClient], object], seconds: float) -> None:
        """Make a call when there is time for it; its own time begins then."""
        context = contextvars.copy_context()
        self._backends.background.submit(
            context.run, lambda: call(self.with_deadline(Deadline(seconds)))
        )
