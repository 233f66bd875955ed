"""A user at a command line, with a real engine on a sandbox."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import subprocess
import sys
import termios
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from provision_engine.sandbox import Sandbox
from tests.support.waiting import WAIT_SECONDS

from .cli_engine import Engine, Ran, call

NO_HOST = "FREE_CPU > 1000000"
USER, PASSWORD = "devuser", "devpass"


class RealEngine(Engine):
    """A real engine, not one with a stub application."""

    def command(self, *arguments: str) -> list[str]:
        return [
            sys.executable,
            "-m",
            "provision_engine",
            "--config",
            str(self.file),
            *arguments,
        ]


@dataclass
class Desk:
    """A user at a command line, with an engine and access to its sandbox."""

    url: str
    home: Path
    sandbox: Sandbox

    def environment(self, **further: str) -> dict[str, str]:
        kept = {n: v for n, v in os.environ.items() if n not in ("ONE_AUTH", "HOME")}
        return {**kept, "HOME": str(self.home), "PROVISION_ENGINE_URL": self.url, **further}

    def run(self, *arguments: str, **environment: str) -> Ran:
        return call("runtime", *arguments, **{"ONE_AUTH": None, **self.environment(**environment)})

    def line(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "provision_engine", "runtime", *arguments]

    def done(self, *arguments: str) -> str:
        """What it prints if it succeeds, without the id of a runtime that it waits for."""
        ran = self.run(*arguments)
        assert ran.returncode == 0, ran.stderr
        assert re.fullmatch(r'(created runtime \d+ .*|\{"created": \d+\})?\n?', ran.stderr)
        return ran.stdout

    def json(self, *arguments: str) -> Any:
        return json.loads(self.done(*arguments, "--json"))

    def made(self, *arguments: str) -> dict[str, Any]:
        """A runtime of the flavour nature."""
        found: dict[str, Any] = self.json("create", "nature", *arguments)["SERVERLESS_RUNTIME"]
        return found

    def on_terminal(
        self,
        *arguments: str,
        typed: Sequence[tuple[str, str]] = (),
        columns: int = 80,
        **environment: str,
    ) -> tuple[int, str]:
        """Exit code and terminal output of a command whose prompts are answered."""
        ours, theirs = pty.openpty()
        termios.tcsetwinsize(theirs, (24, columns))
        process = subprocess.Popen(
            self.line(*arguments),
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env=self.environment(**environment),
            start_new_session=True,
        )
        os.close(theirs)
        shown = ""
        for question, answer in (*typed, ("", "")):
            # A terminal forgets what is typed before it is asked for.
            while question not in shown.rpartition("\n")[2] or not question:
                if not (chunk := _read(ours)):
                    break
                shown += chunk
            else:
                os.write(ours, f"{answer}\n".encode())
        os.close(ours)
        return process.wait(60), shown


def _read(terminal: int) -> str:
    """The next output, empty at the end. Fails if there is none in time."""
    ready, _, _ = select.select([terminal], [], [], WAIT_SECONDS)
    assert ready, "the terminal shows nothing"
    try:
        return os.read(terminal, 65_536).decode()
    except OSError:  # the other end is closed
        return ""
