"""One line on a terminal that shows what the command waits for."""

from __future__ import annotations

import os
import sys
import time

from provision_engine.client import Runtime
from provision_engine.text import one_line

LOOK_SECONDS = 0.5
"""How old a shown state is at most."""
LONG_HOLD_SECONDS = 60.0
"""How long a request may wait if no progress is shown."""


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
