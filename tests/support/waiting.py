"""Waiting for a condition, with patience enough for a busy machine."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

WAIT_SECONDS = 60.0


@dataclass
class Patience:
    seconds: float = WAIT_SECONDS


PATIENCE = Patience()
"""How long a test waits; longer for a slow OpenNebula."""


def wait_until(
    condition: Callable[[], Any], seconds: float | None = None, interval_seconds: float = 0.02
) -> Any:
    """The first true value of the condition. AssertionError if there is none in time."""
    seconds = PATIENCE.seconds if seconds is None else seconds
    end = time.monotonic() + seconds
    while True:
        if value := condition():
            return value
        if time.monotonic() > end:
            raise AssertionError(f"the condition was not met within {seconds:.0f} seconds")
        time.sleep(interval_seconds)
