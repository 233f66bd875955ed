"""The time that is left for a request."""

from __future__ import annotations

import pytest

from provision_engine import deadline
from provision_engine.deadline import Deadline


class Clock:
    """Time that passes only during `sleep`."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.pauses: list[float] = []

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(deadline, "time", clock)
    return clock


def test_the_first_poll_comes_at_once_and_the_second_after_20_ms(clock: Clock) -> None:
    polls = Deadline(30).polls()
    assert next(polls) == 0
    assert clock.pauses == []
    assert next(polls) == 1
    assert clock.pauses == [pytest.approx(0.02)]


def test_pauses_grow_and_are_never_whole_seconds(clock: Clock) -> None:
    count = sum(1 for _ in Deadline(30).polls())
    assert clock.pauses[:-1] == sorted(clock.pauses[:-1])
    assert max(clock.pauses) <= 0.5
    assert count < 150


def test_polls_end_with_a_last_look_when_the_time_is_over(clock: Clock) -> None:
    seen_at = [clock.now for _ in Deadline(1).polls()]
    assert seen_at[-1] == pytest.approx(1001.0)
    assert sum(clock.pauses) == pytest.approx(1.0)


def test_a_deadline_that_is_over_still_allows_one_poll(clock: Clock) -> None:
    assert list(Deadline(0).polls()) == [0]
    assert clock.pauses == []


def test_what_remains_is_never_negative(clock: Clock) -> None:
    end = Deadline(2)
    assert not end.is_over
    clock.now += 1.5
    assert end.remaining_seconds == pytest.approx(0.5)
    clock.now += 5
    assert end.remaining_seconds == 0
    assert end.is_over


def test_a_deadline_can_be_put_off_and_brought_forward(clock: Clock) -> None:
    end = Deadline(10)
    assert end.at_least(5) is end
    assert end.at_most(20) is end
    assert end.at_least(15).remaining_seconds == pytest.approx(15)
    assert end.at_most(3).remaining_seconds == pytest.approx(3)
