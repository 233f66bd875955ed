"""start, stop, restart and status of the engine, as an operator calls them."""

from __future__ import annotations

import os
import select
import signal
import sys
import time
from contextlib import suppress
from typing import NoReturn

import click

from provision_engine.cli.options import Command, config_option, configuration
from provision_engine.config import Configuration
from provision_engine.errors import OperatorError
from provision_engine.pidfile import PidFile, Record

START_SECONDS = 30.0
STOP_SECONDS = 15.0
"""How long a stop takes with no request in flight, in addition to server.grace_seconds."""
_POLL_SECONDS = 0.02
_READY = "ready"
"""What the engine reports to the process that started it once its port is open."""


@click.command(cls=Command)
@config_option
@click.option("--foreground", is_flag=True, help="Serve in this process, for service managers.")
def start(foreground: bool) -> None:
    """Start the engine, and return once it responds."""
    settings = configuration()
    if foreground:
        # Only the process that serves needs gunicorn and the engine itself.
        from provision_engine import server

        where = f"{settings.url()} (pid {os.getpid()})"
        server.serve(settings, on_ready=lambda: print(f"serving on {where}", flush=True))
    else:
        print(f"started (pid {_start(settings)}) on {settings.url()}")


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
    print(f"restarted {_described(Record.from_configuration(settings, _start(settings)))}")


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


# ---- starting --------------------------------------------------------------------------


def _start(settings: Configuration) -> int:
    """Start an engine as a separate process and return its pid once its port is open."""
    sys.stdout.flush()
    sys.stderr.flush()
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        _become_engine(settings, writing)
    os.close(writing)
    with open(reading, encoding="utf-8") as reports:
        if not select.select([reports], [], [], START_SECONDS)[0]:
            os.kill(pid, signal.SIGTERM)
            raise OperatorError(f"the engine did not respond within {START_SECONDS:.0f} seconds")
        report = reports.read()
    if report != _READY:
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        raise OperatorError(report or f"the engine ended (exit code {code}); its log may say why")
    return pid


def _become_engine(settings: Configuration, writing: int) -> NoReturn:
    """Detach from the terminal and serve; what prevents that is reported to the starter."""
    os.setsid()
    os.chdir("/")
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nowhere, descriptor)
    os.close(nowhere)
    reports = open(writing, "w", encoding="utf-8", errors="backslashreplace")  # noqa: SIM115

    def report(text: str) -> None:
        with suppress(OSError, ValueError):  # the starter has gone, or knows that it is ready
            reports.write(text)
            reports.close()

    try:
        from provision_engine import server

        server.serve(settings, on_ready=lambda: report(_READY))
    except OperatorError as error:
        report(str(error))
    except Exception as error:  # nothing else would show it
        report(f"{type(error).__name__}: {error}")
    sys.exit(1)


# ---- stopping --------------------------------------------------------------------------


def _running(settings: Configuration) -> Record | None:
    """Return the engine that holds the pid file, as it describes itself."""
    pid_file = PidFile(settings.server.pid_file)
    pid = pid_file.running()
    if pid is None:
        return None
    return pid_file.described(pid) or Record.from_configuration(settings, pid)


def _stop(settings: Configuration) -> Record | None:
    """End the engine if one is running, and return it.

    Raises OperatorError if it was started from another configuration, or does not end.
    """
    running = _running(settings)
    if running is None:
        return None
    mine = Record.from_configuration(settings, running.pid).configuration
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
