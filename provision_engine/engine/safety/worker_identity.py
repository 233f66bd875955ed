"""Which process works on a runtime (its document's member WORKER), and whether it still lives.

An intent or a lock whose process has gone need not be waited for. That can only be told on the
same host and in the same process namespace; of any other process nothing is known.
"""

from __future__ import annotations

import functools
import os
import re
import uuid
from pathlib import Path

_PROC = Path("/proc")
# The owner of a document may write anything there.
_IDENTITY = re.compile(r"(?P<host>\S+) (?P<process>[0-9]{1,7}) (?P<started_at>\S+)")


def current() -> str:
    """Return this process: host since its boot, namespace, process id and start."""
    return f"{_host()} {os.getpid()} {_started_at(os.getpid())}"


def is_gone(identity: str) -> bool:
    """Return whether the process does not exist any more; False where that cannot be told."""
    found = _IDENTITY.fullmatch(identity)
    if found is None or found["host"] != _host():
        return False
    try:
        os.kill(int(found["process"]), 0)
    except ProcessLookupError:
        return True
    except OSError:  # it exists, and belongs to another user
        pass
    started_at = _started_at(int(found["process"]))
    return started_at is not None and started_at != found["started_at"]


@functools.lru_cache(maxsize=1)
def _host() -> str:
    """Return the host and namespace; unique to this call where the system does not tell them."""
    try:
        boot = (_PROC / "sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}/{os.stat(_PROC / 'self/ns/pid').st_ino}"
    except OSError:
        return f"unknown/{uuid.uuid4()}"


def _started_at(process: int) -> str | None:
    """Return when a process started, in clock ticks since the boot; None if it is not told."""
    try:
        stat = (_PROC / str(process) / "stat").read_text()
    except OSError:
        return None
    # The second field is the command in parentheses, and may hold anything.
    fields = stat.rpartition(")")[2].split()
    return "ended" if fields[0] in ("Z", "X") else fields[19]
