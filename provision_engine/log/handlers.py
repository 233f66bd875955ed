"""Where a line goes: to a file that several processes append to, or to syslog."""

from __future__ import annotations

import errno
import fcntl
import logging
import logging.handlers
import os
import socket
import time
from contextlib import ExitStack, suppress
from io import TextIOWrapper
from pathlib import Path

from provision_engine import __version__
from provision_engine.config import Log
from provision_engine.errors import OperatorError
from provision_engine.log.formatters import LineFormatter

SYSLOG_SOCKET = "/dev/log"
FILE_MODE = 0o640


class LogError(OperatorError):
    """The logs cannot be written as configured; the text is one line that says why."""


def new_handler(component: str, configuration: Log) -> logging.Handler:
    """Return the handler of one component. Raises LogError."""
    handler: logging.Handler
    if configuration.system == "syslog":
        _check_syslog()
        handler = QuietSyslogHandler(SYSLOG_SOCKET, facility=QuietSyslogHandler.LOG_DAEMON)
    else:
        path = configuration.directory / f"{component}.log"
        handler = AppendingHandler(path, has_first_line=configuration.format != "json")
    handler.setFormatter(LineFormatter(component, configuration))
    return handler


def _check_syslog() -> None:
    """Raise LogError when no syslog listens; the handler would silently drop lines."""
    for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
        with socket.socket(socket.AF_UNIX, kind) as probe:
            reached = probe.connect_ex(SYSLOG_SOCKET)
        if reached != errno.EPROTOTYPE:
            break
    if reached != 0:
        reason = os.strerror(reached)
        raise LogError(f"log.system is syslog, but {SYSLOG_SOCKET} cannot be reached: {reason}")


class QuietSyslogHandler(logging.handlers.SysLogHandler):
    """Drops a line that syslog does not accept: it must not fail a request."""

    append_nul = False

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        del record


class AppendingHandler(logging.handlers.WatchedFileHandler):
    """Appends whole lines to a file that other processes append to as well.

    Each line is one write to a file opened with O_APPEND, which Linux does not mix with
    others. Before each line one stat tells whether the file was rotated.
    """

    def __init__(self, path: Path, has_first_line: bool = True) -> None:
        self._has_first_line, self._is_torn = has_first_line, False
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            super().__init__(path)
        except OSError as error:
            raise LogError(f"the log {path} cannot be written: {error.strerror}") from error

    def emit(self, record: logging.LogRecord) -> None:
        line = f"{self.format(record)}\n".encode("utf-8", "backslashreplace")
        # A full disk or a missing directory must not fail the request.
        with suppress(OSError):
            self.reopenIfNeeded()
            self.stream = self.stream or self._open()
            if self._is_torn:
                # The disk became full in the middle of a line: end that one first.
                line = b"\n" + line
            self._is_torn = os.write(self.stream.fileno(), line) < len(line)

    def _open(self) -> TextIOWrapper:
        with ExitStack() as closing:
            file = closing.enter_context(open(self.baseFilename, "a", opener=_open_private))
            self._begin(file.fileno())
            closing.pop_all()
            return file

    def _begin(self, descriptor: int) -> None:
        """Write the first line of an empty file; the lock lets one process do so."""
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        try:
            if self._has_first_line and os.fstat(descriptor).st_size == 0:
                when = time.strftime("%Y-%m-%d %H:%M:%S %z")
                line = f"# Logfile created on {when} by provision-engine/{__version__}\n"
                os.write(descriptor, line.encode())
        finally:
            fcntl.flock(descriptor, fcntl.LOCK_UN)


def _open_private(path: str, flags: int) -> int:
    return os.open(path, flags, FILE_MODE)
