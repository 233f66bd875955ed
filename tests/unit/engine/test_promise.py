"""The response comes within `timeout` plus one second, whatever is left to do by then."""

from __future__ import annotations

import pytest

from provision_engine.engine.actions import create, recover, resize
from provision_engine.engine.safety import ending, locks, unfinished

LATE_SECONDS = 0.1
"""So late the kernel may wake a process whose wait is over: up to 0.5 % of a long timeout."""
LAST_STEPS_SECONDS = {
    "a create": [create.UNDO_LEAST_SECONDS, unfinished.MARK_LEAST_SECONDS],
    "an intent": [unfinished.WITHDRAW_LEAST_SECONDS],
    "an update": [resize.UNDO_LEAST_SECONDS, locks.LEAST_UNLOCK_SECONDS],
    "a replacement": [recover.WITHDRAW_LEAST_SECONDS, locks.LEAST_UNLOCK_SECONDS],
    "a delete": [ending.ORDER_LEAST_SECONDS, locks.UNLOCK_SECONDS - ending.ORDER_LEAST_SECONDS],
}
"""What is still done one after the other when the time is over and OpenNebula hangs."""


@pytest.mark.parametrize("steps", LAST_STEPS_SECONDS.values(), ids=list(LAST_STEPS_SECONDS))
def test_what_is_done_after_the_time_is_over_fits_into_a_second(steps: list[float]) -> None:
    assert sum(steps) + LATE_SECONDS <= 1.0
