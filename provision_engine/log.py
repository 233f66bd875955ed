"""The engine's logs: three components, each in a file or under its own name in syslog.

Callers write to `engine`, `cloud` and `access`, ordinary loggers of the standard library.
Whatever a text holds, one event is one line, and no secret of the request is in it.
"""

from __future__ import annotations

import errno
import fcntl
import json
import logging
import logging.handlers
import os
import re
import socket
import time
import traceback
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType

from provision_engine import __version__
from provision_engine.config import Log
from provision_engine.errors import OperatorError

engine = logging.getLogger("provision_engine.engine")
cloud = logging.getLogger("provision_engine.CloudClient")
access = logging.getLogger("provision_engine.api")

# The request that is being worked on; every line of engine.log and CloudClient.log names it.
request_id: ContextVar[str] = ContextVar("request_id", default="")
# What must not be written while that request is worked on.
secrets: ContextVar[tuple[str, ...]] = ContextVar("secrets", default=())

SYSLOG_SOCKET = "/dev/log"
LINE_CHARACTERS = 65_536
FILE_MODE = 0o640

_COMPONENTS = {"engine": engine, "CloudClient": cloud, "api": access}
_LEVELS = (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR)
_NAMES = {
    logging.DEBUG: "DEBUG",
    logging.INFO: "INFO",
    logging.WARNING: "WARN",
    logging.ERROR: "ERROR",
    logging.CRITICAL: "FATAL",
}
_HIDDEN = "***"


class LogError(OperatorError):
    """The logs cannot be written as configured; the text is one line that says why."""


def start(configuration: Log) -> None:
    """Send the three components where the configuration says, from now on.

    May be called again, for another configuration. Raises LogError when the directory
    cannot be written or syslog is not there.
    """
    handlers = {name: _handler(name, configuration) for name in _COMPONENTS}
    stop()
    for name, logger in _COMPONENTS.items():
        logger.addHandler(handlers[name])
        logger.setLevel(_LEVELS[configuration.level])
    # Who called is no matter of severity: the access log is always written.
    access.setLevel(logging.INFO)


def stop() -> None:
    """Close the logs; what is written later is dropped."""
    for logger in _COMPONENTS.values():
        for handler in list(logger.handlers):
            logger.removeHandler(handler)
            handler.close()


def reopen() -> None:
    """Open the files again, as after a rotation (they notice one by themselves too)."""
    for logger in _COMPONENTS.values():
        for handler in logger.handlers:
            if isinstance(handler, AppendingHandler):
                handler.reopen()


@contextmanager
def request(identifier: str) -> Iterator[None]:
    """Within it every line names this request, and its secrets are forgotten afterwards."""
    named, hidden = request_id.set(identifier), secrets.set(())
    try:
        yield
    finally:
        secrets.reset(hidden)
        request_id.reset(named)


def secret(*values: str) -> None:
    """Replace these values by *** in every later line of this request.

    A thread that was started without a copy of the caller's context does not know them.
    """
    secrets.set((*secrets.get(), *(value for value in values if value)))


def answered(
    address: str,
    call: str,
    status: int | str,
    answer_bytes: int | str,
    seconds: float,
    identifier: str = "",
) -> None:
    """Write one line of the access log; `call` is method, path and protocol.

    The request's id stands in the forms that have a place for it: extended and json.
    """
    quoted = call.replace('"', "%22")
    fields = (address, quoted, status, answer_bytes, seconds)
    access.info('%s "%s" %s %s %.4f', *fields, extra={"identifier": identifier})


# ---- what a line may hold --------------------------------------------------------------

_QUOTE = r"(?:\\*[\"']|&quot;|&#34;)"
_SR_AUTH = re.compile(
    rf"(SR_AUTH(?:>(?:<!\[CDATA\[)?|{_QUOTE}?\s*[=:]\s*b?{_QUOTE}?))[A-Za-z0-9+/_-]+=*"
)
_AUTHORIZATION = re.compile(
    r"(authorization[\"']?\s*[:=]\s*[b\"']{0,2}(?:[a-z]+\s+)?)[A-Za-z0-9+/_.~-]+=*", re.IGNORECASE
)
# Directions of writing are no control characters, but they turn a line around on a terminal.
_UNPRINTABLE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufeff]"
)


def redact(text: str) -> str:
    """Return the text with *** for SR_AUTH, Authorization and this request's secrets."""
    # The longest first, lest a short secret leaves the rest of a longer one readable.
    for value in sorted(_spellings(secrets.get()), key=len, reverse=True):
        text = text.replace(value, _HIDDEN)
    if "SR_AUTH" in text:
        text = _SR_AUTH.sub(rf"\1{_HIDDEN}", text)
    if "uthorization" in text or "UTHORIZATION" in text:
        text = _AUTHORIZATION.sub(rf"\1{_HIDDEN}", text)
    return text


def _spellings(values: tuple[str, ...]) -> set[str]:
    """Return the values as they look when quoted for JSON, Python, XML, URLs or templates."""
    spellings = set(values)
    for value in values:
        if value.isascii() and value.isalnum():
            continue
        spellings |= {
            json.dumps(value)[1:-1],
            json.dumps(value, ensure_ascii=False)[1:-1],
            repr(value)[1:-1],
            value.replace('"', '\\"'),
            urllib.parse.quote(value, safe="", errors="replace"),
            value.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;"),
        }
    return spellings


def one_line(text: str) -> str:
    """Return the text with everything that breaks or hides a line escaped visibly."""
    if len(text) > LINE_CHARACTERS:
        text = f"{text[:LINE_CHARACTERS]}… ({len(text)} characters)"
    return text if text.isprintable() else _UNPRINTABLE.sub(_escaped, text)


