"""What the contract tests see of OpenNebula, and how long they wait for it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from tests.support.opennebula import RUNTIME, OpenNebula

from .settings import PATIENCE

__all__ = ["RUNTIME", "OpenNebula", "until"]

T = TypeVar("T")


def until(look: Callable[[], T], seconds: float | None = None) -> T:
    """The first true value that `look` returns, or its last value when the time is over."""
    end = time.monotonic() + (PATIENCE.seconds if seconds is None else seconds)
    while not (seen := look()) and time.monotonic() < end:
        time.sleep(0.01)
    return seen
