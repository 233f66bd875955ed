"""Prints tables, runtimes, flavours, timelines, errors and progress, all of it safe to show."""

from __future__ import annotations

import functools
import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

import click

from provision_engine.cli.options import SECONDS_OF_UNITS, common
from provision_engine.cli.runtime import exit_codes
from provision_engine.client import ClientError, Flavour, Function, Quota, Runtime, Step
from provision_engine.text import one_line

COLOURS = {"RUNNING": "green", "PENDING": "yellow", "UPDATING": "yellow", "ERROR": "red"}
LAST = "DETAILS"
"""The column of a list with the endpoint of what is running, and with the reason of what is not."""
EXPENDABLE = ("MEM", "CPU", "EXPIRES", "FLAVOUR", "AGE")
"""The columns that a narrow terminal does without, the first one first."""
LEAST_CHARACTERS = 12
"""What is left of a name and of the details, at least, if a terminal is too narrow for all."""
LOOK_SECONDS = 0.5
"""How old a shown state is at most."""
LONG_HOLD_SECONDS = 60.0
"""How long a request may wait if no progress is shown."""
_SEVERITIES = {"E": "ERROR", "I": "INFO", "D": "DEBUG"}
_UNITS = {"MEMORY": " MB", "DISK_SIZE": " MB", "SYSTEM_DISK_SIZE": " MB", "TTL": " s"}
_TIMES = ("FAAS.SINCE", "DAAS.SINCE", "LEASE.EXPIRES", "CREATED")


_json = functools.partial(json.dumps, indent=2, ensure_ascii=False)


def runtime(shown: Runtime) -> None:
    """Print a runtime: nothing with -q, its JSON with --json, else a line for each fact."""
    if common().json:
        as_json({"SERVERLESS_RUNTIME": shown.body})
    elif not common().quiet:
        print(table(*_facts(shown)))


def runtimes(shown: Iterable[Runtime]) -> str:
    """Return several runtimes: ids with -q, JSON with --json, else a table."""
    if common().quiet:
        return "\n".join(str(entry.id) for entry in shown)
    if common().json:
        return _json([{"SERVERLESS_RUNTIME": entry.body} for entry in shown])
    return _fitted([_row(entry) for entry in shown])


def plan(planned: Mapping[str, Any]) -> None:
    """Print what a create would create."""
    if common().json:
        as_json(planned)
    else:
        facts = flat({name: value for name, value in planned.items() if name != "WARNINGS"})
        print(
            table(
                *((path.replace("ROLES.", "").replace("ATTRIBUTES.", ""), t) for path, t in facts)
            )
        )


def quota(shown: Mapping[str, Quota]) -> None:
    if common().json:
        as_json({name: {"USED": of.used, "LIMIT": of.limit} for name, of in shown.items()})
        return
    rows = [
        (name, *("-" if n is None else f"{n:g}{_UNITS.get(name, '')}" for n in (of.used, of.limit)))
        for name, of in shown.items()
    ]
    print(table(("QUOTA", "USED", "LIMIT"), *rows))


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


def note(text: str, **members: Any) -> None:
    """Print a remark beside the result, on standard error: a line, or an object with --json."""
    line = json.dumps(members, ensure_ascii=False) if common().json else one_line(text)
    print(line, file=sys.stderr, flush=True)


def hint(text: str) -> None:
    """Print a next step, for people at a terminal only."""
    if sys.stderr.isatty() and not (common().json or common().quiet):
        note(text)


def error(raised: ClientError) -> int:
    """Print an error, in several lines if it has several details, and return its exit code."""
    # The engine names a remedy as a request.
    lines = [
        line.replace("POST …/", "provision-engine runtime ").replace("?replace=true", "--replace")
        for line in details(raised.message)
    ]
    where = f" (request {raised.request_id})" if raised.request_id else ""
    title = f"provision-engine: {one_line(raised.error)}"
    if common().json:
        members = ("error", "message", "status", "request_id")
        note("", **{name: getattr(raised, name) for name in members})
    elif len(lines) > 1:
        print("\n  ".join([f"{title}{where}", *lines]), file=sys.stderr)
    else:
        print(": ".join([title, *lines]) + where, file=sys.stderr)
    return exit_codes.of(raised)


class Progress:
    """A line with the seconds and a text, which only a terminal gets."""

    def __init__(self, text: str) -> None:
        self._is_on = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
        self._start = time.monotonic()
        self._show(text)
        self.hold_seconds = LOOK_SECONDS if self._is_on else LONG_HOLD_SECONDS

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_error: object) -> None:
        self._show("")

    def show(self, runtime: Runtime) -> None:
        """Show the runtime's state and reason."""
        self._show(f"runtime {runtime.id}  {runtime.state}  {runtime.reason}")

    def _show(self, text: str) -> None:
        if self._is_on:
            line = one_line(f"{time.monotonic() - self._start:4.0f} s  {text}") if text else ""
            columns = os.get_terminal_size(sys.stderr.fileno()).columns or 80
            print(f"\r\x1b[K{line[: columns - 1]}", end="", file=sys.stderr, flush=True)


def as_json(body: Any) -> None:
    print(_json(body))


def _row(shown: Runtime) -> dict[str, str]:
    """Return the cells by column; the sizes are those of both functions together."""
    functions = shown.functions.values()
    reason = shown.reason if shown.daas else shown.faas.reason
    return {
        "ID": str(shown.id),
        "OWNER": shown.owner,
        "NAME": shown.name,
        "FLAVOUR": shown.flavours,
        "STATE": shown.state,
        "AGE": _relative(shown.created).removesuffix(" ago"),
        "CPU": str(sum(one.cpu or 0 for one in functions)),
        "MEM": _size(sum(one.memory_mb or 0 for one in functions)),
        "EXPIRES": _relative(shown.expires),
        LAST: (shown.faas.endpoint if shown.state == "RUNNING" else reason) or "-",
    }


