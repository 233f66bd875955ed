"""Runtimes, flavours, timelines and errors on standard output and standard error."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from provision_engine import durations
from provision_engine.cli.output import details, facts, table
from provision_engine.client import ClientError, Flavour, Function, Runtime, Step
from provision_engine.text import one_line

COLUMNS = ("ID", "NAME", "FLAVOUR", "STATE", "ENDPOINT", "EXPIRES", "REASON")


def runtime(shown: Runtime, options: argparse.Namespace) -> None:
    """One runtime: nothing with -q, its JSON with --json, else a line for each fact."""
    if options.json:
        as_json({"SERVERLESS_RUNTIME": shown.body})
    elif not getattr(options, "quiet", False):
        print(facts(_facts(shown)))


def runtimes(shown: Iterable[Runtime], options: argparse.Namespace) -> str:
    """Several runtimes: ids with -q, JSON with --json, else a table."""
    if options.quiet:
        return "\n".join(str(entry.id) for entry in shown)
    if options.json:
        return _json([{"SERVERLESS_RUNTIME": entry.body} for entry in shown])
    return table(COLUMNS, [_row(entry) for entry in shown])


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
    print(table(("FLAVOUR", "DEPLOYABLE", "OWNER", "FAAS", "DAAS", "FINDINGS"), rows))


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
    print(table(("AT", "AFTER", "STEP", "FUNCTION"), rows))


def as_json(body: Any) -> None:
    print(_json(body))


def note(options: argparse.Namespace, text: str, **members: Any) -> None:
    """A remark beside the result, on standard error: a line, or an object with --json."""
    line = json.dumps(members, ensure_ascii=False) if options.json else one_line(text)
    print(line, file=sys.stderr, flush=True)


def error(raised: ClientError, options: argparse.Namespace) -> None:
    """One line, or several where the details are a log or an object."""
    if options.json:
        members = ("error", "message", "status", "request_id")
        note(options, "", **{name: getattr(raised, name) for name in members})
        return
    lines = details(raised.message)
    where = f" (request {raised.request_id})" if raised.request_id else ""
    title = f"provision-engine: {one_line(raised.error)}"
    if len(lines) > 1:
        print("\n  ".join([f"{title}{where}", *lines]), file=sys.stderr)
    else:
        print(": ".join([title, *lines]) + where, file=sys.stderr)


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
    yield "ID", str(shown.id)
    yield "NAME", shown.name
    yield "STATE", shown.state
    if shown.created:
        yield "CREATED", shown.created.isoformat()
    yield "SERVICE_ID", _number(shown.service_id)
    for role, function in shown.functions.items():
        yield from ((f"{role}.{name}", text) for name, text in _function_facts(function))
    yield from ((f"SCHEDULING.{name}", text) for name, text in shown.scheduling.items())
    yield from ((f"DEVICE_INFO.{name}", str(value)) for name, value in shown.device_info.items())
    if shown.lease_seconds is not None:
        yield "LEASE.TTL", f"{shown.lease_seconds} s"
        yield "EXPIRES", _left(shown.expires)
    if shown.etag:
        yield "ETAG", shown.etag


def _function_facts(function: Function) -> Iterable[tuple[str, str]]:
    shown = [
        ("FLAVOUR", function.flavour),
        ("STATE", function.state),
        ("REASON", function.reason),
        ("REASON_CODE", function.reason_code),
        ("SINCE", function.since.isoformat() if function.since else ""),
        ("ENDPOINT", function.endpoint or "-"),
        ("VM_ID", _number(function.vm_id)),
        ("CPU", _number(function.cpu)),
        ("MEMORY", f"{_number(function.memory_mb)} MB"),
        ("DISK_SIZE", f"{_number(function.disk_size_mb)} MB"),
    ]
    return [(name, text) for name, text in shown if text]


def _sizes(function: Function | None) -> str:
    if function is None:
        return "-"
    sizes = [(function.cpu, "CPU"), (function.memory_mb, "MB"), (function.disk_size_mb, "MB disk")]
    return ", ".join(f"{size} {unit}" for size, unit in sizes if size is not None) or "-"


def _number(value: int | None) -> str:
    return "-" if value is None else str(value)


def _left(expires: datetime | None) -> str:
    """How long it is until a lease ends."""
    if expires is None:
        return "-"
    left = (expires - datetime.now(UTC)).total_seconds()
    return "over" if left < 1 else f"in {durations.shown(left)}"
