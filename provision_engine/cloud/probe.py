"""Whether the backends answer. The engine has no credentials of its own, so a refusal will do."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from provision_engine.cloud.client import Backends
from provision_engine.cloud.http import HttpRequest
from provision_engine.cloud.oned import Oned
from provision_engine.deadline import Deadline
from provision_engine.errors import BadGateway, EngineError, TooManyRequests, Unauthorized

PROBE_SECONDS = 2.0
"""A backend that takes longer to refuse a stranger is not ready."""
REMEMBERED_SECONDS = 1.0


class Probe:
    """Looks at both backends, at most once a second, however many ask."""

    def __init__(self, backends: Backends, seconds: float = REMEMBERED_SECONDS) -> None:
        self._backends, self._seconds = backends, seconds
        self._lock = threading.Lock()
        self._looked_at = float("-inf")
        self._seen: dict[str, str] = {}

    def reasons(self) -> dict[str, str]:
        """Backends that do not answer, and why. Empty when all is well."""
        with self._lock:
            if time.monotonic() - self._looked_at > self._seconds:
                looks = {"oned": self._oned, "oneflow": self._oneflow}
                found = {name: _reason(name, look) for name, look in looks.items()}
                self._seen = {name: reason for name, reason in found.items() if reason}
                self._looked_at = time.monotonic()
            return self._seen

    def _oned(self) -> None:
        try:
            Oned(self._backends.oned, "", Deadline(PROBE_SECONDS)).version()
        except Unauthorized:
            return

    def _oneflow(self) -> None:
        request = HttpRequest("GET", "/service")
        answer = self._backends.oneflow.send(request, Deadline(PROBE_SECONDS))
        if answer.status_code != 401:
            raise BadGateway(f"oneflow answered HTTP {answer.status_code} instead of 401")


def _reason(name: str, look: Callable[[], None]) -> str:
    """Why a backend does not answer, without its name; empty where it does."""
    try:
        look()
    except TooManyRequests:
        return ""  # busy with our own calls, so it is there
    except EngineError as error:
        return str(error.message).removeprefix(f"{name}: ")
    return ""
