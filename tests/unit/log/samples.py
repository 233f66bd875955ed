"""Reading a log in the tests."""

from __future__ import annotations

import re
from pathlib import Path

from provision_engine import __version__

HEADER = re.compile(
    r"# Logfile created on \d{4}-\d\d-\d\d \d\d:\d\d:\d\d [+-]\d{4} by provision-engine/"
    + re.escape(__version__)
)


def lines(directory: Path, component: str = "engine") -> list[str]:
    """The lines of a log without the first, which is checked."""
    first, *rest = (directory / f"{component}.log").read_bytes().decode().split("\n")
    assert HEADER.fullmatch(first)
    assert rest.pop() == ""
    return rest
