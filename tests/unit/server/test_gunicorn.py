"""The internals of gunicorn on which the worker relies: an upgrade that changes them fails here.

The behaviour itself is tested with real engines (tests/cli/test_http_edge.py, test_control.py).
"""

from __future__ import annotations

import ast
import inspect
import math
import socket
from collections import deque
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from gunicorn.arbiter import Arbiter
from gunicorn.http.parser import Parser
from gunicorn.workers import base, gthread

from provision_engine import server
from provision_engine.server.worker import SILENT_SECONDS, SOON_SECONDS, Worker


def parameters(method: Any) -> list[str]:
    return list(inspect.signature(method).parameters)


@pytest.mark.parametrize(
    ("method", "wanted"),
    [
        (gthread.ThreadWorker.notify, ["self"]),
        (gthread.ThreadWorker.handle, ["self", "conn"]),
        (gthread.ThreadWorker.handle_error, ["self", "req", "client", "addr", "exc"]),
        (gthread.ThreadWorker.set_accept_enabled, ["self", "enabled"]),
        (gthread.ThreadWorker.accept, ["self", "listener"]),
        (gthread.ThreadWorker.is_parent_alive, ["self"]),
        (gthread.ThreadWorker._keepalive_after, ["self", "conn", "keepalive"]),
        (Parser.finish_body, ["self", "deadline", "max_bytes"]),
        (gthread.TConn.wait_for_data, ["self", "timeout"]),
        (gthread.TConn.__init__, ["self", "cfg", "sock", "client", "server"]),
    ],
)
def test_the_methods_have_the_parameters_that_are_used(method: Any, wanted: list[str]) -> None:
    assert parameters(method) == wanted


def test_the_worker_overrides_these_methods_and_no_others() -> None:
    own = {name for name, value in vars(Worker).items() if inspect.isfunction(value)}
    assert own == {
        "notify",
        "handle",
        "handle_error",
        "_keepalive_after",
        "set_accept_enabled",
        "_answer",
        "_has_thread_for_each",
        "_leave_the_port",
    }
    assert not any(
        hasattr(gthread.ThreadWorker, name)
        for name in ("_answer", "_has_thread_for_each", "_leave_the_port")
    )


@pytest.mark.parametrize(("connections", "answered"), [(2, 3), (3, 1)])
def test_a_thread_stays_with_a_busy_client_unless_another_waits_for_one(
    monkeypatch: pytest.MonkeyPatch, connections: int, answered: int
) -> None:
    requests: list[bytes] = []

    def handle(_self: Worker, connection: Any) -> bool:
        requests.append(connection.sock.recv(1))
        return True

    monkeypatch.setattr(gthread.ThreadWorker, "handle", handle)
    worker = Worker.__new__(Worker)
    worker.alive, worker.nr_conns, worker.cfg = True, connections, SimpleNamespace(threads=2)
    served, client = socket.socketpair()
    with served, client:
        client.sendall(b"abc")
        assert worker.handle(SimpleNamespace(initialized=True, sock=served)) is True
    assert len(requests) == answered


def test_the_main_loop_calls_the_overridden_methods() -> None:
    """At least once a second, while it serves and while it stops."""
    run = inspect.getsource(gthread.ThreadWorker.run)
    assert run.count("self.notify()") == 2
    assert "self.wait_for_and_dispatch_events(timeout=1.0)" in run
    assert "self.set_accept_enabled(False)" in run
    assert "self.is_parent_alive()" in run
    assert "self.murder_pending()" in run
    assert "self.handle, conn" in inspect.getsource(gthread.ThreadWorker.enqueue_req)
    assert "self._keepalive_after(conn, " in inspect.getsource(gthread.ThreadWorker.handle)


def test_a_deferred_connection_waits_in_the_main_loop() -> None:
    finish = inspect.getsource(gthread.ThreadWorker.finish_request)
    assert "result is _DEFER" in finish
    assert "self.pending_conns.append(conn)" in finish
    assert "data_ready = True" in inspect.getsource(gthread.ThreadWorker.on_pending_socket_readable)


@pytest.mark.parametrize("is_ending", [False, True])
def test_only_a_worker_that_ends_accepts_what_is_there_and_leaves_the_port(
    monkeypatch: pytest.MonkeyPatch, is_ending: bool
) -> None:
    """One that has too many connections only pauses."""
    waiting, silent = ["a", "b"], SimpleNamespace(timeout=math.inf)
    ended = Worker.__new__(Worker)
    ended.alive, ended.pending_conns, ended.nr_conns = not is_ending, deque([silent]), 0

    def accept(self: Worker, _listener: object) -> None:
        self.nr_conns += len(waiting[:1])
        del waiting[:1]

    monkeypatch.setattr(Worker, "accept", accept)
    monkeypatch.setattr(Worker, "is_parent_alive", lambda _self: True)
    monkeypatch.setattr(gthread.ThreadWorker, "set_accept_enabled", lambda _self, _enabled: None)
    with socket.socket() as listener:
        ended.sockets = [listener]
        ended.set_accept_enabled(False)
        assert (listener.fileno() < 0) is is_ending
    assert (ended.nr_conns, silent.timeout < math.inf) == ((2, True) if is_ending else (0, False))


@pytest.mark.parametrize(("alive", "expected"), [(True, gthread._DEFER), (False, False)])
def test_a_silent_connection_is_deferred_but_not_by_a_worker_that_ends(
    alive: bool, expected: object
) -> None:
    """gunicorn would look for the parser of one that has none yet."""
    worker, waited = Worker.__new__(Worker), []
    worker.alive = alive
    silent = SimpleNamespace(
        initialized=False, wait_for_data=lambda seconds: waited.append(seconds)
    )
    assert worker.handle(silent) is expected
    assert waited == [SOON_SECONDS if alive else SILENT_SECONDS]


def test_the_workers_set_signal_handlers_of_their_own() -> None:
    """So that they do not ignore what the master ignores (USR2, WINCH)."""
    assert "signal.SIG_DFL" in inspect.getsource(base.Worker.init_signals)
    assert "cfg.when_ready" in inspect.getsource(Arbiter.start)
    started = inspect.getsource(Arbiter.start)
    assert started.index("self.init_signals()") < started.index("cfg.when_ready")


def test_gunicorns_inside_is_known_to_one_module_only() -> None:
    for path in Path(server.__file__).parent.glob("*.py"):
        text = path.read_text(encoding="utf-8")
        if path.name == "worker.py":
            continue
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("gunicorn"):
                assert not node.module.startswith("gunicorn.workers"), path
                assert not any(alias.name.startswith("_") for alias in node.names), path
