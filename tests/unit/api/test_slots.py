"""The slots for changes and waiting requests: how many in all, and how many for one user."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from provision_engine.api.slots import Slots, slots
from provision_engine.errors import TooManyRequests
from tests.unit.support import configuration

ONE, TWO = 2, 3


def of(count: int, user_share: float = 0.75) -> Slots:
    limits = configuration(f"limits: {{user_share: {user_share}}}").limits
    return Slots(count, limits, "changes", "limits.oneflow_requests")


def taken(slots: Slots, user_id: int, at_most: int = 100) -> int:
    """How many slots a user gets if nobody gives any back."""
    with ExitStack() as stack:
        for number in range(at_most):
            try:
                stack.enter_context(slots.taken_by(user_id))
            except TooManyRequests:
                return number
    return at_most


@pytest.mark.parametrize(
    ("count", "share", "of_one_user"),
    [(16, 0.75, 12), (48, 0.75, 36), (1, 0.75, 1), (2, 0.1, 1), (10, 1, 10), (3, 0.5, 1)],
)
def test_one_user_gets_a_share_and_at_least_one(count: int, share: float, of_one_user: int) -> None:
    assert taken(of(count, share), ONE) == of_one_user


def test_what_one_user_may_not_have_is_left_for_others() -> None:
    slots = of(8)
    with ExitStack() as stack:
        for _ in range(6):
            stack.enter_context(slots.taken_by(ONE))
        with pytest.raises(TooManyRequests, match=r"of one user \(limits.user_share\)"):
            stack.enter_context(slots.taken_by(ONE))
        assert taken(slots, TWO) == 2
        stack.enter_context(slots.taken_by(TWO))
        stack.enter_context(slots.taken_by(TWO))
        with pytest.raises(TooManyRequests, match=r"changes \(limits.oneflow_requests\)"):
            stack.enter_context(slots.taken_by(TWO))


def test_a_slot_is_given_back_whatever_happens() -> None:
    slots = of(1)
    for user_id in range(10):
        with pytest.raises(ValueError, match="broken"), slots.taken_by(user_id):
            raise ValueError("broken")
    assert taken(slots, ONE) == 1


def test_the_configuration_sets_the_numbers_and_the_share() -> None:
    made = slots(configuration("limits: {oneflow_requests: 4, user_share: 0.5}\nwait:\n"))
    assert taken(made["changes"], ONE) == 2
    assert taken(made["waits"], ONE) == 8
