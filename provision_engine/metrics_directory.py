"""The directory in which the processes of one engine keep what they have counted.

The client library for Prometheus wants its name in the environment before it is imported, so
nothing of that library may be imported here.
"""

from __future__ import annotations

import os
from pathlib import Path

VARIABLE = "PROMETHEUS_MULTIPROC_DIR"


def prepare(directory: Path) -> None:
    """Make the directory, without what an engine before this one has counted. Raises OSError."""
    directory.mkdir(mode=0o750, parents=True, exist_ok=True)
    for file in directory.glob("*.db"):
        file.unlink(missing_ok=True)
    os.environ[VARIABLE] = str(directory)


def forget_process(process_id: int) -> None:
    """Drop what only a living process can say, as how many requests it works on."""
    directory = os.environ.get(VARIABLE)
    for file in Path(directory).glob(f"gauge_live*_{process_id}.db") if directory else ():
        file.unlink(missing_ok=True)