def _fitted(rows: list[dict[str, str]]) -> str:
    """Return a table that is as wide as the terminal at most: columns are left out, cells cut."""
    if not rows:
        return "No runtimes"
    rows = [{name: one_line(cell) for name, cell in row.items()} for row in rows]
    widths = {name: max(len(name), *(len(row[name]) for row in rows)) for name in rows[0]}
    if not any(row["OWNER"] for row in rows):
        del widths["OWNER"]
    if sys.stdout.isatty():
        columns = os.get_terminal_size(sys.stdout.fileno()).columns or 80
        expendable = iter(EXPENDABLE)
        least = 2 * LEAST_CHARACTERS
        while (room := columns - 2 - _fixed(widths)) < least and (name := next(expendable, "")):
            del widths[name]
        widths["NAME"] = min(widths["NAME"], max(LEAST_CHARACTERS, room - widths[LAST]))
        widths[LAST] = max(room - widths["NAME"], LEAST_CHARACTERS)
    for row in rows:
        row["NAME"] = _cut(row["NAME"], widths["NAME"], widths["NAME"] // 2)
        row[LAST] = _cut(row[LAST], widths[LAST], 0)
    return table(widths, *([row[name] for name in widths] for row in rows), paint=_painted)


def _fixed(widths: Mapping[str, int]) -> int:
    """Return the width of all columns but those that may be cut."""
    return sum(width + 2 for name, width in widths.items() if name not in ("NAME", LAST))


def _cut(text: str, width: int, end: int) -> str:
    """Return so many characters of a text, so many of them from its end."""
    return text if len(text) <= width else f"{text[: width - end - 1]}…{text[len(text) - end :]}"


def _painted(cell: str) -> str:
    colour = COLOURS.get(cell.strip()) if sys.stdout.isatty() else None
    return click.style(cell, fg=colour) if colour and not os.environ.get("NO_COLOR") else cell


def _facts(shown: Runtime) -> Iterable[tuple[str, str]]:
    """Yield the members of the API, in its own order, behind what matters most."""
    yield from (("ID", str(shown.id)), ("NAME", shown.name), ("STATE", shown.state))
    for path, text in flat(shown.body):
        if path not in ("ID", "NAME"):
            unit = _UNITS.get(path.rpartition(".")[2], "")
            if path in _TIMES and text:
                unit = f" ({_relative(datetime.fromisoformat(text))})"
            yield path, f"{text or '-'}{unit}"
    if shown.etag:
        yield "ETAG", shown.etag


def duration(seconds: float) -> str:
    """Return a duration in its largest unit that it fills at least twice: 45s, 12m, 3h, 9d."""
    unit = next((unit for unit in "dhm" if seconds >= 2 * SECONDS_OF_UNITS[unit]), "s")
    return f"{int(seconds // SECONDS_OF_UNITS[unit])}{unit}"


def _sizes(function: Function | None) -> str:
    if function is None:
        return "-"
    sizes = [(function.cpu, "CPU"), (function.memory_mb, "MB"), (function.disk_size_mb, "MB disk")]
    return ", ".join(f"{size} {unit}" for size, unit in sizes if size is not None) or "-"


def _size(megabytes: int) -> str:
    """Return a size as options take it: 512M, 1G, 1.5G."""
    return f"{megabytes / 1024:g}G" if megabytes % 512 == 0 and megabytes > 512 else f"{megabytes}M"


def _relative(moment: datetime | None) -> str:
    """Return when that was or will be, as seen from now."""
    if moment is None:
        return "-"
    past = (datetime.now(UTC) - moment).total_seconds()
    return f"{duration(past)} ago" if past >= 0 else f"in {duration(-past)}"


# ---- tables and details ----------------------------------------------------------------


def table(*rows: Iterable[str], paint: Callable[[str], str] = str) -> str:
    """Return columns as wide as their cells; nothing is padded at the end of a line."""
    lines = [tuple(map(one_line, row)) for row in rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(paint(f"{cell:<{w}}") for cell, w in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def details(message: Any) -> list[str]:
    """Return the details of an error as lines, whatever JSON they are."""
    if isinstance(message, Mapping):
        return [f"{name}: {text}" for name, text in flat(message)]
    if isinstance(message, list):
        return [_entry(entry) for entry in message]
    return [one_line(str(message))] if message else []


def flat(value: Any, path: str = "") -> Iterable[tuple[str, str]]:
    """Yield the values inside objects, by path: ("FAAS.CPU", "2")."""
    if isinstance(value, list):
        value = {str(number): entry for number, entry in enumerate(value)}
    if isinstance(value, Mapping):
        for name, below in value.items():
            yield from flat(below, f"{path}.{one_line(str(name))}" if path else one_line(str(name)))
    else:
        yield path, "" if value is None else one_line(str(value))


def _entry(entry: Any) -> str:
    """Return an entry of a service's log: its message, after the time and severity."""
    if not isinstance(entry, Mapping) or "message" not in entry:
        return "; ".join(f"{name}: {text}" if name else text for name, text in flat(entry))
    at, severity = entry.get("timestamp"), str(entry.get("severity", ""))
    moment = f"{datetime.fromtimestamp(at, UTC):%Y-%m-%dT%H:%M:%SZ}" if isinstance(at, int) else ""
    parts = (moment, _SEVERITIES.get(severity, severity), str(entry["message"]).strip())
    return one_line("  ".join(part for part in parts if part))
