"""What all commands share when they print: tables, errors in lines, text that is safe to show."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from provision_engine.text import one_line

_SEVERITIES = {"E": "ERROR", "I": "INFO", "D": "DEBUG"}


def table(*rows: Iterable[str]) -> str:
    """Columns as wide as their cells; nothing is padded at the end of a line."""
    lines = [tuple(map(one_line, row)) for row in rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def details(message: Any) -> list[str]:
    """The details of an error as lines, whatever JSON they are."""
    if isinstance(message, Mapping):
        return [f"{name}: {text}" for name, text in flat(message)]
    if isinstance(message, list):
        return [_entry(entry) for entry in message]
    return [one_line(str(message))] if message else []


def flat(value: Any, path: str = "") -> Iterable[tuple[str, str]]:
    """The values inside objects, by path: ("FAAS.CPU", "2")."""
    if isinstance(value, Mapping):
        for name, below in value.items():
            yield from flat(below, f"{path}.{one_line(str(name))}" if path else one_line(str(name)))
    else:
        yield path, "" if value is None else one_line(str(value))


def _entry(entry: Any) -> str:
    """An entry of a service's log: its message, after the time and severity."""
    if not isinstance(entry, Mapping) or "message" not in entry:
        return "; ".join(f"{name}: {text}" if name else text for name, text in flat(entry))
    at, severity = entry.get("timestamp"), str(entry.get("severity", ""))
    moment = f"{datetime.fromtimestamp(at, UTC):%Y-%m-%dT%H:%M:%SZ}" if isinstance(at, int) else ""
    parts = (moment, _SEVERITIES.get(severity, severity), str(entry["message"]).strip())
    return one_line("  ".join(part for part in parts if part))
