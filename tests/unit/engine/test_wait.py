"""Waiting for a runtime together: which request polls, how often, and what each one gets."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace

import pytest

from provision_engine.cloud.client import Credentials
from provision_engine.engine.actions import read
from provision_engine.engine.actions.wait import IsDone, IsRecovered, Waiting, is_settled
from provision_engine.engine.runtime.model import Runtime
from provision_engine.engine.runtime.snapshot import Observation, Snapshot
from provision_engine.engine.runtime.states import Condition, State
from provision_engine.errors import BackendUnreachable
from tests.unit.engine.samples import ME, Cloud, context
from tests.unit.support import function

SECONDS = 20.0
RUNTIME = Runtime(851, "lamp", {"FAAS": function("nature", 1, 1, 1, 7)})


def snapshot(*states: State, number: int = 0) -> Snapshot:
    """``number`` distinguishes two snapshots."""
    roles = zip(("FAAS", "DAAS"), states, strict=False)
    runtime = replace(RUNTIME, lease_seconds=1, lease_ends_at=number)
    return Snapshot(runtime, {role: Observation(Condition(state)) for role, state in roles})


class Looks:
    """A runtime whose state the test sets; it counts the reads and who makes them."""

    def __init__(self, state: State = State.PENDING) -> None:
        self.state, self.taken = state, 0
        self.takers: set[int] = set()
        self.at_once = self.most_at_once = 0
        self.failures: list[Exception] = []
        self._lock = threading.Lock()

    def take(self) -> Snapshot:
        with self._lock:
            self.taken += 1
            self.takers.add(threading.get_ident())
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
            failure = self.failures.pop() if self.failures else None
        try:
            if failure is not None:
                raise failure
            return snapshot(self.state, number=self.taken)
        finally:
            with self._lock:
                self.at_once -= 1


@pytest.fixture
def waiting() -> Waiting:
    return Waiting()


@pytest.fixture(autouse=True)
def _reads(monkeypatch: pytest.MonkeyPatch) -> None:
    """A caller's OpenNebula is the `Looks` of the test."""
    monkeypatch.setattr(read, "get_runtime", lambda caller, runtime_id: caller.cloud.oned.take())


def wait(
    waiting: Waiting,
    looks: Looks,
    seconds: float = SECONDS,
    is_gone: Callable[[], bool] = lambda: False,
    credentials: Credentials = ME,
    runtime_id: int = 851,
    is_done: IsDone = is_settled,
) -> Snapshot | None:
    cloud = Cloud(looks)
    cloud.credentials = credentials
    return waiting.until(is_done, context(cloud), runtime_id, seconds, is_gone)


def state_of(seen: Snapshot | None) -> State | None:
    return None if seen is None else seen.conditions["FAAS"].state


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < end, "nothing came of it"
        time.sleep(0.005)


def many(count: int, waiting: Waiting, looks: Looks) -> tuple[ThreadPoolExecutor, list[Future]]:
    pool = ThreadPoolExecutor(count)
    return pool, [pool.submit(wait, waiting, looks) for _ in range(count)]


@pytest.mark.parametrize("state", [State.RUNNING, State.ERROR, State.SUSPENDED])
def test_a_settled_runtime_takes_one_read(waiting: Waiting, state: State) -> None:
    looks = Looks(state)
    assert state_of(wait(waiting, looks)) == state
    assert looks.taken == 1


def test_when_the_time_is_over_the_last_snapshot_is_returned(waiting: Waiting) -> None:
    looks = Looks(State.UPDATING)
    assert state_of(wait(waiting, looks, 0)) == State.UPDATING
    assert looks.taken == 1


def test_one_request_polls_for_all(waiting: Waiting) -> None:
    looks = Looks()
    pool, answers = many(16, waiting, looks)
    until(lambda: looks.taken > 20)
    looks.state = State.RUNNING
    assert {state_of(answer.result(SECONDS)) for answer in answers} == {State.RUNNING}
    pool.shutdown()
    assert looks.most_at_once == 1


def test_the_number_of_reads_does_not_depend_on_the_number_of_requests(waiting: Waiting) -> None:
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