def _escaped(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape").decode("ascii")


def _message(record: logging.LogRecord) -> str:
    try:
        text = record.getMessage()
    except Exception as error:  # a caller's slip must not cost an answer
        text = f"{record.msg} (cannot be formatted: {error})"
    if record.exc_info and record.exc_info[1] is not None:
        text = f"{text}: {_cause(record.exc_info[1])}"
    return one_line(redact(text))


def _cause(error: BaseException) -> str:
    places = " < ".join(reversed(_places(error.__traceback__)))
    text = f"{type(error).__name__}: {error}"
    behind = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return f"{text} [{places}]" + (f", caused by {_cause(behind)}" if behind else "")


def _places(trace: TracebackType | None) -> list[str]:
    frames = traceback.extract_tb(trace, limit=-12)
    return [f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in frames]


class RubyFormatter(logging.Formatter):
    """`I, [2023-08-28 18:31:50 #2724]  INFO -- 5c2e4955: text`"""

    def format(self, record: logging.LogRecord) -> str:
        name = _NAMES.get(record.levelno, record.levelname)
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(record.created))
        who = one_line(request_id.get())
        return f"{name[0]}, [{when} #{os.getpid()}] {name:>5} -- {who}: {_message(record)}"


class AccessFormatter(logging.Formatter):
    """`127.0.0.1 - - [28/Aug/2023:18:12:12 -0600] "POST /x HTTP/1.1" 201 821 2.3746`

    In the extended form the request's id follows, behind what tools for the common form read.
    """

    def __init__(self, is_extended: bool = False) -> None:
        super().__init__()
        self._is_extended = is_extended

    def format(self, record: logging.LogRecord) -> str:
        when = time.strftime("%d/%b/%Y:%H:%M:%S %z", time.localtime(record.created))
        address, _, rest = _message(record).partition(" ")
        identifier = _identifier(record) if self._is_extended else ""
        return f"{address} - - [{when}] {rest}" + (f" {identifier}" if identifier else "")


def _identifier(record: logging.LogRecord) -> str:
    return one_line(str(getattr(record, "identifier", "")))


class JsonFormatter(logging.Formatter):
    """`{"time": "2023-08-28T18:31:50.123456Z", "component": "engine", "level": "INFO", …}`"""

    def __init__(self, component: str) -> None:
        super().__init__()
        self._component = component

    def format(self, record: logging.LogRecord) -> str:
        moment = datetime.fromtimestamp(record.created, UTC)
        event: dict[str, object] = {
            "time": moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            "component": self._component,
            "level": _NAMES.get(record.levelno, record.levelname),
            "pid": os.getpid(),
        }
        event |= self._told(record)
        return json.dumps(event, ensure_ascii=False)

    def _told(self, record: logging.LogRecord) -> dict[str, object]:
        if self._component != "api" or not isinstance(record.args, tuple):
            return {"request": one_line(request_id.get()), "message": _message(record)}
        names = ("client", "call", "status", "bytes", "seconds")
        fields = dict(zip(names, record.args, strict=False))
        texts = {n: one_line(redact(v)) for n, v in fields.items() if isinstance(v, str)}
        told = {"status": int(str(fields["status"])), "request": _identifier(record)}
        return fields | texts | told


class SyslogFormatter(logging.Formatter):
    """The component and its process, then the severity and the request."""

    def __init__(self, component: str, inner: logging.Formatter | None = None) -> None:
        super().__init__()
        self._component, self._inner = component, inner

    def format(self, record: logging.LogRecord) -> str:
        if isinstance(self._inner, JsonFormatter):
            return f"{self._component}[{os.getpid()}]: {self._inner.format(record)}"
        name = _NAMES.get(record.levelno, record.levelname)
        who = one_line(request_id.get())
        return f"{self._component}[{os.getpid()}]: {name} -- {who}: {_message(record)}"


# ---- where a line goes -----------------------------------------------------------------


def _handler(component: str, configuration: Log) -> logging.Handler:
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
    """Raise LogError when nobody listens; the handler would only begin to drop lines."""
    for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
        with socket.socket(socket.AF_UNIX, kind) as probe:
            reached = probe.connect_ex(SYSLOG_SOCKET)
        if reached != errno.EPROTOTYPE:
            break
    if reached != 0:
        reason = os.strerror(reached)
        raise LogError(f"log.system is syslog, but {SYSLOG_SOCKET} cannot be reached: {reason}")


class QuietSyslogHandler(logging.handlers.SysLogHandler):
    """A syslog that went away or refuses a line must not break a request."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        del record


class AppendingHandler(logging.Handler):
    """Appends whole lines to a file which other processes append to as well.

    Each line is one write to a file opened with O_APPEND, which Linux does not mix with
    others. Before each line one stat tells whether the file was rotated away.
    """

    def __init__(self, path: Path, has_first_line: bool = True) -> None:
        super().__init__()
        self._path, self._has_first_line = path, has_first_line
        self._torn = False
        self._identity = (0, 0)
        self._descriptor = -1
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._open()
        except OSError as error:
            raise LogError(f"the log {path} cannot be written: {error.strerror}") from error

    def emit(self, record: logging.LogRecord) -> None:
        # A full disk or a directory that is gone costs the line, never the request.
        with suppress(OSError):
            self._follow()
            self._write(f"{self.format(record)}\n".encode("utf-8", "backslashreplace"))

    def reopen(self) -> None:
        """Close the file and open whatever has its name now."""
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
        if self._torn:
            # The disk was full in the middle of a line: end that one first.
            line = b"\n" + line
        self._torn = os.write(self._descriptor, line) < len(line)

    def _close(self) -> None:
        if self._descriptor >= 0:
            with suppress(OSError):
                os.close(self._descriptor)
        self._descriptor = -1
