"""The smallest form of the benchmarks works, and leaves nothing behind."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from tests.support.programs import run

ROWS = "read,throughput,create,creates,standby"


def benchmark(*arguments: str) -> Any:
    root = Path(__file__).parents[2]
    done = run(sys.executable, "-m", "benchmarks", "--json", *arguments, cwd=root)
    assert done.stdout.startswith("{"), done.stdout + done.stderr
    return json.loads(done.stdout)


def test_each_row_has_its_figures() -> None:
    smallest = ("--rounds", "1", "--count", "1", "--seconds", "0.1", "--profile", "none")
    figures = benchmark(*smallest, "--rows", ROWS)["figures"]
    assert [figure["unit"] for figure in figures] == [
        *("ms", "ms", "/s", "ms", "ms", "ms", "ms", "ms", "", "ms")
    ]
    assert all(figure["engine"] > 0 for figure in figures)
    assert [figure["ratio"] is not None for figure in figures[:6]] == [True, False, *[True] * 4]


def test_the_memory_of_a_worker_is_measured() -> None:
    figures = benchmark("memory", "--requests", "80", "--users", "2")
    assert len(figures["mb"]) == 10
    assert all(mb > 10 for mb in figures["mb"])
