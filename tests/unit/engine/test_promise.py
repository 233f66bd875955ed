"""The response comes within `timeout` plus one second, whatever is left to do by then."""

from __future__ import annotations

import pytest

from provision_engine.engine import time_limits as limits

LATE_SECONDS = 0.1
"""So late the kernel may wake a process whose wait is over: up to 0.5 % of a long timeout."""
LAST_STEPS_SECONDS = {
    "a create": [limits.UNDO_LEAST_SECONDS, limits.MARK_LEAST_SECONDS],
    "an intent": [limits.WITHDRAW_LEAST_SECONDS],
    "an update": [limits.SHRINK_LEAST_SECONDS, limits.UNLOCK_LEAST_SECONDS],
    "a replacement": [limits.UNDO_LEAST_SECONDS, limits.UNLOCK_LEAST_SECONDS],
    "a delete": [limits.UNLOCK_SECONDS],
}
"""What is still done one after the other when the time is over and OpenNebula hangs."""


@pytest.mark.parametrize("steps", LAST_STEPS_SECONDS.values(), ids=list(LAST_STEPS_SECONDS))
def test_what_is_done_after_the_time_is_over_fits_into_a_second(steps: list[float]) -> None:
    assert sum(steps) + LATE_SECONDS <= 1.0


def test_the_last_orders_of_a_delete_leave_time_for_its_lock() -> None:
    left_seconds = limits.UNLOCK_SECONDS - limits.ORDER_LEAST_SECONDS
    assert left_seconds >= limits.UNLOCK_LEAST_SECONDS
