"""`provision-engine logs`: shows the three log files as one, in time order."""

from __future__ import annotations

import functools
import gzip
import heapq
import json
import os
import re
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from itertools import chain
from operator import attrgetter
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import click

from provision_engine import log
from provision_engine.cli.options import config_option, configuration, count, moment
from provision_engine.errors import OperatorError

COMPONENTS = ("engine", "CloudClient", "api")
POLL_SECONDS = 0.2
USUAL_LINES = 200
"""How many are shown unless the command line says which."""
LEVELS = {"debug": 0, "info": 1, "warn": 2, "error": 3, "fatal": 4}
FAILED = LEVELS["error"]

_EVENT = re.compile(
    r"[A-Z], \[(\d{4}-\d\d-\d\d)[ T](\d\d:\d\d:\d\d)(?:\.\d+)? #\d+\] +([A-Z]+) -- (\S*): "
)
_ACCESS = re.compile(r'\S+ - - \[([^]]+)\] ".*" (\S+) \S+ \d+\.\d+(?: (\S+))?\s*$')
_LABELLED = re.compile(
    r"(?:Received request to [A-Za-z ]+\d*|Response HTTP Return Code: \d+) \((client=.*)\)$"
)
"""Nothing that a client chose comes before the labels."""
_LABEL = re.compile(r'(\w+)=("(?:[^"\\]|\\.)*"|[^ "]+)')
_FIRST_LINE = "# Logfile created on "


class Entry(NamedTuple):
    """One line."""

    at: float
    """Unix time."""
    component: str
    request: str
    text: str
    level: int = LEVELS["info"]
    """A response with a status from 500 on is an error."""
    labels: Mapping[str, str] = {}
    """The client, the user and the runtime, as far as this line names them."""


@dataclass
class Wanted:
    """Which lines are shown."""

    request: str | None
    since: float
    level: int
    passed: dict[Callable[[Entry], bool], set[str]]
    """Tests that a line of each request has to pass, and the requests that are known to do so."""

    def notice(self, entry: Entry) -> None:
        """Remember the request of a line for each test that it passes."""
        for test, requests in self.passed.items():
            if entry.request and test(entry):
                requests.add(entry.request)

    def shows(self, entry: Entry) -> bool:
        return (
            self.request in (None, entry.request)
            and entry.at >= self.since
            and entry.level >= self.level
            and all(entry.request in known or test(entry) for test, known in self.passed.items())
        )


