"""What the tests of the contract see of OpenNebula, and their patience with it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from tests.support.opennebula import RUNTIME, OpenNebula

from .settings import PATIENCE

__all__ = ["RUNTIME", "OpenNebula", "until"]

T = TypeVar("T")


def until(look: Callable[[], T], seconds: float | None = None) -> T:
    """The first true value of a look; when patience is over its last value, true or not."""
    end = time.monotonic() + (PATIENCE.seconds if seconds is None else seconds)
    while not (seen := look()) and time.monotonic() < end:
        time.sleep(0.01)
    return seen
