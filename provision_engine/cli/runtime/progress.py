"""One line on a terminal that shows what the command waits for."""

from __future__ import annotations

import os
import sys
import threading
import time

from provision_engine.client import Runtime
from provision_engine.text import one_line

FRAMES = "|/-\\"
TICK_SECONDS = 0.2
LOOK_SECONDS = 1.0
"""How old a shown state is at most."""
LONG_HOLD_SECONDS = 60.0
"""How long a request may wait if no progress is shown."""


class Progress:
    """The line: a spinner, the seconds, and a text. Only a terminal gets it."""

    def __init__(self, text: str) -> None:
        self._is_on = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
        self._text, self._start = text, time.monotonic()
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._tick, daemon=True)

    @property
    def hold_seconds(self) -> float:
        """How long one request may be held, so that the shown state is not older than that."""
        return LOOK_SECONDS if self._is_on else LONG_HOLD_SECONDS

    def __enter__(self) -> Progress:
        if self._is_on:
            self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        if self._is_on:
            self._is_over.set()
            self._thread.join()
            self._write("")

    def show(self, runtime: Runtime) -> None:
        """Show the runtime's state and reason from now on."""
        self._text = f"runtime {runtime.id}  {runtime.state}  {runtime.reason}"

    def _tick(self) -> None:
        turn = 0
        while not self._is_over.is_set():
            waited = time.monotonic() - self._start
            line = f"{FRAMES[turn % len(FRAMES)]} {waited:4.0f} s  {self._text}"
            self._write(one_line(line)[: _columns() - 1])
            turn += 1
            self._is_over.wait(TICK_SECONDS)

    def _write(self, line: str) -> None:
        sys.stderr.write(f"\r\x1b[K{line}")
        sys.stderr.flush()


def _columns() -> int:
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns or 80
    except OSError:
        return 80
