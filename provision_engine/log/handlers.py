"""Where a line goes: to a file that several processes append to, or to syslog."""

from __future__ import annotations

import errno
import fcntl
import logging
import logging.handlers
import os
import socket
import time
from contextlib import suppress
from pathlib import Path

from provision_engine import __version__
from provision_engine.config import Log
from provision_engine.errors import OperatorError
from provision_engine.log.formatters import (
    AccessFormatter,
    JsonFormatter,
    RubyFormatter,
    SyslogFormatter,
)

SYSLOG_SOCKET = "/dev/log"
FILE_MODE = 0o640


class LogError(OperatorError):
    """The logs cannot be written as configured; the text is one line that says why."""


def new_handler(component: str, configuration: Log) -> logging.Handler:
    """Return the handler of one component. Raises LogError."""
    if configuration.system == "syslog":
        return _syslog_handler(component, configuration)
    is_text = configuration.format != "json"
    handler = AppendingHandler(configuration.directory / f"{component}.log", is_text)
    handler.setFormatter(_formatter(component, configuration))
    return handler


def _formatter(component: str, configuration: Log) -> logging.Formatter:
    if configuration.format == "json":
        return JsonFormatter(component)
    if component == "api":
        return AccessFormatter(is_extended=configuration.format == "extended")
    return RubyFormatter()


def _syslog_handler(component: str, configuration: Log) -> logging.Handler:
    _check_syslog()
    handler = QuietSyslogHandler(SYSLOG_SOCKET, facility=logging.handlers.SysLogHandler.LOG_DAEMON)
    handler.append_nul = False
    handler.setFormatter(SyslogFormatter(component, _formatter(component, configuration)))
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

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        del record


class AppendingHandler(logging.Handler):
    """Appends whole lines to a file that other processes append to as well.

    Each line is one write to a file opened with O_APPEND, which Linux does not mix with
    others. Before each line one stat tells whether the file was rotated.
    """

    def __init__(self, path: Path, has_first_line: bool = True) -> None:
        super().__init__()
        self._path, self._has_first_line = path, has_first_line
        self._is_torn = False
        self._identity = (0, 0)
        self._descriptor = -1
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._open()
        except OSError as error:
            raise LogError(f"the log {path} cannot be written: {error.strerror}") from error

    def emit(self, record: logging.LogRecord) -> None:
        # A full disk or a missing directory must not fail the request.
        with suppress(OSError):
            self._follow()
            self._write(f"{self.format(record)}\n".encode("utf-8", "backslashreplace"))

    def reopen(self) -> None:
        """Close the file and open the one that has its name now."""
        self.acquire()
        try:
            self._close()
            with suppress(OSError):
                self._open()
        finally:
            self.release()

    def close(self) -> None:
        self.acquire()
        try:
            self._close()
        finally:
            self.release()
        super().close()

    def _follow(self) -> None:
        try:
            now = os.stat(self._path)
        except FileNotFoundError:
            now = None
        if self._descriptor < 0 or now is None or (now.st_dev, now.st_ino) != self._identity:
            self._close()
            self._open()

    def _open(self) -> None:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        descriptor = os.open(self._path, flags, FILE_MODE)
        try:
            self._begin(descriptor)
        except OSError:
            os.close(descriptor)
            raise
        found = os.fstat(descriptor)
        self._descriptor, self._identity = descriptor, (found.st_dev, found.st_ino)

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

    def _write(self, line: bytes) -> None:
        if self._is_torn:
            # The disk became full in the middle of a line: end that one first.
            line = b"\n" + line
        self._is_torn = os.write(self._descriptor, line) < len(line)

    def _close(self) -> None:
        if self._descriptor >= 0:
            with suppress(OSError):
                os.close(self._descriptor)
        self._descriptor = -1
