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
    """One line; entries sort by time, and then by component."""

    at: float
    """Unix time."""
    order: int
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
        tails = _tails(directory)
        shown = _show(merged(directory, rotated), request)
        if follow:
            _show(followed(tails), request)
    except BrokenPipeError:
        raise  # an OSError too, but not of a file
    except OSError as error:
        raise OperatorError(f"{error.filename}: cannot be read: {error.strerror}") from error
    return int(shown == 0 and request is not None)


def merged(directory: Path, with_rotated: bool = False) -> Iterator[Entry]:
    """All entries of the three files in time order, read lazily."""
    return heapq.merge(*(_entries(c, _lines(directory, c, with_rotated)) for c in COMPONENTS))


def followed(tails: Mapping[str, _Tail]) -> Iterator[Entry]:
    """What is written from now on, endlessly, across rotations."""
    while True:
        news = (_entries(component, tail.news()) for component, tail in tails.items())
        yield from heapq.merge(*news)
        time.sleep(POLL_SECONDS)


def parse_line(component: str, line: str) -> Entry | None:
    """The entry in one line; None if there is none, as in the first line of a file."""
    line = line.rstrip("\n")
    order = COMPONENTS.index(component)
    with suppress(ValueError, KeyError):
        if line.startswith("{"):
            event = json.loads(line)
            at = datetime.fromisoformat(event["time"]).timestamp()
            return Entry(at, order, component, str(event.get("request", "")), line)
        if found := _EVENT.match(line):
            at = datetime.fromisoformat(f"{found[1]} {found[2]}").timestamp()
            return Entry(at, order, component, found[3], line)
        if found := _ACCESS.match(line):
            at = datetime.strptime(found[1], "%d/%b/%Y:%H:%M:%S %z").timestamp()
            return Entry(at, order, component, found[2] or "", line)
    return None


# ---- reading ---------------------------------------------------------------------------


def _entries(component: str, lines: Iterable[str]) -> Iterator[Entry]:
    """The entries of one file. A line of any other form belongs to the entry before it."""
    last = Entry(0.0, COMPONENTS.index(component), component, "", "")
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
    older = _by_age(directory.glob(f"{component}.log?*")) if with_rotated else []
    for path in [*older, current]:
        with suppress(FileNotFoundError):
            opened = gzip.open if path.suffix == ".gz" else open
            with opened(path, "rt", encoding="utf-8", errors="replace") as file:
                yield from file


def _by_age(paths: Iterable[Path]) -> list[Path]:
    return sorted(paths, key=lambda path: path.stat().st_mtime)


class _Tail:
    """The end of a growing file, which a rotation may move away and recreate."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._identity, self._at = self._found()
        self._rest = ""

    def news(self) -> Iterator[str]:
        """Whole lines that were added since the last call."""
        identity, size = self._found()
        if identity != self._identity or size < self._at:
            self._identity, self._at, self._rest = identity, 0, ""
        if size <= self._at:
            return
        with suppress(FileNotFoundError), self._path.open("rb") as file:
            file.seek(self._at)
            added = file.read()
            self._at += len(added)
            *lines, self._rest = (self._rest + added.decode("utf-8", "replace")).split("\n")
            yield from lines

    def _found(self) -> tuple[int, int]:
        try:
            found = self._path.stat()
        except FileNotFoundError:
            return 0, 0
        return found.st_ino, found.st_size


def _tails(directory: Path) -> dict[str, _Tail]:
    return {component: _Tail(directory / f"{component}.log") for component in COMPONENTS}


# ---- showing ---------------------------------------------------------------------------


def _show(entries: Iterable[Entry], request: str | None) -> int:
    count = 0
    for entry in entries:
        if request is None or entry.request == request:
            print(f"{entry.component:<11} {entry.text}", flush=True)
            count += 1
    return count
