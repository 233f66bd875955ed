"""start, stop, restart and status of the engine, as an operator calls them."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence

from provision_engine.cli import launch, record
from provision_engine.cli.options import Parser, add_config, configuration, parse
from provision_engine.cli.record import Record
from provision_engine.config import Configuration
from provision_engine.errors import OperatorError
from provision_engine.pidfile import AlreadyRunningError, PidFile

# How long a stop takes with no request in flight, in addition to server.grace_seconds.
STOP_SECONDS = 15.0
_POLL_SECONDS = 0.02


def start_parser() -> Parser:
    parser = _parser("start", "Start the engine, and return once it responds.")
    parser.add_argument(
        "--foreground",
        action="store_true",
        help="serve in this process until it is terminated, as service managers expect",
    )
    return parser


def stop_parser() -> Parser:
    return _parser("stop", "Stop the engine once the requests in flight are finished.")


def restart_parser() -> Parser:
    return _parser("restart", "Stop the engine if it is running, then start it.")


def status_parser() -> Parser:
    return _parser("status", "Show whether the engine is running, and where (exit code 1: not).")


def start(arguments: Sequence[str]) -> int:
    """`start [--foreground]`: return once the engine responds, or serve in this process."""
    options = parse(start_parser(), arguments)
    settings = configuration(options)
    if options.foreground:
        where = f"{record.url(settings)} (pid {os.getpid()})"
        launch.serve(settings, on_ready=lambda: print(f"serving on {where}", flush=True))
    _refuse_second(settings)
    print(f"started (pid {launch.start(settings)}) on {record.url(settings)}")
    return 0


def stop(arguments: Sequence[str]) -> int:
    """`stop`: let requests in flight finish, and return once the engine has ended."""
    settings = configuration(parse(stop_parser(), arguments))
    stopped = _stop(settings)
    if stopped is None:
        raise OperatorError("not running")
    print(f"stopped {_described(stopped)}")
    return 0


def restart(arguments: Sequence[str]) -> int:
    """`restart`: stop the engine if it is running, then start it."""
    settings = configuration(parse(restart_parser(), arguments))
    _stop(settings)
    print(f"restarted {_described(record.of(settings, launch.start(settings)))}")
    return 0


def status(arguments: Sequence[str]) -> int:
    """`status`: show the engine that is running; the exit code is 1 if there is none."""
    running = _running(configuration(parse(status_parser(), arguments)))
    if running is None:
        raise OperatorError("not running")
    print(f"running {_described(running)}")
    return 0


def _parser(command: str, description: str) -> Parser:
    parser = Parser(f"provision-engine {command}", description=description)
    add_config(parser)
    return parser


def _described(engine: Record) -> str:
    return f"(pid {engine.pid}) on {engine.url}, configuration {engine.configuration}"


def _running(settings: Configuration) -> Record | None:
    """The engine that holds the pid file, as it describes itself."""
    pid_file = settings.server.pid_file
    pid = PidFile(pid_file).running()
    if pid is None:
        return None
    return record.read(pid_file, pid) or record.of(settings, pid)


def _refuse_second(settings: Configuration) -> None:
    running = _running(settings)
    if running is not None:
        raise AlreadyRunningError(f"the engine is already running (pid {running.pid})")


def _stop(settings: Configuration) -> Record | None:
    """End the engine if one is running, and return it.

    Raises OperatorError if it was started from another configuration, or does not end.
    """
    running = _running(settings)
    if running is None:
        return None
    _refuse_another(running, record.path_of_configuration(settings))
    # The pid file is locked by the process that it names, so this pid belongs to no other.
    _send_term(running.pid)
    longest_seconds = settings.server.grace_seconds + STOP_SECONDS
    until = time.monotonic() + longest_seconds
    while PidFile(settings.server.pid_file).running() == running.pid:
        if time.monotonic() > until:
            raise OperatorError(
                f"pid {running.pid} has not ended within {longest_seconds:.0f} seconds"
            )
        time.sleep(_POLL_SECONDS)
    return running


def _refuse_another(running: Record, mine: object) -> None:
    if running.configuration != mine:
        raise OperatorError(
            f"the running engine (pid {running.pid}, {running.url}) was started from "
            f"{running.configuration}, not from {mine}: repeat with --config "
            f"{running.configuration}"
        )


def _send_term(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGTERM)
    except ProcessLookupError:
        pass
    except PermissionError as error:
        raise OperatorError(f"pid {pid} belongs to another user: use sudo") from error
