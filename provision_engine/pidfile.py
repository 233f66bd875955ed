"""The pid file: it identifies the running engine.

A running engine holds it locked, and the kernel releases the lock when the process ends. So
neither a file that was left behind nor a process id that was reused is taken for an engine.
"""

from __future__ import annotations

import fcntl
import os
import time
from contextlib import suppress
from pathlib import Path

from provision_engine.errors import OperatorError

_PID_BYTES = 32
_GLANCE_SECONDS = 0.2


class AlreadyRunningError(OperatorError):
    """Another engine holds the file."""


class PidFile:
    """One pid file; `was_stale` is set by `acquire` when a killed engine had left it behind."""

    def __init__(self, path: Path) -> None:
        self.path = path
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

        Raises AlreadyRunningError when an engine runs, OperatorError when the file cannot
        be written.
        """
        while self._descriptor < 0:
            descriptor = self._open()
            if not _lock_patiently(descriptor):
                pid = _read(descriptor)
                os.close(descriptor)
                raise AlreadyRunningError(f"the engine is already running (pid {pid})")
            if not self._is_current(descriptor):
                # An engine that just ended has removed this file: start over.
                os.close(descriptor)
                continue
            self._descriptor = descriptor
        self._owner = os.getpid()
        self.was_stale = os.fstat(self._descriptor).st_size > 0
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, f"{self._owner}\n".encode(), 0)

    def release(self) -> None:
        """Remove the file; does nothing in a process that only inherited it."""
        if self._descriptor < 0 or os.getpid() != self._owner:
            return
        with suppress(OSError):
            self.path.unlink()
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
