"""Whether the backends answer. The engine has no credentials of its own, so a refusal will do."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from provision_engine import metrics
from provision_engine.cloud.client import Backends
from provision_engine.cloud.oned import Oned
from provision_engine.cloud.oneflow import Oneflow
from provision_engine.deadline import Deadline
from provision_engine.errors import EngineError, TooManyRequests, Unauthorized

PROBE_SECONDS = 4.0
"""For both backends. One that takes longer than half of it to refuse a stranger is not ready."""
REMEMBERED_SECONDS = 1.0


class Probe:
    """Looks at both backends, at most once a second, however many ask."""

    def __init__(self, backends: Backends) -> None:
        self._backends = backends
        self._seconds_each = min(PROBE_SECONDS, backends.timeout_seconds) / 2
        self._probing = threading.Lock()
        self._due_at = 0.0
        self._reasons = dict.fromkeys(metrics.BACKENDS, "The first probe has not ended yet")

    def reasons(self) -> dict[str, str]:
        """Backends that do not answer, and why. Empty when all is well.

        The first caller after a second probes; the others never wait for it, and get the last
        result.
        """
        if self._probing.acquire(blocking=False):
            try:
                if time.monotonic() > self._due_at:
                    self._reasons = self._probe()
                    self._due_at = time.monotonic() + REMEMBERED_SECONDS
            finally:
                self._probing.release()
        return self._reasons

    def _probe(self) -> dict[str, str]:
        backends, seconds = self._backends, self._seconds_each
        looks: dict[str, Callable[[], object]] = {
            "oned": lambda: Oned(backends.oned, "", Deadline(seconds)).version(),
            "oneflow": lambda: Oneflow(backends.oneflow, "", Deadline(seconds)).check(),
        }
        found = {name: _reason(name, look) for name, look in looks.items()}
        reasons = {name: reason for name, reason in found.items() if reason}
        metrics.backends_checked(reasons)
        return reasons


def _reason(name: str, look: Callable[[], object]) -> str:
    """Why a backend does not answer, without its name; empty where it does."""
    try:
        look()
    except (Unauthorized, TooManyRequests):
        return ""  # it refuses a stranger, or is busy with our own calls
    except EngineError as error:
        return str(error.message).removeprefix(f"{name}: ")
    return ""
