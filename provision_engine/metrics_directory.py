"""The directory in which the processes of one engine share what they have counted.

prometheus_client reads its name from the environment when it is imported, so it must not be
imported before `prepare` was called.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

VARIABLE = "PROMETHEUS_MULTIPROC_DIR"


def prepare(directory: Path) -> None:
    """Make an empty directory, without what a previous engine has counted. Raises OSError."""
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(mode=0o750, parents=True, exist_ok=True)
    os.environ[VARIABLE] = str(directory)


def forget_process(process_id: int) -> None:
    """Drop the gauges of a process that has ended, such as its requests in flight."""
    from prometheus_client import multiprocess

    multiprocess.mark_process_dead(process_id)  # type: ignore[no-untyped-call]
