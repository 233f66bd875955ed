"""With ``ready.port`` a function is RUNNING only once its endpoint answers."""

from __future__ import annotations

import dataclasses
import os
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from provision_engine.cloud.enums import LcmState, VmState
from provision_engine.engine import answering
from provision_engine.engine.context import Context
from provision_engine.engine.runtime.model import Function, Runtime
from provision_engine.engine.runtime.snapshot import Snapshot
from provision_engine.engine.runtime.states import Reason, State
from tests.unit.engine.opennebula import OpenNebula
from tests.unit.support import vm

VM = 5


class Server:
    """A TCP server that counts connections and does with each what it is told to."""

    def __init__(self, behaviour: str) -> None:
        self.accepted: list[socket.socket] = []
        self._behaviour = behaviour
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.accepted.append(connection)  # first: the test looks as soon as there is an answer
            if self._behaviour == "closes":
                connection.close()
            elif self._behaviour == "speaks":
                connection.sendall(b"220 hello\r\n")

    def close(self) -> None:
        self._listener.close()
        for connection in self.accepted:
            connection.close()


@pytest.fixture
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    serving = Server(getattr(request, "param", "stays"))
    yield serving
    serving.close()


def context(port: int) -> Context:
    return OpenNebula().request(f"ready: {{port: {port}}}")


def snapshot(vm_id: int = VM, lcm_state: int = LcmState.RUNNING, **nic: Any) -> Snapshot:
    running = dataclasses.replace(vm(VmState.ACTIVE, lcm_state, vm_id=vm_id), nic=nic)
    runtime = Runtime(9, "a name", {"FAAS": Function("nature", vm_id=vm_id)})
    return Snapshot.from_vms(runtime, {vm_id: running}, None)


def state(of: Context, seen: Snapshot) -> tuple[State, Reason | None]:
    (checked,) = answering.check(of, [seen])
    condition = checked.conditions["FAAS"]
    return condition.state, condition.reason


RUNNING = (State.RUNNING, None)
SILENT = (State.PENDING, Reason.NOT_ANSWERING)


@pytest.mark.parametrize("server", ["stays", "speaks"], indirect=True)
def test_it_is_running_once_its_endpoint_accepts_and_is_never_asked_again(server: Server) -> None:
    of = context(server.port)
    assert state(of, snapshot(IP="127.0.0.1")) == RUNNING
    server.close()
    assert state(of, snapshot(IP="127.0.0.1")) == RUNNING
    assert len(server.accepted) == 1


@pytest.mark.parametrize("server", ["closes"], indirect=True)
def test_whoever_accepts_and_closes_does_not_answer(server: Server) -> None:
    assert state(context(server.port), snapshot(IP="127.0.0.1")) == SILENT


@pytest.mark.parametrize(
    "address", ["", "localhost", "not an address", "127.0.0.1:80", "::ffff:x", "0"]
)
def test_an_endpoint_that_is_no_address_is_not_asked(server: Server, address: str) -> None:
    assert state(context(server.port), snapshot(EXTERNAL_IP=address)) == SILENT
    assert not server.accepted


def test_a_port_that_refuses_does_not_answer_and_is_asked_again_later(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        of = context(reserved.getsockname()[1])
        assert state(of, snapshot(IP="127.0.0.1")) == SILENT
        reserved.listen()
        assert state(of, snapshot(IP="127.0.0.1")) == SILENT, "it was asked a moment ago"
        monkeypatch.setattr(answering.time, "monotonic", _later(answering.time.monotonic))
        assert state(of, snapshot(IP="127.0.0.1")) == RUNNING


def _later(clock: Any) -> Any:
    return lambda: clock() + answering.PAUSE_SECONDS


def test_another_address_has_to_answer_anew(server: Server) -> None:
    of = context(server.port)
    assert state(of, snapshot(IP="127.0.0.1")) == RUNNING
    assert state(of, snapshot(IP="127.0.0.1", EXTERNAL_IP="127.0.0.2")) == SILENT


def test_only_functions_that_run_are_asked_all_at_once(server: Server) -> None:
    several = [snapshot(number, IP="127.0.0.1") for number in range(1, 9)]
    booting = snapshot(20, LcmState.BOOT, IP="127.0.0.1")
    checked = answering.check(context(server.port), [*several, booting])
    states = [found.conditions["FAAS"].state for found in checked]
    assert states == [State.RUNNING] * 8 + [State.PENDING]
    assert len(server.accepted) == 8


def test_without_the_key_nothing_is_asked() -> None:
    assert state(OpenNebula().request(), snapshot()) == RUNNING


def test_all_processes_of_an_engine_ask_a_vm_as_if_they_were_one(server: Server) -> None:
    of = context(server.port)
    child = os.fork()
    if not child:
        is_running = state(of, snapshot(IP="127.0.0.1")) == RUNNING
        os._exit(0 if is_running else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert state(of, snapshot(IP="127.0.0.1")) == RUNNING
    assert len(server.accepted) == 1
