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

from provision_engine.config import Log
from provision_engine.log.context import request_id
from provision_engine.log.redaction import one_line, redact

_NAMES = {
    logging.DEBUG: "DEBUG",
    logging.INFO: "INFO",
    logging.WARNING: "WARN",
    logging.ERROR: "ERROR",
    logging.CRITICAL: "FATAL",
}


class LineFormatter(logging.Formatter):
    """One line for each event of a component, in the form that the configuration names."""

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
        level, text = _level(record), f"{one_line(request_id.get())}: {_message(record)}"
        if self._is_for_syslog:
            return f"{level} -- {text}"
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(record.created))
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
        "level": _level(record),
        "pid": os.getpid(),
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


def _level(record: logging.LogRecord) -> str:
    return _NAMES.get(record.levelno, record.levelname)


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
    frames = " < ".join(reversed(_frames(error.__traceback__)))
    text = f"{type(error).__name__}: {error}"
    behind = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return f"{text} [{frames}]" + (f", caused by {_cause(behind)}" if behind else "")


def _frames(trace: TracebackType | None) -> list[str]:
    frames = traceback.extract_tb(trace, limit=-12)
    return [f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in frames]
