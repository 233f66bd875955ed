"""The pid file: it identifies the running engine. Beside it is what the engine says about itself.

A running engine holds it locked, and the kernel releases the lock when the process ends. So
neither a file that was left behind nor a process id that was reused is taken for an engine.
"""

from __future__ import annotations

import fcntl
import json
import os
import tempfile
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from provision_engine.config import DEFAULT_PATH, Configuration
from provision_engine.errors import OperatorError

_PID_BYTES, _RECORD_BYTES = 32, 65_536
_GLANCE_SECONDS = 0.2


@dataclass(frozen=True)
class Record:
    """A running engine: where it listens, and the file it was configured by, links resolved.

    Commands compare it with their own configuration, which may be another one by now.
    """

    pid: int
    url: str
    configuration: str

    @classmethod
    def from_configuration(cls, configuration: Configuration, pid: int) -> Record:
        """Return the record of an engine with this configuration; without a file, the usual one."""
        path = (configuration.path or DEFAULT_PATH).resolve()
        return cls(pid, configuration.url(), str(path))


class PidFile:
    """One pid file; `was_stale` is set by `acquire` when a killed engine had left it behind."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._record = path.with_suffix(".json")
        self.was_stale = False
        self._descriptor = -1
        self._owner = 0

    def running(self) -> int | None:
        """Return the process id of the engine that holds the file, None if none does."""
        try:
            descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._unusable("read", error) from error
        try:
            return None if _lock(descriptor, fcntl.LOCK_SH) else _read(descriptor)
        finally:
            os.close(descriptor)

    def acquire(self) -> None:
        """Lock the file and write this process's id into it.

        Raises OperatorError when an engine runs or the file cannot be written.
        """
        while self._descriptor < 0:
            descriptor = self._open()
            if not _lock_patiently(descriptor):
                pid = _read(descriptor)
                os.close(descriptor)
                raise OperatorError(f"the engine is already running (pid {pid})")
            if not self._is_current(descriptor):
                # An engine that just ended has removed this file: start over.
                os.close(descriptor)
                continue
            self._descriptor = descriptor
        self._owner = os.getpid()
        self.was_stale = os.fstat(self._descriptor).st_size > 0
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, f"{self._owner}\n".encode(), 0)

    def describe(self, record: Record) -> None:
        """Write the record of this engine. An engine that cannot write it runs all the same."""
        with suppress(OSError):
            descriptor, name = tempfile.mkstemp(dir=self.path.parent, prefix=".engine-")
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                json.dump(asdict(record), file)
            os.chmod(name, 0o644)
            os.replace(name, self._record)

    def described(self, pid: int) -> Record | None:
        """Return the record of the engine with this pid; None if it wrote none, as 2.0.0 did."""
        try:
            with self._record.open("rb") as file:
                record = Record(**json.loads(file.read(_RECORD_BYTES)))
        except (OSError, ValueError, TypeError):
            return None
        return record if record.pid == pid else None

    def release(self) -> None:
        """Remove the file and the record; does nothing in a process that only inherited them."""
        if self._descriptor < 0 or os.getpid() != self._owner:
            return
        for path in (self._record, self.path):
            with suppress(OSError):
                path.unlink()
        self.forget()

    def forget(self) -> None:
        """Close the file in a child process; the parent still holds the lock."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor = -1

    def _open(self) -> int:
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            return os.open(self.path, flags, 0o644)
        except OSError as error:
            raise self._unusable("written", error) from error

    def _is_current(self, descriptor: int) -> bool:
        try:
            return os.path.samestat(os.fstat(descriptor), os.stat(self.path))
        except FileNotFoundError:
            return False

    def _unusable(self, verb: str, error: OSError) -> OperatorError:
        return OperatorError(
            f"the pid file {self.path} cannot be {verb}: {error.strerror} (see server.pid_file)"
        )


def _lock_patiently(descriptor: int) -> bool:
    """Lock for writing; `running` in another process holds a shared lock for a moment."""
    until = time.monotonic() + _GLANCE_SECONDS
    while not _lock(descriptor, fcntl.LOCK_EX):
        if time.monotonic() > until:
            return False
        time.sleep(_GLANCE_SECONDS / 20)
    return True


def _lock(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _read(descriptor: int) -> int:
    """Return the id in the file; 0 before its owner has written it."""
    content = os.pread(descriptor, _PID_BYTES, 0).strip()
    return int(content) if content.isdigit() else 0
