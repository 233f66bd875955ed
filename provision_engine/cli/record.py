"""What a running engine records about itself, in a file beside its pid file.

`stop` and `restart` read it to tell whether this is the engine they are meant to end, `status` to
show the address that is really served, whatever engine.conf says by now.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

from provision_engine import config
from provision_engine.config import Configuration

_BYTES = 65_536


@dataclass(frozen=True)
class Record:
    """A running engine: where it listens, and the file it was configured by."""

    pid: int
    url: str
    configuration: str


def of(configuration: Configuration, pid: int) -> Record:
    return Record(pid, url(configuration), path_of_configuration(configuration))


def url(configuration: Configuration, host: str = "") -> str:
    """Where an engine with this configuration listens, by another name of its host if given."""
    scheme = "https" if configuration.tls.certificate else "http"
    host = host or configuration.host
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{configuration.port}"


def path_of_configuration(configuration: Configuration) -> str:
    """The file, with links resolved; the usual one if there is none and defaults apply."""
    return str((configuration.path or config.DEFAULT_PATH).resolve())


def write(pid_file: Path, record: Record) -> None:
    """Replace the record. An engine that cannot write it runs all the same."""
    with contextlib.suppress(OSError):
        descriptor, name = tempfile.mkstemp(dir=pid_file.parent, prefix=".engine-")
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(asdict(record), file)
        os.chmod(name, 0o644)
        os.replace(name, _path(pid_file))


def read(pid_file: Path, pid: int) -> Record | None:
    """The record of the engine with this pid; None if it wrote none, as 2.0.0 did."""
    try:
        with _path(pid_file).open("rb") as file:
            record = Record(**json.loads(file.read(_BYTES)))
    except (OSError, ValueError, TypeError):
        return None
    return record if record.pid == pid else None


def remove(pid_file: Path, pid: int) -> None:
    """Remove the record of an engine that ends, unless another one has replaced it."""
    if os.getpid() == pid and read(pid_file, pid) is not None:
        with contextlib.suppress(OSError):
            _path(pid_file).unlink()


def _path(pid_file: Path) -> Path:
    return pid_file.with_suffix(".json")
