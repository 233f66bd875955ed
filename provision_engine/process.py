"""The process of the engine: how it is started, found by its pid file, and stopped.

A running engine holds the pid file locked, and the kernel releases the lock when the process ends.
So neither a file that was left behind nor a process id that was reused is taken for an engine.
"""

from __future__ import annotations

import fcntl
import json
import math
import os
import select
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from io import FileIO
from pathlib import Path
from typing import NoReturn

from provision_engine.config import DEFAULT_PATH, Configuration
from provision_engine.errors import OperatorError

START_SECONDS = 30.0
STOP_SECONDS = 15.0
"""How long a stop takes with no request in flight, in addition to server.grace_seconds."""
SILENT_SECONDS = 2.0
"""How long a stop takes before it says what it waits for."""
_POLL_SECONDS = 0.02
_READY = "ready"
"""What the engine reports to the process that started it once its port is open."""
_PID_BYTES, _RECORD_BYTES = 32, 65_536
_GLANCE_SECONDS = 0.2


def start(configuration: Configuration) -> int:
    """Start an engine as a separate process and return its pid once its port is open."""
    sys.stdout.flush()
    sys.stderr.flush()
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        _become_engine(configuration, writing)
    os.close(writing)
    with open(reading, encoding="utf-8") as reports:
        if not select.select([reports], [], [], START_SECONDS)[0]:
            os.kill(pid, signal.SIGTERM)
            raise OperatorError(f"the engine did not respond within {START_SECONDS:.0f} seconds")
        report = reports.read()
    if report != _READY:
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        raise OperatorError(report or f"the engine ended (exit code {code}); its log may say why")
    return pid


def _become_engine(configuration: Configuration, writing: int) -> NoReturn:
    """Detach from the terminal and serve; what prevents that is reported to the starter."""
    os.setsid()
    os.chdir("/")
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nowhere, descriptor)
    os.close(nowhere)
    reports = open(writing, "w", encoding="utf-8", errors="backslashreplace")  # noqa: SIM115

    def report(text: str) -> None:
        with suppress(OSError, ValueError):  # the starter has gone, or knows that it is ready
            reports.write(text)
            reports.close()

    try:
        from provision_engine import server

        server.serve(configuration, on_ready=lambda: report(_READY))
    except OperatorError as error:
        report(str(error))
    except Exception as error:  # nothing else would show it
        report(f"{type(error).__name__}: {error}")
    sys.exit(1)


def running(configuration: Configuration) -> Record | None:
    """Return the engine that holds the pid file, as it describes itself."""
    pid_file = PidFile(configuration.server.pid_file)
    pid = pid_file.running()
    if pid is None:
        return None
    return pid_file.described(pid) or Record.from_configuration(configuration, pid)


def stop(
    configuration: Configuration, on_wait: Callable[[Record, int], None] = lambda *_: None
) -> Record | None:
    """End the engine if one is running, and return it.

    ``on_wait`` is told how many seconds it takes at most, unless it ends at once. Raises
    OperatorError if it was started from another configuration, or does not end.
    """
    engine = running(configuration)
    if engine is None:
        return None
    mine = Record.from_configuration(configuration, engine.pid).configuration
    if engine.configuration != mine:
        raise OperatorError(
            f"the running engine (pid {engine.pid}, {engine.url}) was started from "
            f"{engine.configuration}, not from {mine}: repeat with --config "
            f"{engine.configuration}"
        )
    if engine.pid <= 0:
        raise OperatorError("the engine is still starting: repeat in a moment")
    # The pid file is locked by the process that it names, so this pid belongs to no other.
    try:
        os.kill(engine.pid, signal.SIGTERM)
    except ProcessLookupError:
        pass
    except PermissionError as error:
        raise OperatorError(f"pid {engine.pid} belongs to another user: use sudo") from error
    longest_seconds = configuration.server.grace_seconds + STOP_SECONDS
    started_at = time.monotonic()
    until, tell_at = started_at + longest_seconds, started_at + SILENT_SECONDS
    while PidFile(configuration.server.pid_file).running() == engine.pid:
        if time.monotonic() > until:
            reason = f"pid {engine.pid} has not ended within {longest_seconds:.0f} seconds"
            raise OperatorError(reason)
        if time.monotonic() > tell_at:
            on_wait(engine, round(longest_seconds))
            tell_at = math.inf
        time.sleep(_POLL_SECONDS)
    return engine


# ---- the pid file ----------------------------------------------------------------------


@dataclass(frozen=True)
class Record:
    """A running engine: where it listens, and the file it was configured by, links resolved.

    Commands compare it with their own configuration, which may be another one by now.
    """

    pid: int
    url: str
    configuration: str
    version: str = ""
    """Empty where it is not known, as of release 2.1.0."""
    started_at: float = 0.0
    """Unix time."""

    @classmethod
    def from_configuration(cls, configuration: Configuration, pid: int) -> Record:
        """Return the record of an engine with this configuration; without a file, the usual one."""
        path = (configuration.path or DEFAULT_PATH).resolve()
        return cls(pid, configuration.url(), str(path))


class PidFile:
    """One pid file; `was_stale` is set by `acquire` when a killed engine had left it behind."""

    def __init__(self, path: Path) -> None:
        self.path, self._record = path, path.with_suffix(".json")
        self.was_stale = False
        self._file: FileIO | None = None
        self._owner = 0

    def running(self) -> int | None:
        """Return the process id of the engine that holds the file, None if none does."""
        try:
            with self.path.open("rb", buffering=0) as file:
                return None if _lock(file, fcntl.LOCK_SH) else _read(file)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._unusable("read", error) from error

    def acquire(self) -> None:
        """Lock the file and write this process's id into it.

        Raises OperatorError when an engine runs or the file cannot be written.
        """
        # A `running` in another process holds a shared lock for a moment.
        until = time.monotonic() + _GLANCE_SECONDS
        while True:
            file = self._open()
            # An engine that just ended may have removed this file: then start over.
            if _lock(file, fcntl.LOCK_EX) and self._is_current(file):
                break
            with file:
                pid = _read(file)
            if time.monotonic() > until:
                raise OperatorError(f"the engine is already running (pid {pid})")
            time.sleep(_POLL_SECONDS)
        self._file, self._owner = file, os.getpid()
        self.was_stale = os.fstat(file.fileno()).st_size > 0
        file.truncate()
        file.write(f"{self._owner}\n".encode())

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
        if os.getpid() == self._owner:
            for path in (self._record, self.path):
                with suppress(OSError):
                    path.unlink()
            self.forget()

    def forget(self) -> None:
        """Close the file in a child process; the parent still holds the lock."""
        if self._file:
            self._file.close()

    def _open(self) -> FileIO:
        def opener(path: str, flags: int) -> int:
            return os.open(path, flags | os.O_CREAT | os.O_NOFOLLOW, 0o644)

        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            return open(self.path, "r+b", buffering=0, opener=opener)
        except OSError as error:
            raise self._unusable("written", error) from error

    def _is_current(self, file: FileIO) -> bool:
        try:
            return os.path.samestat(os.fstat(file.fileno()), os.stat(self.path))
        except FileNotFoundError:
            return False

    def _unusable(self, verb: str, error: OSError) -> OperatorError:
        return OperatorError(
            f"the pid file {self.path} cannot be {verb}: {error.strerror} (see server.pid_file)"
        )


def _lock(file: FileIO, kind: int) -> bool:
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _read(file: FileIO) -> int:
    """Return the id in the file; 0 before its owner has written it."""
    content = file.read(_PID_BYTES).strip()
    return int(content) if content.isdigit() else 0
