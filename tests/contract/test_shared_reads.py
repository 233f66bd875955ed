"""Reads of one user that arrive while another is in flight share their requests to oned."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from provision_engine.cloud.shared_reads import LEADERS
from provision_engine.sandbox import Sandbox
from provision_engine.sandbox.sandbox import CallRecord
from tests.support.client import Device, Response
from tests.support.engine import engine_in_process, settings_for
from tests.support.opennebula import OpenNebula
from tests.support.users import User
from tests.support.waiting import WAIT_SECONDS

from .device import QUICK
from .test_costs import body

EACH = 8
ARRIVAL_SECONDS = 0.3
"""In which a request reaches the engine. Only whether requests are shared depends on it."""
USER, OTHER = User("user0", "pass0"), User("user1", "pass1")
UNKNOWN_ID = 1_000_000


class Desk:
    """An engine in this process for a sandbox with the runtimes of two users."""

    def __init__(self, sandbox: Sandbox, url: str, threads: ThreadPoolExecutor) -> None:
        self.sandbox, self._url, self._threads = sandbox, url, threads
        self.one = OpenNebula(sandbox.oned_url, sandbox.oneflow_url, USER)
        documents = sandbox.store.documents()
        self.ids, self.others = (
            sorted(d.id for d in documents if d.uname == user.name) for user in (USER, OTHER)
        )

    def read(self, runtime_id: int, user: User = USER) -> Response:
        return Device(self._url, user).get(runtime_id)

    def start(self, *runtime_ids: int) -> list[Future[Response]]:
        return [self._threads.submit(self.read, runtime_id) for runtime_id in runtime_ids]

    def gather(self, *runtime_ids: int) -> list[Future[Response]]:
        """Reads that arrive now, and wait for the one in flight."""
        started = self.start(*runtime_ids)
        time.sleep(ARRIVAL_SECONDS)
        return started

    def requests(self) -> int:
        """That oned got; the calls of a multicall are one."""
        return sum(not call.is_part for call in self.sandbox.calls)

    @contextmanager
    def held(self, runtime_id: int) -> Iterator[Future[Response]]:
        """As many reads in flight as lead at once: oned has executed a call of each, and responds
        at the end. Yields the first one.
        """
        executed, answered = threading.Semaphore(0), threading.Event()

        def hold(call: CallRecord, moment: str) -> None:
            is_read = call.method.endswith((".info", ".infoset"))
            if moment == "after" and call.user == USER.name and is_read:
                executed.release()
                answered.wait(WAIT_SECONDS)

        self.sandbox.on_call = hold
        try:
            first, *_ = self.start(*[runtime_id] * LEADERS)
            for _ in range(LEADERS):
                assert executed.acquire(timeout=WAIT_SECONDS)
            yield first
        finally:
            answered.set()


@pytest.fixture
def desk() -> Iterator[Desk]:
    with (
        Sandbox("6.8.0", timings=QUICK) as sandbox,
        engine_in_process(settings_for(sandbox)) as url,
        ThreadPoolExecutor(2 * EACH) as threads,
    ):
        sandbox.store.populate(2, 2 * EACH, 1, body)
        desk = Desk(sandbox, url, threads)
        for runtime_id in desk.ids:  # from now on their VMs are known
            assert desk.read(runtime_id).status == 200
        sandbox.clear_calls()
        yield desk


def statuses(reads: list[Future[Response]]) -> list[int]:
    return [read.result(WAIT_SECONDS).status for read in reads]


def test_eight_reads_at_once_take_fewer_requests_and_show_the_same(desk: Desk) -> None:
    expected = [desk.read(runtime_id).content for runtime_id in desk.ids]
    alone = desk.requests()
    desk.sandbox.clear_calls()
    with desk.held(desk.ids[0]) as first:
        others = desk.gather(*desk.ids[1:], *[desk.ids[1]] * 4)
    contents = [read.result(WAIT_SECONDS).content for read in (first, *others)]
    assert contents == [*expected, *[expected[1]] * 4]
    assert desk.requests() < alone


def test_a_read_sees_what_changed_before_it_arrived(desk: Desk) -> None:
    """Also where the calls in flight have been executed before the change."""
    vm_id = desk.read(desk.ids[0]).runtime["FAAS"]["VM_ID"]
    with desk.held(desk.ids[0]):
        desk.sandbox.store.put_vm(vm_id, "POWEROFF")
        later = desk.gather(desk.ids[0], desk.ids[0])
    states = [read.result(WAIT_SECONDS).runtime["FAAS"]["STATE"] for read in later]
    assert states == ["ERROR", "ERROR"]


def test_nothing_is_shared_with_another_user_or_password(desk: Desk) -> None:
    with desk.held(desk.ids[0]) as first:
        gathered = desk.gather(desk.ids[1], desk.ids[2])
        assert desk.read(desk.others[0], OTHER).status == 200  # it waits for nobody
        assert not first.done()
    wrong = USER._replace(password="wrong")
    with ThreadPoolExecutor(EACH) as threads:
        answers = threads.map(lambda number: desk.read(number, wrong).status, desk.ids)
        assert list(answers) == [401] * EACH
    assert statuses([first, *gathered]) == [200] * 3


def test_what_is_gone_or_forbidden_is_so_for_its_own_read_only(desk: Desk) -> None:
    gone, forbidden, *fine = desk.ids[1], desk.others[0], *desk.ids[2:5]
    with desk.held(desk.ids[0]) as first:
        desk.one.call("document.delete", gone)
        others = desk.gather(gone, forbidden, UNKNOWN_ID, *fine)
    assert statuses([first, *others]) == [200, 404, 403, 404, 200, 200, 200]


@pytest.mark.parametrize(("kind", "status"), [("garbage", 502), ("error", 502), ("refuse", 503)])
def test_a_failure_of_oned_is_reported_to_each_read(desk: Desk, kind: str, status: int) -> None:
    with desk.held(desk.ids[0]):
        desk.sandbox.faults.set("oned", kind)
        others = desk.gather(*desk.ids[1:4])
    assert statuses(others) == [status] * 3
    desk.sandbox.faults.clear()
    assert desk.read(desk.ids[1]).status == 200


def test_reads_with_few_connections_still_work(desk: Desk) -> None:
    with (
        engine_in_process(settings_for(desk.sandbox, limits={"oned_requests": 1})) as url,
        ThreadPoolExecutor(EACH) as threads,
    ):
        answers = threads.map(lambda number: Device(url, USER).get(number).status, desk.ids * 4)
        assert list(answers) == [200] * EACH * 4
