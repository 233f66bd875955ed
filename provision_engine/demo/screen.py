"""Standard output of the demo: a line for each step, coloured on a terminal."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Iterator

import click

COLOURS = {"RUNNING": "green", "PENDING": "yellow", "UPDATING": "cyan", "ERROR": "red"}
_is_terminal = sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"
_has_colours = _is_terminal and not os.environ.get("NO_COLOR")


class Step:
    """A step in progress; its line ends with its result."""

    def __init__(self) -> None:
        self.result, self._began = "", time.monotonic()

    def line(self, text: str) -> None:
        """Print a line with the time since the step began."""
        erased = "\r\033[K" if _is_terminal else ""
        spent_ms = (time.monotonic() - self._began) * 1000
        say(f"{erased}{spent_ms:6.0f} ms   {text}".rstrip())

    def state(self, state: str, reason: str) -> None:
        self.line(f"  {painted(f'{state:<8}', COLOURS.get(state))} {reason}".rstrip())


@contextlib.contextmanager
def step(name: str) -> Iterator[Step]:
    """One step: its name while it lasts, then its duration and result."""
    if _is_terminal:
        print(f"{'...':>9}   {name}", end="", flush=True)
    one = Step()
    yield one
    one.line(f"{painted(f'{name:<20}', bold=True)} {one.result}")


def say(text: str) -> None:
    print(text, flush=True)


def fail(text: str, details: list[str]) -> None:
    with contextlib.suppress(OSError):  # the output may be closed
        print("\r\033[K" if _is_terminal else "", end="", flush=True)
    print(painted(f"FAILED: {text}", "red"), *details, sep="\n    ", file=sys.stderr)


def painted(text: str, colour: str | None = None, **style: bool) -> str:
    return click.style(text, fg=colour, **style) if _has_colours else text
