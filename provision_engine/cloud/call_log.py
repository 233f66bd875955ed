"""Counts and logs each call to OpenNebula: what was called, how it ended, how long it took."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable

from provision_engine import log, metrics
from provision_engine.errors import EngineError


def record(
    backend: str,
    name: str,
    arguments: Iterable[object],
    started_at: float,
    error: EngineError | None,
) -> None:
    """Count and log a call that has ended; ``started_at`` is a time of ``perf_counter``."""
    seconds = time.perf_counter() - started_at
    outcome, level, end = "ok", logging.DEBUG, "done"
    if error is not None:
        outcome, end = str(error.status), f"failed: {error}"
        level = logging.ERROR if error.status >= 500 else logging.INFO
    metrics.backend_called(backend, name, outcome, seconds)
    if log.cloud.isEnabledFor(level):
        shown = ", ".join(map(str, arguments))
        log.cloud.log(level, "%s.%s(%s) %s, %.1f ms", backend, name, shown, end, seconds * 1000)
