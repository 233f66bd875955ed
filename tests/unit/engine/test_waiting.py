"""Waiting for a runtime together: who looks, how often, and who is told what."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest
from provision_engine.engine.waiting import Waiting

from provision_engine.deadline import Deadline
from provision_engine.errors import BackendUnreachable, TooManyRequests

WHOSE = ("devuser:devpass", 851)
SECONDS = 20.0


def body(state: str, **further: Any) -> dict[str, Any]:
    return {"FAAS": {"STATE": state}, **further}


class Looks:
    """A runtime whose state the test sets; counts the looks and who takes them."""

    def __init__(self, state: str = "PENDING") -> None:
        self.state, self.taken = state, 0
        self.takers: set[int] = set()
        self.at_once = self.most_at_once = 0
        self.failures: list[Exception] = []
        self._lock = threading.Lock()

    def take(self) -> dict[str, Any]:
        with self._lock:
            self.taken += 1
            self.takers.add(threading.get_ident())
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
            failure = self.failures.pop() if self.failures else None
        try:
            if failure is not None:
                raise failure
            return body(self.state, NUMBER=self.taken)
        finally:
            with self._lock:
                self.at_once -= 1


@pytest.fixture
def waiting() -> Waiting:
    return Waiting(4)


def wait(
    waiting: Waiting,
    looks: Looks,
    seconds: float = SECONDS,
    is_gone: Callable[[], bool] = lambda: False,
    whose: tuple[str, int] = WHOSE,
) -> dict[str, Any]:
    return waiting.until_settled(whose, looks.take, Deadline(seconds), is_gone)


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < end, "nothing came of it"
        time.sleep(0.005)


def many(count: int, waiting: Waiting, looks: Looks) -> tuple[ThreadPoolExecutor, list[Future]]:
    pool = ThreadPoolExecutor(count)
    return pool, [pool.submit(wait, waiting, looks) for _ in range(count)]


@pytest.mark.parametrize("state", ["RUNNING", "ERROR"])
def test_what_is_settled_takes_one_look(waiting: Waiting, state: str) -> None:
    looks = Looks(state)
    assert wait(waiting, looks)["FAAS"]["STATE"] == state
    assert looks.taken == 1


def test_when_the_time_is_over_it_is_told_as_it_is(waiting: Waiting) -> None:
    looks = Looks("UPDATING")
    assert wait(waiting, looks, 0)["FAAS"]["STATE"] == "UPDATING"
    assert looks.taken == 1


def test_one_looks_for_all_and_all_are_told(waiting: Waiting) -> None:
    looks = Looks()
    pool, answers = many(16, waiting, looks)
    until(lambda: looks.taken > 20)
    looks.state = "RUNNING"
    assert {answer.result(SECONDS)["FAAS"]["STATE"] for answer in answers} == {"RUNNING"}
    pool.shutdown()
    assert looks.most_at_once == 1


def test_the_looks_are_as_many_as_if_one_waited(waiting: Waiting) -> None:
    alone, together = Looks(), Looks()
    wait(waiting, alone, 0.6)
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda _: wait(waiting, together, 0.6), range(16)))
    assert together.taken < 3 * alone.taken


def test_the_intervals_grow(waiting: Waiting) -> None:
    short, long = Looks(), Looks()
    wait(waiting, short, 0.4)
    wait(waiting, long, 1.6)
    assert long.taken < 3 * short.taken


def test_when_who_looks_goes_away_another_looks_on(waiting: Waiting) -> None:
    looks = Looks()
    gone = threading.Event()
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(wait, waiting, looks, SECONDS, gone.is_set)
        until(lambda: looks.taken > 0)
        second = pool.submit(wait, waiting, looks)
        gone.set()
        assert first.result(SECONDS)["FAAS"]["STATE"] == "PENDING"
        looks.state = "RUNNING"
        assert second.result(SECONDS)["FAAS"]["STATE"] == "RUNNING"


def test_a_look_that_fails_is_the_failure_of_who_took_it(waiting: Waiting) -> None:
    looks = Looks()
    with ThreadPoolExecutor(2) as pool:
        answers = [pool.submit(wait, waiting, looks) for _ in range(2)]
        until(lambda: looks.taken > 2)
        looks.failures.append(BackendUnreachable("oned: refused"))
        until(lambda: any(answer.done() for answer in answers))
        looks.state = "RUNNING"
        failed = [answer.exception(SECONDS) for answer in answers]
    assert sorted(type(error).__name__ for error in failed) == ["BackendUnreachable", "NoneType"]


def test_nobody_is_told_what_was_seen_before_they_asked(waiting: Waiting) -> None:
    """Who has just changed a runtime must not be told that it runs as it did before."""
    looks = Looks()
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(wait, waiting, looks)
        until(lambda: looks.taken > 3)
        before = looks.taken
        second = pool.submit(wait, waiting, looks, 0)
        assert second.result(SECONDS)["NUMBER"] > before
        looks.state = "RUNNING"
        assert first.result(SECONDS)["FAAS"]["STATE"] == "RUNNING"


def test_different_users_and_runtimes_are_looked_at_on_their_own(waiting: Waiting) -> None:
    mine, theirs, other = Looks("RUNNING"), Looks("ERROR"), Looks("RUNNING")
    assert wait(waiting, mine)["FAAS"]["STATE"] == "RUNNING"
    assert wait(waiting, theirs, whose=("other:pass", 851))["FAAS"]["STATE"] == "ERROR"
    assert wait(waiting, other, whose=("devuser:devpass", 852))["FAAS"]["STATE"] == "RUNNING"
    assert (mine.taken, theirs.taken, other.taken) == (1, 1, 1)


def test_who_is_gone_is_told_nothing_more(waiting: Waiting) -> None:
    looks = Looks()
    wait(waiting, looks, is_gone=lambda: True)
    assert looks.taken == 1


def test_nothing_is_kept_of_who_has_waited(waiting: Waiting) -> None:
    for number in range(50):
        wait(waiting, Looks("RUNNING"), whose=("devuser:devpass", number))
    assert waiting._watches == {}


def test_there_are_so_many_places(waiting: Waiting) -> None:
    places = [waiting.place() for _ in range(4)]
    for place in places:
        place.__enter__()
    with pytest.raises(TooManyRequests), waiting.place():
        pass
    places[0].__exit__(None, None, None)
    with waiting.place():
        pass


def test_a_place_is_given_back_whatever_happens(waiting: Waiting) -> None:
    for _ in range(10):
        with pytest.raises(ValueError, match="broken"), waiting.place():
            raise ValueError("broken")
