"""Runtimes, flavours, timelines, errors and progress on standard output and standard error."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from provision_engine import durations
from provision_engine.cli.options import common
from provision_engine.cli.output import details, flat, table
from provision_engine.client import ClientError, Flavour, Function, Runtime, Step
from provision_engine.text import one_line

COLUMNS = ("ID", "NAME", "FLAVOUR", "STATE", "ENDPOINT", "EXPIRES", "REASON")
LOOK_SECONDS = 0.5
"""How old a shown state is at most."""
LONG_HOLD_SECONDS = 60.0
"""How long a request may wait if no progress is shown."""
_UNITS = {"MEMORY": " MB", "DISK_SIZE": " MB", "TTL": " s"}


def runtime(shown: Runtime) -> None:
    """One runtime: nothing with -q, its JSON with --json, else a line for each fact."""
    if common().json:
        as_json({"SERVERLESS_RUNTIME": shown.body})
    elif not common().quiet:
        print(table(*_facts(shown)))


def runtimes(shown: Iterable[Runtime]) -> str:
    """Several runtimes: ids with -q, JSON with --json, else a table."""
    if common().quiet:
        return "\n".join(str(entry.id) for entry in shown)
    if common().json:
        return _json([{"SERVERLESS_RUNTIME": entry.body} for entry in shown])
    return table(COLUMNS, *map(_row, shown))


def flavours(shown: Iterable[Flavour]) -> None:
    rows = [
        (
            flavour.name,
            "yes" if flavour.is_deployable else "no",
            flavour.owner or "-",
            *(_sizes(flavour.functions.get(role)) for role in ("FAAS", "DAAS")),
            "; ".join(flavour.findings),
        )
        for flavour in shown
    ]
    print(table(("FLAVOUR", "DEPLOYABLE", "OWNER", "FAAS", "DAAS", "FINDINGS"), *rows))


def timeline(steps: list[Step]) -> None:
    rows = [
        (
            step.at.isoformat().replace("+00:00", "Z"),
            f"+{(step.at - steps[0].at).total_seconds():.0f} s",
            step.name,
            step.role or "-",
        )
        for step in steps
    ]
    print(table(("AT", "AFTER", "STEP", "FUNCTION"), *rows))


def as_json(body: Any) -> None:
    print(_json(body))


def note(text: str, **members: Any) -> None:
    """A remark beside the result, on standard error: a line, or an object with --json."""
    line = json.dumps(members, ensure_ascii=False) if common().json else one_line(text)
    print(line, file=sys.stderr, flush=True)


def error(raised: ClientError) -> None:
    """One line, or several where the details are a log or an object."""
    if common().json:
        members = ("error", "message", "status", "request_id")
        note("", **{name: getattr(raised, name) for name in members})
        return
    lines = details(raised.message)
    where = f" (request {raised.request_id})" if raised.request_id else ""
    title = f"provision-engine: {one_line(raised.error)}"
    if len(lines) > 1:
        print("\n  ".join([f"{title}{where}", *lines]), file=sys.stderr)
    else:
        print(": ".join([title, *lines]) + where, file=sys.stderr)


class Progress:
    """The line: the seconds, and a text. Only a terminal gets it."""

    def __init__(self, text: str) -> None:
        self._is_on = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
        self._start = time.monotonic()
        self._show(text)
        self.hold_seconds = LOOK_SECONDS if self._is_on else LONG_HOLD_SECONDS

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_error: object) -> None:
        self._write("")

    def show(self, runtime: Runtime) -> None:
        """Show the runtime's state and reason."""
        self._show(f"runtime {runtime.id}  {runtime.state}  {runtime.reason}")

    def _show(self, text: str) -> None:
        self._write(one_line(f"{time.monotonic() - self._start:4.0f} s  {text}"))

    def _write(self, line: str) -> None:
        if self._is_on:
            columns = os.get_terminal_size(sys.stderr.fileno()).columns or 80
            print(f"\r\x1b[K{line[: columns - 1]}", end="", file=sys.stderr, flush=True)


def _json(body: Any) -> str:
    return json.dumps(body, indent=2, ensure_ascii=False)


def _row(shown: Runtime) -> tuple[str, ...]:
    return (
        str(shown.id),
        shown.name,
        shown.flavours,
        shown.state,
        shown.faas.endpoint or "-",
        _left(shown.expires),
        shown.reason,
    )


def _facts(shown: Runtime) -> Iterable[tuple[str, str]]:
    """The members of the API, in its own order, behind what matters most."""
    yield from (("ID", str(shown.id)), ("NAME", shown.name), ("STATE", shown.state))
    for path, text in flat(shown.body):
        if path not in ("ID", "NAME"):
            unit = _UNITS.get(path.rpartition(".")[2], "")
            yield path, f"{text or '-'}{unit}"
    if shown.expires:
        yield "EXPIRES", _left(shown.expires)
    if shown.etag:
        yield "ETAG", shown.etag


def _sizes(function: Function | None) -> str:
    if function is None:
        return "-"
    sizes = [(function.cpu, "CPU"), (function.memory_mb, "MB"), (function.disk_size_mb, "MB disk")]
    return ", ".join(f"{size} {unit}" for size, unit in sizes if size is not None) or "-"


def _left(expires: datetime | None) -> str:
    """How long it is until a lease ends."""
    if expires is None:
        return "-"
    left = (expires - datetime.now(UTC)).total_seconds()
    return "over" if left < 1 else f"in {durations.shown(left)}"
