"""Both services of OpenNebula as one, on behalf of one caller, within one deadline."""

from __future__ import annotations

import base64
import contextvars
import copy
import logging
import threading
import time
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

from provision_engine import log, metrics
from provision_engine.cloud.http import HttpBackend
from provision_engine.cloud.oned import Oned, document_call, vms_call
from provision_engine.cloud.oneflow import Oneflow
from provision_engine.cloud.shared import AnsweredOned, Responses, responses_to, shared_calls
from provision_engine.config import Configuration
from provision_engine.deadline import Deadline
from provision_engine.errors import EngineError

LEAST_HIDDEN_CHARACTERS = 4


@dataclass(frozen=True)
class Credentials:
    """A user of OpenNebula, as the caller gave them."""

    user: str
    password: str

    @property
    def session(self) -> str:
        """The form in which oned takes them."""
        return f"{self.user}:{self.password}"

    @property
    def token(self) -> str:
        """The form in which HTTP Basic has them: the Base64 of ``user:password``."""
        return base64.b64encode(self.session.encode()).decode()

    @property
    def secrets(self) -> tuple[str, ...]:
        """The texts that no log may show.

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
        self.oned = HttpBackend("oned", configuration.one_xmlrpc, limits.oned_requests, verify)
        self.oneflow = HttpBackend(
            "oneflow", configuration.oneflow_server, limits.oneflow_requests, verify
        )
        self._lock = threading.Lock()
        self._background: ThreadPoolExecutor | None = None

    @property
    def background(self) -> ThreadPoolExecutor:
        """Made on first use, because threads do not survive the fork into workers."""
        with self._lock:
            if self._background is None:
                self._background = ThreadPoolExecutor(1, "background")
            return self._background


class CloudClient:
    """Calls to OpenNebula with the caller's own credentials. Every call is logged."""

    def __init__(self, backends: Backends, credentials: Credentials, deadline: Deadline) -> None:
        self.credentials = credentials
        self.deadline = deadline
        self._backends = backends
        self._oned = Oned(backends.oned, credentials.session, deadline)
        self.oned: Oned = _Logged(self._oned, "oned")  # type: ignore[assignment]
        self.oneflow: Oneflow = _Logged(  # type: ignore[assignment]
            Oneflow(backends.oneflow, credentials.session, deadline), "oneflow"
        )

    def now(self) -> float:
        """Return the time of OpenNebula's clock (Unix time)."""
        return self._backends.oned.clock.now()

    def until(self, deadline: Deadline) -> CloudClient:
        """The same caller with another deadline."""
        return CloudClient(self._backends, self.credentials, deadline)

    def reading_ahead(
        self, document_id: int, vm_ids: Sequence[int]
    ) -> AbstractContextManager[object]:
        """Within it a document and its VMs have been asked for; their calls are still to be made.

        Where no VMs are known there is nothing to gain.
        """
        if not vm_ids:
            return nullcontext()
        return self._oned.sending_ahead([document_call(document_id), vms_call(vm_ids)])

    def shared_responses(self, document_ids: Collection[int], vm_ids: Collection[int]) -> Responses:
        """Read runtimes' documents and VMs for several reads at once, in as few calls as possible.

        It makes the calls for which connections are free, and never raises an EngineError.
        """
        calls = shared_calls(document_ids, vm_ids)
        with self._oned.sending_ahead([shared.call for shared in calls]) as sent:
            return responses_to(self.oned, calls[:sent])

    def answered(self, responses: Responses, document_id: int) -> CloudClient:
        """The same caller for the read of one document, which these responses answer."""
        answered = copy.copy(self)
        answered.oned = AnsweredOned(self.oned, responses, document_id)  # type: ignore[assignment]
        return answered

    def submit_in_background(self, call: Callable[[CloudClient], object], seconds: float) -> None:
        """Make a call when there is time for it; its own time begins then."""
        context = contextvars.copy_context()
        self._backends.background.submit(context.run, lambda: call(self.until(Deadline(seconds))))


class _Logged:
    """Hands calls on and writes down what was called, how it ended and how long it took."""

    def __init__(self, service: Oned | Oneflow, name: str) -> None:
        self._service, self._name = service, name

    def __getattr__(self, method: str) -> Callable[..., Any]:
        call: Callable[..., Any] = getattr(self._service, method)

        def logged(*arguments: Any, **named: Any) -> Any:
            start = time.perf_counter()
            try:
                result = call(*arguments, **named)
            except EngineError as error:
                self._count(method, str(error.status), start)
                level = logging.ERROR if error.status >= 500 else logging.INFO
                self._write(level, method, arguments, start, f"failed: {error}")
                raise
            self._count(method, "ok", start)
            self._write(logging.DEBUG, method, arguments, start, "done")
            return result

        return logged

    def _count(self, method: str, outcome: str, start: float) -> None:
        metrics.backend_called(self._name, method, outcome, time.perf_counter() - start)

    def _write(
        self, level: int, method: str, arguments: tuple[Any, ...], start: float, end: str
    ) -> None:
        if not log.cloud.isEnabledFor(level):
            return
        what = ", ".join(str(argument) for argument in arguments)
        spent_ms = (time.perf_counter() - start) * 1000
        log.cloud.log(level, "%s.%s(%s) %s, %.1f ms", self._name, method, what, end, spent_ms)
