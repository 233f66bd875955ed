"""start, stop, restart and status, with real processes."""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import signal
import socket
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from provision_engine import __version__, process
from provision_engine.cli import service
from tests.support.waiting import WAIT_SECONDS, wait_until

from .cli_engine import Engine, call

taken: list[socket.socket] = []
"""Keeps ports in use."""


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2]
    except FileNotFoundError:
        return False
    return not state.startswith("Z")


def described(engine: Engine, pid: int) -> str:
    return f"(pid {pid}) on http://127.0.0.1:{engine.port}, configuration {engine.file}"


# ---- start -----------------------------------------------------------------------------


def test_start_returns_when_the_engine_responds(shared: Engine) -> None:
    pid = shared.pid
    assert shared.get()[0] == 200
    assert shared.pid_file.read_text() == f"{pid}\n"
    done = shared.call("status")
    assert done.returncode == 0
    running, health = done.stdout.splitlines()
    assert running == f"running {described(shared, pid)}"
    assert re.fullmatch(rf"version {re.escape(__version__)}, up \d+s; OpenNebula responds", health)
    assert "without TLS" not in shared.log()


def test_the_engine_detaches_from_the_terminal(shared: Engine) -> None:
    pid = shared.pid
    assert os.getsid(pid) == pid
    assert {os.readlink(f"/proc/{pid}/fd/{number}") for number in range(3)} == {os.devnull}
    assert os.readlink(f"/proc/{pid}/cwd") == "/"


def test_a_second_start_is_refused(shared: Engine) -> None:
    pid = shared.pid
    done = shared.call("start")
    assert done.returncode == 1
    assert done.stderr == f"provision-engine: the engine is already running (pid {pid})\n"
    done = shared.call("start", "--foreground")
    assert done.returncode == 1
    assert f"already running (pid {pid})" in done.stderr
    assert shared.get()[0] == 200


def take_port(engine: Engine) -> None:
    taken.append(socket.create_server(("127.0.0.1", engine.port)))


def link_pid_file(engine: Engine) -> None:
    engine.pid_file.parent.mkdir()
    engine.pid_file.symlink_to(engine.directory / "elsewhere")


def change(**settings: object) -> Callable[[Engine], None]:
    return lambda engine: engine.configuration.update(settings)


@pytest.mark.parametrize("foreground", [[], ["--foreground"]])
@pytest.mark.parametrize(
    ("prepare", "reason"),
    [
        (take_port, "cannot listen on 127.0.0.1 port {port}: Address already in use\n"),
        (lambda e: e.logs.write_text("a file"), "the log {logs}/engine.log cannot be written: "),
        (lambda e: e.pid_file.parent.write_text("a file"), "the pid file {pid_file} cannot be "),
        (
            link_pid_file,
            "the pid file {pid_file} cannot be written: Too many levels of symbolic links "
            "(see server.pid_file)\n",
        ),
        (change(host="203.0.113.1"), "cannot listen on 203.0.113.1 port {port}: "),
        (change(host="no.such.host.invalid"), "host no.such.host.invalid is unknown: "),
        (
            lambda e: e.environment.update(STUB_FAILS="no such\nthing"),
            "the application cannot be loaded: RuntimeError: no such\\nthing\n",
        ),
    ],
)
def test_what_prevents_a_start_is_reported_in_one_line(
    engine: Engine, prepare: Callable[[Engine], object], reason: str, foreground: list[str]
) -> None:
    prepare(engine)
    engine.write()
    done = engine.call("start", *foreground)
    assert (done.returncode, done.stdout) == (1, "")
    known = {"port": engine.port, "logs": engine.logs, "pid_file": engine.pid_file}
    assert done.stderr.startswith(f"provision-engine: {reason.format(**known)}")
    assert done.stderr.count("\n") == 1
    assert not engine.pid_file.exists()
    assert not (engine.directory / "elsewhere").exists()
    if "STUB_FAILS" in engine.environment:
        assert "The application cannot be loaded" in engine.log()


def test_a_killed_engine_is_detected_and_replaced(engine: Engine) -> None:
    pid = engine.start()
    os.kill(pid, signal.SIGKILL)
    assert engine.pid_file.exists()
    wait_until(lambda: engine.call("status").returncode == 1)
    # At once, although the workers of the killed engine still have the port open.
    assert engine.start() != pid
    assert engine.get()[0] == 200
    assert "The previous engine was killed" in engine.log()


def test_a_foreign_process_is_left_alone(engine: Engine) -> None:
    engine.pid_file.parent.mkdir()
    engine.pid_file.write_text(f"{os.getpid()}\n")
    assert engine.call("status").returncode == 1
    assert engine.call("stop").stderr == "provision-engine: not running\n"
    assert engine.start() != os.getpid()


