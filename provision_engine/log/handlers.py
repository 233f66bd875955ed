"""Where a line goes, a file of several writers or syslog, and in which form."""

from __future__ import annotations

import errno
import fcntl
import json
import logging
import logging.handlers
import os
import socket
import time
import traceback
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from io import TextIOWrapper
from pathlib import Path

from provision_engine import __version__
from provision_engine.config import Log
from provision_engine.errors import OperatorError
from provision_engine.log.redaction import labels, one_line, redact, request_id

SYSLOG_SOCKET = "/dev/log"
FILE_MODE = 0o640
FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
# As Ruby's logger calls them.
logging.addLevelName(logging.WARNING, "WARN")
logging.addLevelName(logging.CRITICAL, "FATAL")


def new_handler(component: str, configuration: Log) -> logging.Handler:
    """Return the handler of one component. Raises OperatorError."""
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
    """Raise OperatorError when no syslog listens; the handler would silently drop lines."""
    for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
        with socket.socket(socket.AF_UNIX, kind) as probe:
            reached = probe.connect_ex(SYSLOG_SOCKET)
        if reached != errno.EPROTOTYPE:
            break
    if reached != 0:
        reason = os.strerror(reached)
        raise OperatorError(
            f"log.system is syslog, but {SYSLOG_SOCKET} cannot be reached: {reason}"
        )


class QuietSyslogHandler(logging.handlers.SysLogHandler):
    """Drops a line that syslog does not accept: it must not fail a request."""

    append_nul = False
    priority_map = logging.handlers.SysLogHandler.priority_map | {"FATAL": "critical"}

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
            raise OperatorError(f"the log {path} cannot be written: {error.strerror}") from error

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
        descriptor = os.open(self.baseFilename, FLAGS, FILE_MODE)
        with ExitStack() as closing:
            file = closing.enter_context(open(descriptor, "a"))
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


# ---- forms ---------------------------------------------------------------------------


class LineFormatter(logging.Formatter):
    """Writes one line for each event of a component, in the form that the configuration names."""

    def __init__(self, component: str, configuration: Log) -> None:
        super().__init__()
        self._component, self._form = component, configuration.format
        self._is_for_syslog = configuration.system == "syslog"

    def format(self, record: logging.LogRecord) -> str:
        line = self._line(record)
        return f"{self._component}[{os.getpid()}]: {line}" if self._is_for_syslog else line

    def _line(self, record: logging.LogRecord) -> str:
        if self._form == "json":
            return json.dumps(_event(record, self._component), ensure_ascii=False)
        if self._component == "api" and not self._is_for_syslog:
            return _access_line(record, is_extended=self._form == "extended")
        level, text = record.levelname, f"{one_line(request_id.get())}: {_message(record)}"
        if self._is_for_syslog:
            return f"{level} -- {text}"
        when = self.formatTime(record, "%Y-%m-%d %H:%M:%S")
        return f"{level[0]}, [{when} #{os.getpid()}] {level:>5} -- {text}"


def _access_line(record: logging.LogRecord, *, is_extended: bool) -> str:
    """`127.0.0.1 - - [28/Aug/2023:18:12:12 -0600] "POST /x HTTP/1.1" 201 821 2.3746`

    In the extended form the request's id follows, behind what tools for the common form read.
    """
    when = time.strftime("%d/%b/%Y:%H:%M:%S %z", time.localtime(record.created))
    address, _, rest = _message(record).partition(" ")
    line = f"{address} - - [{when}] {rest}"
    return f"{line} {_identifier(record)}".rstrip() if is_extended else line


def _event(record: logging.LogRecord, component: str) -> dict[str, object]:
    """`{"time": "2023-08-28T18:31:50.123456Z", "component": "engine", "level": "INFO", …}`"""
    moment = datetime.fromtimestamp(record.created, UTC)
    event: dict[str, object] = {
        "time": moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "component": component,
        "level": record.levelname,
        "pid": os.getpid(),
        **labels.get(),
    }
    if component != "api" or not isinstance(record.args, tuple):
        return event | {"request": one_line(request_id.get()), "message": _message(record)}
    address, call, status, size_bytes, seconds = record.args
    return event | {
        "client": one_line(redact(str(address))),
        "call": one_line(redact(str(call))),
        "status": int(str(status)),
        "bytes": size_bytes,
        "seconds": seconds,
        "request": _identifier(record),
    }


def _identifier(record: logging.LogRecord) -> str:
    return one_line(str(getattr(record, "identifier", "")))


def _message(record: logging.LogRecord) -> str:
    try:
        text = record.getMessage()
    except Exception as error:  # a mistake of the caller must not fail a request
        text = f"{record.msg} (cannot be formatted: {error})"
    if record.exc_info and record.exc_info[1] is not None:
        text = f"{text}: {_cause(record.exc_info[1])}"
    return one_line(redact(text))


def _cause(error: BaseException) -> str:
    frames = reversed(traceback.extract_tb(error.__traceback__, limit=-12))
    places = " < ".join(f"{Path(f.filename).name}:{f.lineno} {f.name}" for f in frames)
    text = f"{type(error).__name__}: {error} [{places}]"
    behind = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return f"{text}, caused by {_cause(behind)}" if behind else text
