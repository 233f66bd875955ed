"""`provision-engine logs`: shows the three log files as one, in time order."""

from __future__ import annotations

import gzip
import heapq
import json
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import click

from provision_engine.cli.options import Command, config_option, configuration
from provision_engine.errors import OperatorError

COMPONENTS = ("engine", "CloudClient", "api")
POLL_SECONDS = 0.2

_EVENT = re.compile(
    r"[A-Z], \[(\d{4}-\d\d-\d\d)[ T](\d\d:\d\d:\d\d)(?:\.\d+)? #\d+\] +[A-Z]+ -- (\S*): "
)
_ACCESS = re.compile(r'\S+ - - \[([^]]+)\] ".*" \S+ \S+ \d+\.\d+(?: (\S+))?\s*$')
_FIRST_LINE = "# Logfile created on "


class Entry(NamedTuple):
    """One line."""

    at: float
    """Unix time."""
    component: str
    request: str
    text: str


@click.command(
    cls=Command,
    epilog="""\b
Exit code: 0; 1 if no line belongs to the request; 2 if the command line is wrong.
Every response of the engine carries the id of its request as X-Request-ID.""",
)
@config_option
@click.option("--request", metavar="REQUEST", help="Only the lines of this request.")
@click.option("--follow", "-f", is_flag=True, help="Keep showing new lines.")
@click.option("--rotated", is_flag=True, help="Include the rotated files.")
def logs(request: str | None, follow: bool, rotated: bool) -> int:
    """Show the three log files as one, in time order.

    Text logs have times in seconds: within a second, the lines of engine.log come first, then those
    of CloudClient.log and api.log. With log.format: json the order is exact. Lines of api.log name
    their request with log.format: extended or json.
    """
    settings = configuration().log
    directory = settings.directory
    if settings.system == "syslog":
        raise OperatorError("log.system is syslog: try journalctl SYSLOG_IDENTIFIER=engine")
    if not directory.is_dir():
        raise OperatorError(
            f"{directory}: there is no such directory; was the engine ever started?"
        )
    shown = 0
    try:
        # Before the files are read, so that nothing written meanwhile is lost.
        tails = {component: _added(directory / f"{component}.log") for component in COMPONENTS}
        for tail in tails.values():
            next(tail)
        shown = _show(
            merged(_entries(c, _lines(directory, c, rotated)) for c in COMPONENTS), request
        )
        if follow:
            _show(followed(tails), request)
    except BrokenPipeError:
        raise  # an OSError too, but not of a file
    except OSError as error:
        raise OperatorError(f"{error.filename}: cannot be read: {error.strerror}") from error
    return int(shown == 0 and request is not None)


def merged(files: Iterable[Iterable[Entry]]) -> Iterator[Entry]:
    """All entries of the three files in time order, and at the same time in that of the files."""
    return heapq.merge(*files, key=lambda entry: entry.at)


def followed(tails: Mapping[str, Iterator[list[str]]]) -> Iterator[Entry]:
    """What is written from now on, endlessly, across rotations."""
    while True:
        yield from merged(_entries(component, next(tail)) for component, tail in tails.items())
        time.sleep(POLL_SECONDS)


def parse_line(component: str, line: str) -> Entry | None:
    """The entry in one line; None if there is none, as in the first line of a file."""
    line = line.rstrip("\n")
    with suppress(ValueError, KeyError):
        if line.startswith("{"):
            event = json.loads(line)
            at = datetime.fromisoformat(event["time"]).timestamp()
            return Entry(at, component, str(event.get("request", "")), line)
        if found := _EVENT.match(line):
            at = datetime.fromisoformat(f"{found[1]} {found[2]}").timestamp()
            return Entry(at, component, found[3], line)
        if found := _ACCESS.match(line):
            at = datetime.strptime(found[1], "%d/%b/%Y:%H:%M:%S %z").timestamp()
            return Entry(at, component, found[2] or "", line)
    return None


# ---- reading ---------------------------------------------------------------------------


def _entries(component: str, lines: Iterable[str]) -> Iterator[Entry]:
    """The entries of one file. A line of any other form belongs to the entry before it."""
    last = Entry(0.0, component, "", "")
    for line in lines:
        if line.startswith(_FIRST_LINE) or not line.strip():
            continue
        found = parse_line(component, line)
        # Several processes write, and the clock may be set back: times never decrease.
        last = (
            found._replace(at=max(found.at, last.at))
            if found
            else last._replace(text=line.rstrip("\n"))
        )
        yield last


def _lines(directory: Path, component: str, with_rotated: bool) -> Iterator[str]:
    current = directory / f"{component}.log"
    older = directory.glob(f"{component}.log?*") if with_rotated else ()
    for path in [*sorted(older, key=lambda path: path.stat().st_mtime), current]:
        with suppress(FileNotFoundError):
            opened = gzip.open if path.suffix == ".gz" else open
            with opened(path, "rt", encoding="utf-8", errors="replace") as file:
                yield from file


def _added(path: Path) -> Iterator[list[str]]:
    """Each time the whole lines that were added since, also to a file that takes its place."""
    (identity, at), rest = _state(path), ""
    while True:
        lines: list[str] = []
        current, size = _state(path)
        if current != identity or size < at:
            identity, at, rest = current, 0, ""
        if size > at:
            with suppress(FileNotFoundError), path.open("rb") as file:
                file.seek(at)
                added = file.read()
                at += len(added)
                *lines, rest = (rest + added.decode("utf-8", "replace")).split("\n")
        yield lines


def _state(path: Path) -> tuple[int, int]:
    """What identifies a file, and its size; zeros if there is none."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return 0, 0
    return found.st_ino, found.st_size


def _show(entries: Iterable[Entry], request: str | None) -> int:
    count = 0
    for entry in entries:
        if request is None or entry.request == request:
            print(f"{entry.component:<11} {entry.text}", flush=True)
            count += 1
    return count