def test_in_the_foreground_it_serves_until_it_is_terminated(engine: Engine) -> None:
    command = engine.command("start", "--foreground")
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        said = process.stdout.readline()
        assert said == f"serving on http://127.0.0.1:{engine.port} (pid {process.pid})\n"
        wait_until(lambda: engine.call("status").returncode == 0)
        assert engine.pid_file.read_text() == f"{process.pid}\n"
        wait_until(lambda: "Booting worker" in engine.log())
        assert engine.get()[0] == 200
        process.terminate()
        assert process.wait(20) == 0
    finally:
        process.kill()
    assert not engine.pid_file.exists()


def test_listening_on_every_interface_is_warned_about(engine: Engine) -> None:
    engine.configuration["host"] = "0.0.0.0"
    engine.write()
    engine.start()
    assert "Listening on 0.0.0.0 without TLS" in engine.log()


@pytest.mark.parametrize("command", ["start", "restart"])
def test_a_wrong_configuration_prevents_a_start(engine: Engine, command: str) -> None:
    engine.file.write_text("port: x\nprot: 1\n")
    done = engine.call(command)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f"provision-engine: {engine.file}: prot is unknown: did you mean port?\n"
        f'provision-engine: {engine.file}: port is "x": must be an integer from 1 to 65535\n'
    )


def test_a_typo_under_a_running_engine_is_a_warning_of_status_and_stop(engine: Engine) -> None:
    pid = engine.start()
    engine.file.write_text(engine.file.read_text() + "prot: 1\n")
    warning = f"provision-engine: warning: {engine.file}: prot is unknown: did you mean port?\n"
    warning += f"provision-engine: warning: going by the pid file {engine.pid_file}\n"
    for command, word in (("status", "running"), ("stop", "stopped")):
        done = engine.call(command)
        # A busy machine stops slowly: then there is a line about that as well.
        assert (done.returncode, done.stderr[: len(warning)]) == (0, warning)
        assert done.stdout.startswith(f"{word} {described(engine, pid)}\n")
    assert engine.call("status").returncode == 1


# ---- stop, restart, status -------------------------------------------------------------


def test_stop_returns_when_all_processes_have_ended(engine: Engine) -> None:
    pid = engine.start()
    workers = wait_until(lambda: len(engine.workers(pid)) == 2 and engine.workers(pid))
    done = engine.call("stop")
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"stopped {described(engine, pid)}\n"
    assert not any(is_alive(process) for process in workers)
    wait_until(lambda: not is_alive(pid))
    assert not engine.pid_file.exists()
    assert not engine.pid_file.with_suffix(".json").exists()


@pytest.mark.parametrize("command", ["stop", "status"])
def test_an_engine_that_is_not_running_is_reported(engine: Engine, command: str) -> None:
    done = engine.call(command)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "provision-engine: not running\n"


def test_status_says_what_does_not_respond(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    engine.environment["STUB_READINESS"] = '{"error": "x", "message": {"oned": "refused\\n"}}'
    pid = engine.start()
    assert engine.call("status").stdout.endswith(
        "; OpenNebula does not respond: oned: refused\\n\n"
    )
    monkeypatch.setattr(service, "HEALTH_SECONDS", 0.5)
    os.kill(pid, signal.SIGSTOP)
    for worker in engine.workers(pid):
        os.kill(worker, signal.SIGKILL)
    done = engine.call("status")
    os.kill(pid, signal.SIGCONT)
    assert done.returncode == 0
    assert "; the engine does not respond: " in done.stdout


def test_stop_lets_requests_finish_and_accepts_no_more(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "SILENT_SECONDS", 0)
    engine.configuration["server"]["grace_seconds"] = 50
    engine.write()
    engine.start()
    with ThreadPoolExecutor(2) as pool:
        held = pool.submit(engine.get, "/held")
        wait_until(engine.in_flight.exists)
        stop = pool.submit(engine.call, "stop")
        wait_until(lambda: refuses_connections(engine))
        assert not held.done()
        engine.in_flight.unlink()
        assert held.result()[0] == 200
        assert stop.result().returncode == 0
        assert stop.result().stderr == (
            f"waiting until pid {engine.pid} has finished its requests, 65 seconds at most "
            "(server.grace_seconds + 15)\n"
        )


def refuses_connections(engine: Engine) -> bool:
    try:
        socket.create_connection(("127.0.0.1", engine.port)).close()
    except ConnectionRefusedError:
        return True
    return False


def test_idle_connections_do_not_delay_a_stop(engine: Engine) -> None:
    """If it waited for them, it would take the grace time: longer than the command may take."""
    engine.configuration["server"]["grace_seconds"] = 3600
    engine.write()
    engine.start()
    persistent = http.client.HTTPConnection("127.0.0.1", engine.port)
    with engine.connections(20), contextlib.closing(persistent):
        persistent.request("GET", "/")
        persistent.getresponse().read()
        assert engine.call("stop").returncode == 0


def has_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")
def test_it_listens_on_ipv6(engine: Engine) -> None:
    engine.configuration["host"] = "::1"
    engine.write()
    done = engine.call("start")
    assert done.stdout.endswith(f" on http://[::1]:{engine.port}\n")
    with socket.create_connection(("::1", engine.port), WAIT_SECONDS) as connection:
        connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.0 200")


def test_stop_cuts_a_request_after_the_grace_time(engine: Engine) -> None:
    engine.configuration["server"]["grace_seconds"] = 1
    engine.write()
    engine.start()
    with ThreadPoolExecutor(1) as pool:
        held = pool.submit(engine.get, "/held")
        wait_until(engine.in_flight.exists)
        assert engine.call("stop").returncode == 0
        assert isinstance(held.exception(), ConnectionError)


def test_restart_works_whether_or_not_it_is_running(engine: Engine) -> None:
    done = engine.call("restart")
    assert done.returncode == 0
    first = int(engine.pid_file.read_text())
    engine.configuration["timeout"] = 9
    engine.write()
    done = engine.call("restart")
    assert done.returncode == 0
    second = int(engine.pid_file.read_text())
    assert done.stdout == f"restarted {described(engine, second)}\n"
    assert first != second
    assert engine.get()[1].endswith(" 9")


def test_a_restart_with_a_wrong_configuration_leaves_the_engine_alone(shared: Engine) -> None:
    before = shared.file.read_text()
    shared.file.write_text("port: x\n")
    assert shared.call("restart").returncode == 1
    assert shared.get()[0] == 200
    shared.file.write_text(before)


@pytest.mark.parametrize("command", ["stop", "restart"])
def test_an_engine_with_another_configuration_is_left_alone(
    shared: Engine, tmp_path: Path, command: str
) -> None:
    """As with an empty engine.conf, which means the pid file of someone else's engine."""
    pid = shared.pid
    (tmp_path / "other").mkdir()
    other = Engine(tmp_path / "other")
    other.configuration["server"]["pid_file"] = str(shared.pid_file)
    other.write()
    done = other.call(command)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f"provision-engine: the running engine (pid {pid}, http://127.0.0.1:{shared.port}) was "
        f"started from {shared.file}, not from {other.file}: repeat with --config {shared.file}\n"
    )
    assert shared.get()[0] == 200
    assert other.call("status").stdout.startswith(f"running {described(shared, pid)}\n")


