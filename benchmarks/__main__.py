"""Measure the engine side by side with the bare calls to OpenNebula behind it.

Without --oned, the sandbox is measured with the delays of a real OpenNebula. Everything that a run
creates is removed again, also when it is interrupted.
"""

from __future__ import annotations

import argparse
import os
import platform
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks import figures, memory
from benchmarks.lab import RUNNING_SECONDS, Lab, swept
from benchmarks.processes import engine
from benchmarks.rows import ROWS
from tests.support.installation import Installation, sandbox_process
from tests.support.users import User
from tests.support.waiting import PATIENCE


def main() -> int:
    options = _options()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    PATIENCE.seconds = RUNNING_SECONDS
    if options.what == "memory":
        return memory.main(options.requests, options.users, is_json=options.json)
    with _cloud(options) as cloud, tempfile.TemporaryDirectory() as directory:
        circumstances = _circumstances(cloud, options)
        found: list[figures.Figure] = []
        with engine(cloud, Path(directory) / "engine") as served:
            lab = Lab(
                cloud,
                options.flavour,
                served,
                Path(directory),
                options.rounds,
                options.count,
                options.seconds,
            )
            with swept(lab):
                for row in options.rows:
                    print(f"{row} …", file=sys.stderr, flush=True)
                    found += ROWS[row](lab)
        circumstances["load after"] = _load()
    print(figures.document(circumstances, found) if options.json else _text(circumstances, found))
    return 0


@contextmanager
def _cloud(options: argparse.Namespace) -> Iterator[Installation]:
    if options.oned:
        yield Installation("", options.oned, options.oneflow, options.user)
        return
    measured = ("--latency", "measured", "--timings", "measured")
    delays = measured if options.profile == "measured" else ("--vms-visible-seconds", "0")
    with sandbox_process(options.release, "--hosts", "2000", *delays) as cloud:
        yield cloud


def _circumstances(cloud: Installation, options: argparse.Namespace) -> dict[str, Any]:
    kind = "OpenNebula" if options.oned else f"sandbox {options.release} ({options.profile})"
    return {
        "cloud": f"{kind} {cloud.opennebula.version()}",
        "cores": os.cpu_count(),
        "Python": platform.python_version(),
        "load before": _load(),
    }


def _load() -> float:
    """The load average of the last minute: runnable processes."""
    return round(os.getloadavg()[0], 1)


def _text(circumstances: dict[str, Any], found: list[figures.Figure]) -> str:
    head = ", ".join(f"{name}: {value}" for name, value in circumstances.items())
    return f"{head}\n\n{figures.table(found)}"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "what", nargs="?", choices=("table", "memory"), default="table", help="default: table"
    )
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.add_argument("--oned", help="URL of a real oned, such as http://127.0.0.1:2633/RPC2")
    parser.add_argument("--oneflow", help="URL of its oneflow, such as http://127.0.0.1:2474")
    parser.add_argument("--user", type=User.from_text, help="NAME:PASSWORD of an ordinary user")
    parser.add_argument("--flavour", default="Function", help="a flow template with one role")
    parser.add_argument("--rows", type=_rows, default=list(ROWS), help=",".join(ROWS))
    parser.add_argument("--skip", type=_rows, default=[], help="rows to leave out")
    parser.add_argument("--rounds", type=int, default=4, help="floor and engine take turns")
    parser.add_argument("--count", type=int, default=10, help="creates and deletes")
    parser.add_argument("--seconds", type=float, default=3.0, help="of each measurement of a rate")
    parser.add_argument("--release", default="6.8.0", help="of the sandbox")
    parser.add_argument("--profile", default="measured", choices=("none", "measured"))
    parser.add_argument("--requests", type=int, default=50_000, help="memory: in all")
    parser.add_argument("--users", type=int, default=1_000, help="memory: so many take turns")
    options = parser.parse_args()
    if options.oned and not (options.oneflow and options.user):
        parser.error("--oned needs --oneflow and --user")
    options.rows = [row for row in options.rows if row not in options.skip]
    return options


def _rows(text: str) -> list[str]:
    rows = text.split(",")
    if unknown := [row for row in rows if row not in ROWS]:
        raise argparse.ArgumentTypeError(f"unknown rows {unknown}; known are {', '.join(ROWS)}")
    return rows


if __name__ == "__main__":
    sys.exit(main())
