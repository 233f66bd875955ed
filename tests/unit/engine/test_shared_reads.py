"""Which read leads, whom it takes along, and how long the others wait."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from provision_engine.cloud.shared import Responses
from provision_engine.deadline import Deadline
from provision_engine.engine.shared_reads import SharedReads
from tests.support.waiting import WAIT_SECONDS, wait_until

OWNER = b"owner"
SHORT_SECONDS = 0.05


class Client:
    """A caller's client that records what is asked of it; it hangs where the test says so."""

    def __init__(self, seconds: float = WAIT_SECONDS, stuck: threading.Event | None = None) -> None:
        self.deadline, self._stuck = Deadline(seconds), stuck
        self.asked: list[object] = []
        self.is_asked = threading.Event()

    def until(self, deadline: Deadline) -> Client:
        return self

    @contextmanager
    def reading_ahead(self, runtime_id: int, vm_ids: object) -> Iterator[None]:
        self.asked.append(runtime_id)
        yield

    def shared_responses(self, runtime_ids: list[int], vm_ids: list[int]) -> Responses:
        self.asked.append((runtime_ids, vm_ids))
        self.is_asked.set()
        if self._stuck is not None:
            self._stuck.wait(WAIT_SECONDS)
        return Responses()

    def answered(self, responses: Responses, runtime_id: int) -> Client:
        return self


def read(reads: SharedReads, client: Client, runtime_id: int) -> None:
    with reads.reading(OWNER, client, runtime_id, [runtime_id + 100]):  # type: ignore[arg-type]
        pass


def gathered(reads: SharedReads) -> list[int]:
    return [read.runtime_id for read in reads._users[OWNER].gathered]


def test_reads_one_after_the_other_share_nothing() -> None:
    reads, client = SharedReads(), Client()
    for number in range(3):
        read(reads, client, number)
    assert client.asked == [0, 1, 2]
    assert not reads._users


@pytest.mark.parametrize("leaders", [1, 2])
def test_so_many_reads_lead_at_the_same_time(leaders: int) -> None:
    reads = SharedReads(leaders, patience_seconds=WAIT_SECONDS)
    clients = [Client() for _ in range(5)]
    with ThreadPoolExecutor(5) as threads:
        with _leading(reads, clients[:leaders]):
            others = []
            for number, client in enumerate(clients[leaders:], leaders):
                others.append(threads.submit(read, reads, client, number))
                wait_until(lambda: len(gathered(reads)) == len(others))
            expected = gathered(reads)
        for other in others:
            other.result(WAIT_SECONDS)
    assert [client.asked for client in clients[:leaders]] == [[n] for n in range(leaders)]
    shared = [asked for client in clients[leaders:] for asked in client.asked]
    assert [(sorted(ids), sorted(vm_ids)) for ids, vm_ids in shared] == [
        (expected, [number + 100 for number in expected])
    ]
    assert not reads._users


@contextmanager
def _leading(reads: SharedReads, clients: list[Client]) -> Iterator[None]:
    """Lone reads in flight, with the ids 0, 1 …"""
    if not clients:
        yield
        return
    *before, last = clients
    with (
        _leading(reads, before),
        reads.reading(OWNER, last, len(before), ()),  # type: ignore[arg-type]
    ):
        yield


def test_a_read_leads_as_well_when_its_patience_is_over() -> None:
    reads, client = SharedReads(patience_seconds=SHORT_SECONDS), Client()
    with reads.reading(OWNER, Client(), 0, ()):  # type: ignore[arg-type]
        read(reads, client, 1)
    assert client.asked == [1]
    assert not reads._users


def test_a_read_waits_for_its_turn_only_a_part_of_its_time() -> None:
    reads, client = SharedReads(patience_seconds=WAIT_SECONDS), Client(SHORT_SECONDS)
    with reads.reading(OWNER, Client(), 0, ()):  # type: ignore[arg-type]
        read(reads, client, 1)
    assert client.asked == [1]


def test_a_read_that_was_taken_along_waits_only_a_part_of_its_time() -> None:
    """The one that leads is stuck until the test is over."""
    reads, stuck = SharedReads(patience_seconds=WAIT_SECONDS), threading.Event()
    leader, follower = Client(stuck=stuck), Client(6)
    with ThreadPoolExecutor(2) as threads:
        with reads.reading(OWNER, Client(), 0, ()):  # type: ignore[arg-type]
            leading = threads.submit(read, reads, leader, 1)
            wait_until(lambda: gathered(reads) == [1])
            following = threads.submit(read, reads, follower, 2)
            wait_until(lambda: gathered(reads) == [1, 2])
        assert leader.is_asked.wait(WAIT_SECONDS)
        following.result(WAIT_SECONDS)
        stuck.set()
        leading.result(WAIT_SECONDS)
    assert (leader.asked[0], follower.asked) == (([1, 2], [101, 102]), [2])
    assert not reads._users
