"""Reads of one login that wait for each other travel together; each has its own outcomes."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

from provision_engine import errors
from provision_engine.cloud import shared_reads
from provision_engine.cloud.oned import Call, Oned, Outcome
from provision_engine.cloud.shared_reads import LEADERS, SharedReads
from provision_engine.deadline import Deadline

WAIT_SECONDS = 60.0


class Station:
    """Sends reads; as many as lead at once wait until the test lets them go."""

    def __init__(self, wait_seconds: float = WAIT_SECONDS) -> None:
        self.reads = SharedReads(wait_seconds)
        self.requests: list[list[int]] = []
        self.failures: list[BaseException] = []
        self.held, self.go = threading.Semaphore(0), threading.Event()
        self.pool = ThreadPoolExecutor(20)

    def send(self, several: Sequence[Call[Any]], _deadline: Deadline) -> list[Outcome[Any]]:
        ids = [call.arguments[0] for call in several]
        self.requests.append(ids)
        if ids == [0]:
            self.held.release()
            assert self.go.wait(WAIT_SECONDS)
        elif self.failures:
            failure = self.failures.pop()
            if isinstance(failure, errors.EngineError):
                return [Outcome(error=failure) for _ in several]
            raise failure
        return [Outcome(number) for number in ids]

    def read(self, *ids: int, login: str = "a:b", seconds: float = 60) -> Future[list[Any]]:
        def wait() -> list[Any]:
            described = [Oned.document.call(number) for number in ids]
            outcomes = self.reads.send(login, self.send, Deadline(seconds), described)
            return [outcome.get() for outcome in outcomes]

        return self.pool.submit(wait)

    def hold(self) -> list[Future[list[Any]]]:
        """Send as many reads as lead at once; their responses come when the test lets them go."""
        leading = [self.read(0) for _ in range(LEADERS)]
        for _ in leading:
            assert self.held.acquire(timeout=WAIT_SECONDS)
        return leading

    def read_while_others_are_in_flight(self, *reads: tuple[int, ...]) -> list[Future[list[Any]]]:
        """Let reads gather behind those that lead, whose responses come then."""
        leading = self.hold()
        gathered = [self.read(*ids) for ids in reads]
        (user,) = self.reads._users.values()
        end = time.monotonic() + WAIT_SECONDS
        while len(user.gathered) < len(reads):
            assert time.monotonic() < end
        self.go.set()
        assert results(leading) == [[0]] * LEADERS
        return gathered


@pytest.fixture
def station() -> Station:
    return Station()


def results(reads: Sequence[Future[list[Any]]]) -> list[list[Any]]:
    return [read.result(WAIT_SECONDS) for read in reads]


def test_reads_that_wait_travel_in_one_request_each_with_its_own_outcomes(station: Station) -> None:
    reads = station.read_while_others_are_in_flight((1, 2), (3,), (1, 4))
    assert results(reads) == [[1, 2], [3], [1, 4]]
    assert [sorted(ids) for ids in station.requests] == [*[[0]] * LEADERS, [1, 1, 2, 3, 4]]


def test_more_reads_than_travel_together_go_in_turn(
    station: Station, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_reads, "MAX_READS", 2)
    reads = station.read_while_others_are_in_flight(*[(number,) for number in range(1, 6)])
    assert results(reads) == [[number] for number in range(1, 6)]
    assert sorted(map(len, station.requests)) == [*[1] * LEADERS, 1, 2, 2]


@pytest.mark.parametrize(
    "failure",
    [errors.BackendTimeout("late"), errors.BackendUnreachable("cut"), errors.BadGateway("no XML")],
)
def test_after_a_request_that_failed_as_a_whole_each_read_makes_its_own(
    station: Station, failure: errors.EngineError
) -> None:
    station.failures.append(failure)
    reads = station.read_while_others_are_in_flight((1,), (2,))
    assert results(reads) == [[1], [2]]
    assert sorted(map(sorted, station.requests)) == [*[[0]] * LEADERS, [1], [1, 2], [2]]


def test_a_leader_that_dies_leaves_no_read_waiting(station: Station) -> None:
    station.failures.append(RuntimeError("a defect"))
    reads = station.read_while_others_are_in_flight((1,), (2,), (3,))
    failed = [read for read in reads if read.exception(WAIT_SECONDS)]
    assert len(failed) == 1
    assert len(results([read for read in reads if read not in failed])) == 2


def test_logins_share_nothing(station: Station) -> None:
    leading = station.hold()
    assert station.read(1, login="a:wrong").result(WAIT_SECONDS) == [1]
    assert not any(read.done() for read in leading)
    station.go.set()
    assert results(leading) == [[0]] * LEADERS


def test_a_read_does_not_wait_long_for_requests_that_are_stuck() -> None:
    station = Station(wait_seconds=0.01)
    leading = station.hold()
    assert station.read(1).result(WAIT_SECONDS) == [1]
    assert not any(read.done() for read in leading)
    station.go.set()
    assert results(leading) == [[0]] * LEADERS


def test_nothing_is_remembered_of_reads_that_have_ended(station: Station) -> None:
    results(station.read_while_others_are_in_flight((1,), (2,)))
    assert station.reads._users == {}
