"""Reads of one user that arrive while another is in flight travel in one multicall."""

from __future__ import annotations

import base64
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
from flask import Flask
from werkzeug.test import TestResponse

from provision_engine.app import create_app
from provision_engine.cloud import shared_reads
from provision_engine.cloud.oned import Oned
from provision_engine.cloud.shared_reads import SharedReads
from provision_engine.sandbox import Sandbox
from provision_engine.sandbox.sandbox import CallRecord
from tests.support.engine import configuration_for
from tests.support.waiting import WAIT_SECONDS, wait_until

from .conftest import QUICK
from .device import PATH
from .opennebula import OpenNebula
from .settings import User
from .test_costs import body

EACH = 8
MULTICALL = "system.multicall"
DOCUMENT, VMS = "one.document.info", "one.vmpool.infoset"
USER, OTHER = "user0:pass0", "user1:pass1"
UNKNOWN_ID = 1_000_000


def read(app: Flask, runtime_id: int, session: str) -> TestResponse:
    token = base64.b64encode(session.encode()).decode()
    headers = {"Authorization": f"Basic {token}"}
    return app.test_client().get(f"{PATH}/{runtime_id}", headers=headers)


class Desk:
    """An engine in this process for a sandbox with the runtimes of two users."""

    def __init__(self, sandbox: Sandbox, app: Flask, threads: ThreadPoolExecutor) -> None:
        self.sandbox, self._app, self._threads = sandbox, app, threads
        user = User(*USER.split(":"))
        self.opennebula = OpenNebula(sandbox.oned_url, sandbox.oneflow_url, user)
        self.reads = app.extensions["backends"].reads = SharedReads(wait_seconds=WAIT_SECONDS)
        documents = sandbox.store.documents()
        self.ids = sorted(d.id for d in documents if d.uname == "user0")
        self.others = sorted(d.id for d in documents if d.uname == "user1")

    def read(self, runtime_id: int, session: str = USER) -> TestResponse:
        return read(self._app, runtime_id, session)

    def start(self, runtime_id: int, session: str = USER) -> Future[TestResponse]:
        return self._threads.submit(self.read, runtime_id, session)

    def gather(self, *runtime_ids: int, session: str = USER) -> list[Future[TestResponse]]:
        """Reads that arrive now, and wait for the one in flight."""
        expected = self._gathered() + len(runtime_ids)
        started = [self.start(runtime_id, session) for runtime_id in runtime_ids]
        wait_until(lambda: self._gathered() == expected)
        return started

    def _gathered(self) -> int:
        return sum(len(user.gathered) for user in self.reads._users.values())

    @contextmanager
    def held(self, runtime_id: int) -> Iterator[Future[TestResponse]]:
        """A read in flight: oned has executed its calls, and responds at the end."""
        to_hold, executed = threading.Semaphore(1), threading.Event()
        answered = threading.Event()

        def hold(call: CallRecord, moment: str) -> None:
            is_last = moment == "after" and call.method == VMS
            if is_last and to_hold.acquire(blocking=False):
                executed.set()
                answered.wait(WAIT_SECONDS)

        self.sandbox.on_call = hold
        try:
            first = self.start(runtime_id)
            assert executed.wait(WAIT_SECONDS)
            yield first
        finally:
            answered.set()

    def requests(self) -> list[int]:
        """How many calls each multicall held, and 1 for each single call, sorted."""
        sizes: list[int] = []
        for call in self.sandbox.calls:
            if call.is_part:
                sizes[-1] += 1
            else:
                sizes.append(0 if call.method == MULTICALL else 1)
        return sorted(sizes)


@pytest.fixture
def desk() -> Iterator[Desk]:
    with Sandbox("6.8.0", timings=QUICK) as sandbox, ThreadPoolExecutor(2 * EACH) as threads:
        sandbox.store.populate(2, 2 * EACH, 1, body)
        desk = Desk(sandbox, create_app(configuration_for(sandbox)), threads)
        for runtime_id in desk.ids:  # from now on their VMs are known
            assert desk.read(runtime_id).status_code == 200
        for runtime_id in desk.others:
            assert desk.read(runtime_id, OTHER).status_code == 200
        sandbox.clear_calls()
        yield desk
        assert not desk.reads._users


def statuses(reads: list[Future[TestResponse]]) -> list[int]:
    return [read.result(WAIT_SECONDS).status_code for read in reads]


def test_a_lone_read_is_one_request(desk: Desk) -> None:
    assert desk.read(desk.ids[0]).status_code == 200
    assert desk.requests() == [2]


def test_eight_reads_at_once_are_two_requests(desk: Desk) -> None:
    expected = [desk.read(runtime_id).data for runtime_id in desk.ids]
    desk.sandbox.clear_calls()
    with desk.held(desk.ids[0]) as first:
        others = desk.gather(*desk.ids[1:])
    assert [read.result(WAIT_SECONDS).data for read in (first, *others)] == expected
    assert desk.requests() == [2, 2 * (EACH - 1)]


