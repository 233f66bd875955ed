"""start, stop, restart and status of the engine, as an operator calls them."""

from __future__ import annotations

import os
import signal
import time

import click

from provision_engine.cli import launch, record
from provision_engine.cli.options import Command, config_option, configuration
from provision_engine.cli.record import Record
from provision_engine.config import Configuration
from provision_engine.errors import OperatorError
from provision_engine.pidfile import PidFile

# How long a stop takes with no request in flight, in addition to server.grace_seconds.
STOP_SECONDS = 15.0
_POLL_SECONDS = 0.02


@click.command(cls=Command)
@config_option
@click.option("--foreground", is_flag=True, help="Serve in this process, for service managers.")
def start(foreground: bool) -> None:
    """Start the engine, and return once it responds."""
    settings = configuration()
    if foreground:
        where = f"{record.url(settings)} (pid {os.getpid()})"
        launch.serve(settings, on_ready=lambda: print(f"serving on {where}", flush=True))
    print(f"started (pid {launch.start(settings)}) on {record.url(settings)}")


@click.command(cls=Command)
@config_option
def stop() -> None:
    """Stop the engine once the requests in flight are finished."""
    stopped = _stop(configuration())
    if stopped is None:
        raise OperatorError("not running")
    print(f"stopped {_described(stopped)}")


@click.command(cls=Command)
@config_option
def restart() -> None:
    """Stop the engine if it is running, then start it."""
    settings = configuration()
    _stop(settings)
    print(f"restarted {_described(record.of(settings, launch.start(settings)))}")


@click.command(cls=Command)
@config_option
def status() -> None:
    """Show whether the engine is running, and where (exit code 1: not)."""
    running = _running(configuration())
    if running is None:
        raise OperatorError("not running")
    print(f"running {_described(running)}")


def _described(engine: Record) -> str:
    return f"(pid {engine.pid}) on {engine.url}, configuration {engine.configuration}"


def _running(settings: Configuration) -> Record | None:
    """The engine that holds the pid file, as it describes itself."""
    pid_file = settings.server.pid_file
    pid = PidFile(pid_file).running()
    if pid is None:
        return None
    return record.read(pid_file, pid) or record.of(settings, pid)


def _stop(settings: Configuration) -> Record | None:
    """End the engine if one is running, and return it.

    Raises OperatorError if it was started from another configuration, or does not end.
    """
    running = _running(settings)
    if running is None:
        return None
    mine = record.path_of_configuration(settings)
    if running.configuration != mine:
        raise OperatorError(
            f"the running engine (pid {running.pid}, {running.url}) was started from "
            f"{running.configuration}, not from {mine}: repeat with --config "
            f"{running.configuration}"
        )
    # The pid file is locked by the process that it names, so this pid belongs to no other.
    try:
        os.kill(running.pid, signal.SIGTERM)
    except ProcessLookupError:
        pass
    except PermissionError as error:
        raise OperatorError(f"pid {running.pid} belongs to another user: use sudo") from error
    longest_seconds = settings.server.grace_seconds + STOP_SECONDS
    until = time.monotonic() + longest_seconds
    while PidFile(settings.server.pid_file).running() == running.pid:
        if time.monotonic() > until:
            raise OperatorError(
                f"pid {running.pid} has not ended within {longest_seconds:.0f} seconds"
            )
        time.sleep(_POLL_SECONDS)
    return running
