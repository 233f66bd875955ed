"""OpenNebula's clock, as its responses tell it."""

from __future__ import annotations

import time

import pytest

from provision_engine.cloud.transport import Clock


def dated(unix_time: float) -> str:
    """A Date header as oned writes it."""
    return time.strftime("%a, %d %b %Y %H:%M:%S UTC", time.gmtime(unix_time))


@pytest.mark.parametrize("ahead_seconds", [-3600, -120, 120, 86_400])
def test_a_clock_that_differs_is_followed(ahead_seconds: int) -> None:
    clock, now = Clock(), time.time()
    clock.observe(dated(now + ahead_seconds), now, now)
    assert clock.now() - time.time() == pytest.approx(ahead_seconds, abs=2)


@pytest.mark.parametrize("late_seconds", [0, 1, 30])
def test_a_slow_response_of_an_equal_clock_changes_nothing(late_seconds: int) -> None:
    clock, now = Clock(), time.time()
    clock.observe(dated(now), now, now + late_seconds)
    assert clock.now() == pytest.approx(time.time(), abs=0.5)


@pytest.mark.parametrize("date", ["", "yesterday", "Tue, 99 Dec 2026 11:43:39 UTC", "\udc00"])
def test_a_date_that_is_none_changes_nothing(date: str) -> None:
    clock, now = Clock(), time.time()
    clock.observe(date, now, now)
    assert clock.now() == pytest.approx(time.time(), abs=0.5)


def test_a_clock_that_was_set_right_is_followed_back() -> None:
    clock, now = Clock(), time.time()
    clock.observe(dated(now + 600), now, now)
    clock.observe(dated(now), now, now)
    assert clock.now() == pytest.approx(time.time(), abs=0.5)
