"""Standard output of the demo: a line for each step, coloured on a terminal."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

COLOURS = {"RUNNING": "32", "PENDING": "33", "UPDATING": "36", "ERROR": "31"}


class Step:
    """A step in progress; its line ends with its result."""

    result = ""


class Screen:
    """Standard output: a line for each step, coloured on a terminal."""

    def __init__(self) -> None:
        self._is_terminal = sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"
        self._has_colours = self._is_terminal and not os.environ.get("NO_COLOR")
        self._began = 0.0
        self._lock = threading.Lock()

    def title(self, text: str) -> None:
        self.say(f"{self._painted('1', text)}\n")

    def say(self, text: str) -> None:
        print(text, flush=True)

    def request(self, call: str, body: dict[str, Any] | None = None) -> None:
        text = f"{call} {json.dumps(body)}" if body else call
        self.say(f"{'':12}{self._painted('2', text)}")

    @contextlib.contextmanager
    def step(self, name: str) -> Iterator[Step]:
        """One step: its name while it lasts, then its duration and result."""
        step, self._began = Step(), time.monotonic()
        if self._is_terminal:
            print(f"{'...':>9}   {name}", end="", flush=True)
        yield step
        self._line(f"{self._painted('1', f'{name:<20}')} {step.result}")

    def state(self, state: str, reason: str) -> None:
        """Show a state."""
        shown = self._painted(COLOURS.get(state, "0"), f"{state:<8}")
        self._line(f"  {shown} {reason}".rstrip())

    def fail(self, text: str, details: Sequence[str]) -> None:
        with contextlib.suppress(OSError):  # the output may be closed
            self._erase()
            sys.stdout.flush()
        print(self._painted("31", f"FAILED: {text}"), file=sys.stderr)
        for line in details:
            print(f"    {line}", file=sys.stderr)

    def _line(self, text: str) -> None:
        spent_ms = (time.monotonic() - self._began) * 1000
        with self._lock:
            self._erase()
            self.say(f"{spent_ms:6.0f} ms   {text}".rstrip())

    def _erase(self) -> None:
        if self._is_terminal:
            print("\r\033[K", end="")

    def _painted(self, colour: str, text: str) -> str:
        return f"\033[{colour}m{text}\033[0m" if self._has_colours else text