def test_another_path_to_the_same_configuration_is_the_same(engine: Engine, tmp_path: Path) -> None:
    engine.start()
    link = tmp_path / "link.conf"
    link.symlink_to(engine.file)
    done = call("--config", str(link), "stop")
    assert done.returncode == 0, done.stderr


def test_the_served_address_is_shown_even_if_the_file_has_changed(engine: Engine) -> None:
    pid = engine.start()
    served = described(engine, pid)
    engine.configuration["port"] = engine.port + 1
    engine.write()
    assert engine.call("status").stdout.startswith(f"running {served}\n")
    assert engine.call("stop").stdout == f"stopped {served}\n"


def test_an_engine_without_a_record_can_be_stopped(engine: Engine) -> None:
    """Like an engine of release 2.0.0 that was upgraded while running."""
    pid = engine.start()
    record = engine.pid_file.with_suffix(".json")
    record.unlink()
    known = f"running {described(engine, pid)}\nversion unknown; OpenNebula responds\n"
    assert engine.call("status").stdout == known
    assert engine.call("stop").returncode == 0


# ---- signals ---------------------------------------------------------------------------


def test_a_hangup_reloads_the_configuration_unless_it_is_wrong(engine: Engine) -> None:
    pid = engine.start()
    assert engine.get()[1].endswith(" 7")
    engine.file.write_text("port: x\n")
    os.kill(pid, signal.SIGHUP)
    wait_until(lambda: "The configuration was not reloaded" in engine.log())
    assert engine.get()[1].endswith(" 7")
    engine.configuration["timeout"] = 8
    engine.configuration["port"] = engine.port + 1
    engine.write()
    os.kill(pid, signal.SIGHUP)
    wait_until(lambda: engine.get()[1].endswith(" 8"))
    assert "takes a restart" in engine.log()
    engine.configuration["port"] = engine.port
    engine.write()


def test_logs_are_reopened_after_a_rotation(engine: Engine) -> None:
    pid = engine.start()
    (engine.logs / "api.log").rename(engine.logs / "api.log.1")
    os.kill(pid, signal.SIGUSR1)
    engine.get("/after")
    wait_until(lambda: (engine.logs / "api.log").exists() and "/after" in engine.log("api"))
    assert "/after" not in (engine.logs / "api.log.1").read_text()
    assert engine.log("api").startswith("# Logfile created on ")


def test_a_worker_that_died_is_replaced(engine: Engine) -> None:
    pid = engine.start()
    first = wait_until(lambda: len(engine.workers(pid)) == 2 and engine.workers(pid))
    os.kill(first[0], signal.SIGKILL)
    wait_until(lambda: len(set(engine.workers(pid)) - {first[0]}) == 2)
    assert engine.get()[0] == 200
