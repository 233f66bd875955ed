"""Starts an engine as a separate process, and waits until it responds."""

from __future__ import annotations

import contextlib
import http.client
import os
import select
import signal
import ssl
import sys
import time
from collections.abc import Callable
from typing import NoReturn

from provision_engine.cli import record
from provision_engine.config import Configuration
from provision_engine.errors import OperatorError

START_SECONDS = 30.0
_POLL_SECONDS = 0.02
_PROBE_SECONDS = 5.0
# What the engine reports to the process that started it once its port is open.
_READY = "ready\n"
_REASON_BYTES = 65_536
# An address that means every interface cannot be connected to.
REACHED_AT = {"0.0.0.0": "127.0.0.1", "::": "::1"}


def serve(
    configuration: Configuration,
    *,
    on_ready: Callable[[], None],
    on_fork: Callable[[], None] = lambda: None,
) -> NoReturn:
    """Serve in this process until it is terminated. Raises OperatorError if it cannot."""
    # Only the process that serves needs gunicorn and the engine itself.
    from provision_engine import server

    pid_file, pid = configuration.server.pid_file, os.getpid()

    def ready() -> None:
        record.write(pid_file, record.of(configuration, pid))
        on_ready()

    try:
        server.serve(configuration, on_ready=ready, on_fork=on_fork)
    finally:
        record.remove(pid_file, pid)
    sys.exit(0)


def start(configuration: Configuration) -> int:
    """Start an engine as a separate process and return its pid once it responds."""
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


# ---- in the new process ----------------------------------------------------------------


def _become_engine(configuration: Configuration, reports: int) -> NoReturn:
    """Detach from the terminal and serve; what prevents that is reported to the starter."""
    os.setsid()
    os.chdir("/")
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nowhere, descriptor)
    os.close(nowhere)
    try:
        serve(
            configuration,
            on_ready=lambda: _report(reports, _READY),
            on_fork=lambda: os.close(reports),
        )
    except OperatorError as error:
        _report(reports, str(error))
    except Exception as error:  # nothing else would show it
        _report(reports, f"{type(error).__name__}: {error}")
    sys.exit(1)


def _report(reports: int, reason: str) -> None:
    with contextlib.suppress(OSError):
        os.write(reports, reason.encode("utf-8", "backslashreplace")[:_REASON_BYTES])


# ---- in the process that starts it -----------------------------------------------------


def _wait_until_answering(configuration: Configuration, pid: int, reports: int) -> None:
    until = time.monotonic() + START_SECONDS
    is_ready = False
    while time.monotonic() < until:
        if select.select([reports], [], [], _POLL_SECONDS)[0]:
            text = os.read(reports, _REASON_BYTES).decode("utf-8", "replace")
            if text != _READY:  # it has ended
                code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
                if reason := text.removeprefix(_READY):
                    raise OperatorError(reason)
                raise OperatorError(f"the engine ended (exit code {code}); its log may say why")
            is_ready = True
        # Not earlier: workers of an engine that was killed may still respond for a moment.
        if is_ready and _answers(configuration):
            return
    os.kill(pid, signal.SIGTERM)
    raise OperatorError(f"the engine did not respond within {START_SECONDS:.0f} seconds")


def _answers(configuration: Configuration) -> bool:
    host = REACHED_AT.get(configuration.host, configuration.host)
    connection = http.client.HTTPConnection(host, configuration.port, timeout=_PROBE_SECONDS)
    if configuration.tls.certificate is not None:
        # The engine's own certificate names the host that clients use, hardly ever this address.
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        connection = http.client.HTTPSConnection(
            host, configuration.port, timeout=_PROBE_SECONDS, context=context
        )
    with contextlib.closing(connection), contextlib.suppress(OSError, http.client.HTTPException):
        connection.request("GET", "/")
        connection.getresponse().read()
        return True
    return False
