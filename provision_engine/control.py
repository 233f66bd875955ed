"""start, stop, restart and status of the engine, as an operator calls them."""

from __future__ import annotations

import argparse
import contextlib
import http.client
import os
import select
import signal
import ssl
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from provision_engine import config
from provision_engine.config import Configuration
from provision_engine.failures import OperatorError
from provision_engine.pidfile import AlreadyRunningError, PidFile

START_SECONDS = 30.0
# What ending takes when no request is in flight, on top of server.grace_seconds.
STOP_SECONDS = 15.0
_POLL_SECONDS = 0.02
_PROBE_SECONDS = 5.0
# What the engine tells who started it, when its port is open.
_READY = "ready\n"
_REASON_BYTES = 65_536
# The address of every interface is none to connect to.
_REACHED_AT = {"0.0.0.0": "127.0.0.1", "::": "::1"}


def start(arguments: Sequence[str]) -> int:
    """`start [--foreground]`: return when the engine answers, or serve in this process."""
    parser = _parser("start", "start the engine, and return when it answers")
    parser.add_argument(
        "--foreground",
        action="store_true",
        help="serve in this process until it is told to end, as service managers like it",
    )
    options = parser.parse_args(arguments)
    configuration = _configuration(options)
    if options.foreground:
        _serve(configuration)
    _refuse_second(configuration)
    pid = _start(configuration)
    print(f"started (pid {pid}) on {url(configuration)}")
    return 0


def stop(arguments: Sequence[str]) -> int:
    """`stop`: let requests in flight finish, and return when the engine has ended."""
    options = _parser("stop", "end the engine when its requests are answered").parse_args(arguments)
    configuration = _configuration(options)
    if not _stop(configuration):
        raise OperatorError("not running")
    print("stopped")
    return 0


def restart(arguments: Sequence[str]) -> int:
    """`restart`: stop the engine if it runs, then start it."""
    options = _parser("restart", "stop the engine if it runs, and start it").parse_args(arguments)
    configuration = _configuration(options)
    _stop(configuration)
    pid = _start(configuration)
    print(f"restarted (pid {pid}) on {url(configuration)}")
    return 0


def status(arguments: Sequence[str]) -> int:
    """`status`: say whether the engine runs; the exit code is 1 when it does not."""
    options = _parser("status", "tell whether the engine runs, and where").parse_args(arguments)
    configuration = _configuration(options)
    pid = PidFile(configuration.server.pid_file).running()
    if pid is None:
        raise OperatorError("not running")
    print(f"running (pid {pid}) on {url(configuration)}")
    return 0


def url(configuration: Configuration) -> str:
    """Return where the engine listens."""
    scheme = "https" if configuration.tls.certificate else "http"
    host = f"[{configuration.host}]" if ":" in configuration.host else configuration.host
    return f"{scheme}://{host}:{configuration.port}"


def _parser(command: str, description: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(f"provision-engine {command}", description=description)
    parser.add_argument(
        "--config", type=Path, metavar="FILE", help=f"instead of {config.DEFAULT_PATH}"
    )
    return parser


def _configuration(options: argparse.Namespace) -> Configuration:
    path: Path | None = options.config
    # Absolute, as the engine leaves this directory and reads the file again when reloading.
    return config.load(path.absolute() if path else None)


# ---- starting --------------------------------------------------------------------------


def _refuse_second(configuration: Configuration) -> None:
    pid = PidFile(configuration.server.pid_file).running()
    if pid is not None:
        raise AlreadyRunningError(f"the engine is already running (pid {pid})")


def _serve(configuration: Configuration, *, reports: int | None = None) -> NoReturn:
    # Only the process that serves needs gunicorn and the engine itself.
    from provision_engine import server

    def tell_starter() -> None:
        if reports is not None:
            _tell(reports, _READY)
        else:
            print(f"serving on {url(configuration)} (pid {os.getpid()})", flush=True)

    def forget_starter() -> None:
        if reports is not None:
            os.close(reports)

    server.serve(configuration, on_ready=tell_starter, on_fork=forget_starter)
    sys.exit(0)


def _start(configuration: Configuration) -> int:
    """Start the engine in a process of its own; return its id when it answers."""
    sys.stdout.flush()
    sys.stderr.flush()
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        _become_engine(configuration, writing)
    os.close(writing)
    try:
        _wait_until_answering(configuration, pid, reading)
    finally:
        os.close(reading)
    return pid


def _become_engine(configuration: Configuration, reports: int) -> NoReturn:
    """Leave the terminal, and serve; what prevents it is told to the starter."""
    os.setsid()
    os.chdir("/")
    _silence()
    try:
        _serve(configuration, reports=reports)
    except OperatorError as error:
        _tell(reports, str(error))
    except Exception as error:  # nobody else would ever hear of it
        _tell(reports, f"{type(error).__name__}: {error}")
    sys.exit(1)


def _silence() -> None:
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nowhere, descriptor)
    os.close(nowhere)


def _tell(reports: int, reason: str) -> None:
    with contextlib.suppress(OSError):
        os.write(reports, reason.encode("utf-8", "backslashreplace")[:_REASON_BYTES])


def _wait_until_answering(configuration: Configuration, pid: int, reports: int) -> None:
    until = time.monotonic() + START_SECONDS
    is_ready = False
    while time.monotonic() < until:
        if select.select([reports], [], [], _POLL_SECONDS)[0]:
            _hear(reports, pid)
            is_ready = True
        # Not before: workers of an engine that was killed may answer for a moment still.
        if is_ready and _answers(configuration):
            return
    os.kill(pid, signal.SIGTERM)
    raise OperatorError(f"the engine does not answer within {START_SECONDS:.0f} seconds")


def _hear(reports: int, pid: int) -> None:
    """Return when the engine says that its port is open; otherwise it has ended: raise why."""
    text = os.read(reports, _REASON_BYTES).decode("utf-8", "replace")
    if text == _READY:
        return
    _, state = os.waitpid(pid, 0)
    ended = os.waitstatus_to_exitcode(state)
    reason = text.removeprefix(_READY)
    raise OperatorError(reason or f"the engine ended (exit code {ended}); its log may say why")


def _answers(configuration: Configuration) -> bool:
    connection = _connection(configuration)
    try:
        connection.request("GET", "/")
        connection.getresponse().read()
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
    return True


def _connection(configuration: Configuration) -> http.client.HTTPConnection:
    host = _REACHED_AT.get(configuration.host, configuration.host)
    if configuration.tls.certificate is None:
        return http.client.HTTPConnection(host, configuration.port, timeout=_PROBE_SECONDS)
    # Our own certificate names the host that clients use, hardly ever this address.
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return http.client.HTTPSConnection(
        host, configuration.port, timeout=_PROBE_SECONDS, context=context
    )


# ---- stopping --------------------------------------------------------------------------


def _stop(configuration: Configuration) -> bool:
    """End the engine if one runs; return whether one did."""
    pid_file = PidFile(configuration.server.pid_file)
    pid = pid_file.running()
    if pid is None:
        return False
    # The file is locked by the very process that it names, so this id is nobody else's.
    _send_term(pid)
    longest_seconds = configuration.server.grace_seconds + STOP_SECONDS
    until = time.monotonic() + longest_seconds
    while pid_file.running() == pid:
        if time.monotonic() > until:
            raise OperatorError(f"pid {pid} has not ended within {longest_seconds:.0f} seconds")
        time.sleep(_POLL_SECONDS)
    return True


def _send_term(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGTERM)
    except ProcessLookupError:
        pass
    except PermissionError as error:
        raise OperatorError(f"pid {pid} belongs to another user: use sudo") from error
