"""Which process does something, in a form that tells whether it still lives.

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
# Whoever owns a document may write anything there.
_IDENTITY = re.compile(r"(?P<host>\S+) (?P<process>[0-9]{1,7}) (?P<started_at>\S+)")


def identity() -> str:
    """This process: host since its boot, namespace, process id and when that process started."""
    return f"{_host()} {os.getpid()} {_started_at(os.getpid())}"


def is_gone(identity: str) -> bool:
    """Whether the process certainly does not exist any more; False where nobody can tell."""
    found = _IDENTITY.fullmatch(identity)
    if found is None or found["host"] != _host():
        return False
    try:
        os.kill(int(found["process"]), 0)
    except ProcessLookupError:
        return True
    except OSError:  # it exists, and belongs to somebody else
        pass
    started_at = _started_at(int(found["process"]))
    return started_at is not None and started_at != found["started_at"]


@functools.lru_cache(maxsize=1)
def _host() -> str:
    """Unique to this call where the system does not say, so that nothing is concluded from it."""
    try:
        boot = (_PROC / "sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}/{os.stat(_PROC / 'self/ns/pid').st_ino}"
    except OSError:
        return f"unknown/{uuid.uuid4()}"


def _started_at(process: int) -> str | None:
    """In clock ticks since the boot; None where the system does not tell."""
    try:
        stat = (_PROC / str(process) / "stat").read_text()
    except OSError:
        return None
    # The second field is the command in parentheses, and may hold anything.
    fields = stat.rpartition(")")[2].split()
    return "ended" if fields[0] in ("Z", "X") else fields[19]
