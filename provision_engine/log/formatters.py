"""The formats of a line: Ruby's logger, the common access log, JSON, syslog."""

from __future__ import annotations

import json
import logging
import os
import time
import traceback
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType

from provision_engine.log.context import request_id
from provision_engine.log.redaction import one_line, redact

_NAMES = {
    logging.DEBUG: "DEBUG",
    logging.INFO: "INFO",
    logging.WARNING: "WARN",
    logging.ERROR: "ERROR",
    logging.CRITICAL: "FATAL",
}


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
        result = {"status": int(str(fields["status"])), "request": _identifier(record)}
        return fields | texts | result


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


def _message(record: logging.LogRecord) -> str:
    try:
        text = record.getMessage()
    except Exception as error:  # a mistake of the caller must not fail a request
        text = f"{record.msg} (cannot be formatted: {error})"
    if record.exc_info and record.exc_info[1] is not None:
        text = f"{text}: {_cause(record.exc_info[1])}"
    return one_line(redact(text))


def _cause(error: BaseException) -> str:
    frames = " < ".join(reversed(_frames(error.__traceback__)))
    text = f"{type(error).__name__}: {error}"
    behind = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return f"{text} [{frames}]" + (f", caused by {_cause(behind)}" if behind else "")


def _frames(trace: TracebackType | None) -> list[str]:
    frames = traceback.extract_tb(trace, limit=-12)
    return [f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in frames]