def test_when_the_polling_request_ends_another_continues(waiting: Waiting) -> None:
    looks = Looks()
    gone = threading.Event()
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(wait, waiting, looks, SECONDS, gone.is_set)
        until(lambda: looks.taken > 0)
        second = pool.submit(wait, waiting, looks)
        gone.set()
        assert state_of(first.result(SECONDS)) == State.PENDING
        looks.state = State.RUNNING
        assert state_of(second.result(SECONDS)) == State.RUNNING


def test_a_failed_read_fails_only_the_request_that_made_it(waiting: Waiting) -> None:
    looks = Looks()
    with ThreadPoolExecutor(2) as pool:
        answers = [pool.submit(wait, waiting, looks) for _ in range(2)]
        until(lambda: looks.taken > 2)
        looks.failures.append(BackendUnreachable("oned: refused"))
        until(lambda: any(answer.done() for answer in answers))
        looks.state = State.RUNNING
        failed = [answer.exception(SECONDS) for answer in answers]
    assert sorted(type(error).__name__ for error in failed) == ["BackendUnreachable", "NoneType"]


def test_no_request_gets_a_snapshot_from_before_it_started(waiting: Waiting) -> None:
    """A request that has just changed a runtime must not get its former state."""
    looks = Looks()
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(wait, waiting, looks)
        until(lambda: looks.taken > 3)
        before = looks.taken
        second = pool.submit(wait, waiting, looks, 0)
        assert second.result(SECONDS).ends_at > before
        looks.state = State.RUNNING
        assert state_of(first.result(SECONDS)) == State.RUNNING


def test_different_users_and_runtimes_are_polled_separately(waiting: Waiting) -> None:
    mine, theirs, other = Looks(State.RUNNING), Looks(State.ERROR), Looks(State.RUNNING)
    assert state_of(wait(waiting, mine)) == State.RUNNING
    assert state_of(wait(waiting, theirs, credentials=Credentials("other", "x"))) == State.ERROR
    assert state_of(wait(waiting, other, runtime_id=852)) == State.RUNNING
    assert (mine.taken, theirs.taken, other.taken) == (1, 1, 1)


def test_a_disconnected_client_ends_its_wait(waiting: Waiting) -> None:
    looks = Looks()
    wait(waiting, looks, is_gone=lambda: True)
    assert looks.taken == 1


def test_nothing_is_stored_after_a_wait(waiting: Waiting) -> None:
    for number in range(50):
        wait(waiting, Looks(State.RUNNING), runtime_id=number)
    assert waiting._watches == {}


# ---- when a wait is over ------------------------------------------------------------------------

RUNNING, ERROR, PENDING, UPDATING, SUSPENDED = (
    State.RUNNING,
    State.ERROR,
    State.PENDING,
    State.UPDATING,
    State.SUSPENDED,
)


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        ([RUNNING], True),
        ([ERROR], True),
        ([SUSPENDED], True),
        ([PENDING], False),
        ([UPDATING], False),
        ([RUNNING, ERROR], True),
        ([ERROR, PENDING], False),
    ],
)
def test_a_runtime_is_settled_when_no_function_moves(states: list[State], expected: bool) -> None:
    assert is_settled(snapshot(*states)) is expected


@pytest.mark.parametrize(
    ("seen", "is_done"),
    [
        # It is in ERROR at first: the recovery has only just started.
        ([[ERROR], [ERROR], [PENDING], [RUNNING]], [False, False, False, True]),
        ([[ERROR], [PENDING], [ERROR]], [False, False, True]),
        ([[PENDING], [ERROR]], [False, True]),
        # Between two looks it may have been settled for a moment.
        ([[PENDING], [SUSPENDED], [ERROR]], [False, False, True]),
        ([[RUNNING]], [True]),
        ([[RUNNING, ERROR], [RUNNING, PENDING], [RUNNING, RUNNING]], [False, False, True]),
        ([[PENDING, ERROR], [RUNNING, ERROR]], [False, True]),
        ([[SUSPENDED]], [False]),
    ],
)
def test_a_recovery_has_an_outcome(seen: list[list[State]], is_done: list[bool]) -> None:
    is_recovered = IsRecovered()
    assert [is_recovered(snapshot(*states)) for states in seen] == is_done


def test_what_a_wait_is_for_is_up_to_the_request(waiting: Waiting) -> None:
    looks = Looks(State.ERROR)
    seen = wait(waiting, looks, is_done=lambda seen: (seen.ends_at or 0) >= 3)
    assert (seen and seen.ends_at, looks.taken) == (3, 3)