@click.command(
    epilog="""\b
Exit code: 0; 1 if there is no such line; 2 if the command line is wrong.
Every response of the engine carries the id of its request as X-Request-ID.""",
)
@config_option
@click.option("--request", metavar="REQUEST", help="Only the lines of this request.")
@click.option("--user", metavar="NAME", help="Only requests of this user of OpenNebula.")
@click.option("--runtime", type=click.IntRange(min=0), metavar="ID", help="Only its requests.")
@click.option("--errors", is_flag=True, help="Only requests that failed: an error, or 5xx.")
@click.option("--since", type=moment, metavar="TIME", help="Only later lines: 10m, 2h, or a date.")
@click.option("--level", type=click.Choice(list(LEVELS), case_sensitive=False), help="At least.")
@click.option(
    "-n",
    "--lines",
    type=count,
    metavar="COUNT",
    help=f"Only the last ones (default without any option that selects lines: {USUAL_LINES}).",
)
@click.option("--follow", "-f", is_flag=True, help="Keep showing new lines.")
@click.option("--rotated", is_flag=True, help="Include the rotated files.")
def logs(lines: int | None, follow: bool, rotated: bool, **selection: Any) -> int:
    """Show the three log files as one, in time order.

    Options that name requests show all lines of those that have a line like that.

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
    wanted = _wanted(**selection)
    is_selective = rotated or any(v is not None and v is not False for v in selection.values())
    try:
        if wanted.passed:
            for entry in _written(directory, _files(directory), rotated):
                wanted.notice(entry)
        files = _files(directory)
        found = filter(wanted.shows, _written(directory, files, rotated))
        shown = _print(found if is_selective and not lines else _last(found, lines))
        while follow:
            time.sleep(POLL_SECONDS)
            for entry in _merged({c: iter(new.__next__, None) for c, new in files.items()}):
                wanted.notice(entry)
                _print(filter(wanted.shows, [entry]))
    except BrokenPipeError:
        raise  # an OSError too, but not of a file
    except OSError as error:
        raise OperatorError(f"{error.filename}: cannot be read: {error.strerror}") from error
    return int(shown == 0 and is_selective)


def _wanted(
    *,
    request: str | None,
    user: str | None,
    runtime: int | None,
    errors: bool,
    since: float | None,
    level: str | None,
) -> Wanted:
    tests: list[Callable[[Entry], bool]] = []
    for name, value in (("user", user), ("runtime", runtime)):
        if value is not None:
            tests.append(functools.partial(_is_labelled, name, log.label_text(value)))
    if errors:
        tests.append(lambda entry: entry.level >= FAILED)
    return Wanted(request, since or 0, LEVELS[level or "debug"], {test: set() for test in tests})


def _is_labelled(name: str, value: str, entry: Entry) -> bool:
    return entry.labels.get(name) == value


def parse_line(component: str, line: str) -> Entry | None:
    """Return the entry in one line; None if there is none, as in the first line of a file."""
    line = line.rstrip("\n")
    with suppress(ValueError, KeyError):
        if line.startswith("{"):
            event = json.loads(line)
            at = datetime.fromisoformat(event["time"]).timestamp()
            level = _level(str(event.get("level")), str(event.get("status", "")))
            return Entry(at, component, str(event.get("request", "")), line, level, event)
        if found := _EVENT.match(line):
            at = datetime.fromisoformat(f"{found[1]} {found[2]}").timestamp()
            return Entry(
                at, component, found[4], line, _level(found[3]), _labels(line[found.end() :])
            )
        if found := _ACCESS.match(line):
            at = datetime.strptime(found[1], "%d/%b/%Y:%H:%M:%S %z").timestamp()
            return Entry(at, component, found[3] or "", line, _level(status=found[2]))
    return None


def _level(name: str = "INFO", status: str = "") -> int:
    return FAILED if status.startswith("5") else LEVELS.get(name.lower(), LEVELS["info"])


def _labels(message: str) -> dict[str, str]:
    """Return what the first or the last line of a request says of it."""
    found = _LABELLED.match(message)
    values = _LABEL.findall(found[1]) if found else []
    return {name: json.loads(text) if text[0] == '"' else text for name, text in values}


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


def _files(directory: Path) -> dict[str, Iterator[str | None]]:
    return {component: _lines(directory / f"{component}.log") for component in COMPONENTS}


def _written(
    directory: Path, files: Mapping[str, Iterator[str | None]], rotated: bool
) -> Iterator[Entry]:
    """Yield all entries so far in time order."""
    older = {c: _rotated(directory, c) if rotated else () for c in files}
    return _merged({c: chain(older[c], iter(files[c].__next__, None)) for c in files})


def _merged(files: Mapping[str, Iterable[str]]) -> Iterator[Entry]:
    """Yield the entries of all files in time order."""
    entries = [_entries(component, lines) for component, lines in files.items()]
    return heapq.merge(*entries, key=attrgetter("at"))


def _last(entries: Iterable[Entry], lines: int | None) -> Iterable[Entry]:
    """Return the last entries, and tell by default that there are others."""
    most = lines or USUAL_LINES
    last = deque(entries, maxlen=most + 1)
    if len(last) > most:
        last.popleft()
        if not lines:
            text = f"Only the last {most} lines: -n, --since and other options show others."
            click.echo(text, err=True)
    return last


def _print(entries: Iterable[Entry]) -> int:
    """Print entries, and return how many there were."""
    number = 0
    for entry in entries:
        print(f"{entry.component:<11} {entry.text}", flush=True)
        number += 1
    return number
