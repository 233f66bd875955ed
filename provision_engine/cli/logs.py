"""`provision-engine logs`: shows the three log files as one, in time order."""

from __future__ import annotations

import gzip
import heapq
import json
import os
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from datetime import datetime
from itertools import chain
from operator import attrgetter
from pathlib import Path
from typing import BinaryIO, NamedTuple

import click

from provision_engine.cli.options import config_option, configuration
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
    files = {component: _lines(directory / f"{component}.log") for component in COMPONENTS}
    try:
        older = {c: _rotated(directory, c) if rotated else () for c in COMPONENTS}
        shown = _show({c: chain(older[c], iter(files[c].__next__, None)) for c in files}, request)
        while follow:
            time.sleep(POLL_SECONDS)
            _show({c: iter(lines.__next__, None) for c, lines in files.items()}, request)
    except BrokenPipeError:
        raise  # an OSError too, but not of a file
    except OSError as error:
        raise OperatorError(f"{error.filename}: cannot be read: {error.strerror}") from error
    return int(shown == 0 and request is not None)


def parse_line(component: str, line: str) -> Entry | None:
    """Return the entry in one line; None if there is none, as in the first line of a file."""
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
    """Yield the entries of one file. A line of any other form belongs to the entry before it."""
    last = Entry(0.0, component, "", "")
    for line in lines:
        if line.startswith(_FIRST_LINE) or not line.strip():
            continue
        if found := parse_line(component, line):
            # Several processes write, and the clock may be set back: times never decrease.
            last = found._replace(at=max(found.at, last.at))
        else:
            last = last._replace(text=line.rstrip("\n"))
        yield last


def _rotated(directory: Path, component: str) -> Iterator[str]:
    """Yield the lines of the rotated files, the oldest first."""
    older = directory.glob(f"{component}.log?*")
    for path in sorted(older, key=lambda path: path.stat().st_mtime):
        with suppress(FileNotFoundError):
            opened = gzip.open if path.suffix == ".gz" else open
            with opened(path, "rt", encoding="utf-8", errors="replace") as file:
                yield from file


def _lines(path: Path) -> Iterator[str | None]:
    """Yield the lines of a file, and None whenever there are no more, across rotations."""
    is_first = True
    while True:
        with suppress(FileNotFoundError), path.open("rb") as file:
            line = b""
            while True:
                line += file.readline()
                # Once all lines were read, one that is incomplete is still being written.
                if line.endswith(b"\n") or (line and is_first):
                    yield line.decode("utf-8", "replace")
                    line = b""
                elif _is_replaced(path, file):
                    break
                else:
                    is_first = False
                    yield None
        yield None


def _is_replaced(path: Path, file: BinaryIO) -> bool:
    """Return whether the path is another file by now, or this one was emptied."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return False
    return found.st_ino != os.fstat(file.fileno()).st_ino or found.st_size < file.tell()


def _show(files: Mapping[str, Iterable[str]], request: str | None) -> int:
    """Print the entries of all files in time order, and return how many there are."""
    entries = [_entries(component, lines) for component, lines in files.items()]
    count = 0
    for entry in heapq.merge(*entries, key=attrgetter("at")):
        if request is None or entry.request == request:
            print(f"{entry.component:<11} {entry.text}", flush=True)
            count += 1
    return count