def test_more_reads_than_travel_together_go_in_turn(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_reads, "MAX_READS", 4)
    with desk.held(desk.ids[0]) as first:
        others = desk.gather(*desk.ids)
    assert statuses([first, *others]) == [200] * (EACH + 1)
    assert desk.requests() == [2, 8, 8]


def state(read: Future[TestResponse]) -> str:
    answer = read.result(WAIT_SECONDS).json
    return str(answer["SERVERLESS_RUNTIME"]["FAAS"]["STATE"])


def test_a_read_sees_what_changed_before_it_arrived(desk: Desk) -> None:
    """Also where the calls in flight have been executed before the change."""
    vm_id = desk.read(desk.ids[0]).json["SERVERLESS_RUNTIME"]["FAAS"]["VM_ID"]
    with desk.held(desk.ids[0]) as first:
        desk.sandbox.store.put_vm(vm_id, "POWEROFF")
        later = desk.gather(desk.ids[0], desk.ids[0])
    assert [state(read) for read in (first, *later)] == ["RUNNING", "ERROR", "ERROR"]


@pytest.mark.parametrize(("session", "status"), [(OTHER, 200), ("user0:wrong", 401)])
def test_nothing_is_shared_with_another_user_or_password(
    desk: Desk, session: str, status: int
) -> None:
    own = {OTHER: desk.others[0]}.get(session, desk.ids[0])
    with desk.held(desk.ids[0]) as first:
        gathered = desk.gather(desk.ids[1], desk.ids[2])
        assert desk.read(own, session).status_code == status  # it waits for nobody
        assert not first.done()
    assert statuses([first, *gathered]) == [200] * 3


def test_reads_of_a_wrong_password_fail_by_themselves(desk: Desk) -> None:
    with ThreadPoolExecutor(EACH) as threads:
        answers = threads.map(lambda n: desk.read(n, "user0:wrong").status_code, desk.ids)
        assert list(answers) == [401] * EACH


def test_what_is_gone_or_forbidden_is_so_for_its_own_read_only(desk: Desk) -> None:
    gone, forbidden, *fine = desk.ids[1], desk.others[0], *desk.ids[2:5]
    with desk.held(desk.ids[0]) as first:
        desk.opennebula.call("document.delete", gone)
        others = desk.gather(gone, forbidden, UNKNOWN_ID, *fine)
    assert statuses([first, *others]) == [200, 404, 403, 404, 200, 200, 200]


@pytest.mark.parametrize("method", [MULTICALL, DOCUMENT, VMS])
@pytest.mark.parametrize("kind", ["cut", "garbage", "error"])
def test_after_a_shared_request_that_fails_each_read_makes_its_own(
    desk: Desk, kind: str, method: str
) -> None:
    with desk.held(desk.ids[0]) as first:
        others = desk.gather(*desk.ids[1:4])
        fault = desk.sandbox.faults.set("oned", kind, method=method, times=1)
    assert statuses([first, *others]) == [200] * 4
    assert fault.hits == 1


def test_a_shared_request_that_hangs_leaves_time_for_the_own_calls(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_reads, "SHARED_TIME", 0.1)
    with desk.held(desk.ids[0]) as first:
        others = desk.gather(*desk.ids[1:4])
        desk.sandbox.faults.set("oned", "hang", method=MULTICALL, times=1)
    assert statuses([first, *others]) == [200] * 4


@pytest.mark.parametrize(("kind", "status"), [("garbage", 502), ("error", 502), ("refuse", 503)])
def test_a_failure_of_oned_is_reported_to_each_read(desk: Desk, kind: str, status: int) -> None:
    with desk.held(desk.ids[0]):
        others = desk.gather(*desk.ids[1:4])
        desk.sandbox.faults.set("oned", kind)
    assert statuses(others) == [status] * 3
    desk.sandbox.faults.clear()
    assert desk.read(desk.ids[1]).status_code == 200


def test_a_leader_that_dies_leaves_no_read_waiting(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    with desk.held(desk.ids[0]) as first:
        others = desk.gather(*desk.ids[1:4])
        monkeypatch.setattr(Oned, "_batch", _die_once(Oned._batch))
    assert statuses([first]) == [200]
    assert sorted(statuses(others)) == [200, 200, 500]


def _die_once(batch: Callable[..., Any]) -> Callable[..., Any]:
    lives = iter([RuntimeError("a defect")])

    def dying(*arguments: Any) -> Any:
        for error in lives:
            raise error
        return batch(*arguments)

    return dying


def test_a_read_with_few_connections_still_works(desk: Desk) -> None:
    app = create_app(configuration_for(desk.sandbox, limits={"oned_requests": 1}))
    with ThreadPoolExecutor(EACH) as threads:
        answers = threads.map(lambda n: read(app, n, USER).status_code, desk.ids * 4)
        assert list(answers) == [200] * EACH * 4
