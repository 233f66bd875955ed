"""Starts gunicorn with the engine's application, and reloads the configuration."""

from __future__ import annotations

import dataclasses
import gc
import math
import os
import pkgutil
import resource
import shutil
import signal
import ssl
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from gunicorn.app.base import BaseApplication
from gunicorn.arbiter import Arbiter
from gunicorn.errors import HaltServer

from provision_engine import __version__, config, log
from provision_engine.config import Configuration
from provision_engine.errors import OperatorError
from provision_engine.process import PidFile, Record
from provision_engine.server.arrival import Application, with_timed_body
from provision_engine.server.listener import is_loopback, listen, tls_context
from provision_engine.server.logger import EngineLogger
from provision_engine.server.refusals import HEADER_BYTES, HEADER_FIELDS
from provision_engine.server.worker import Worker, arrivals

APPLICATION = "provision_engine.app:create_app"
PORT_PATIENCE_SECONDS = 5.0
"""How long the workers of an engine that was killed may need to leave the port."""

KEEP_ALIVE_SECONDS = 30
"""A connection without a request occupies no thread, so it may stay open for a while."""
CONNECTIONS_PER_WORKER = 4096
REQUEST_LINE_BYTES = 8190
OPEN_FILES = 65_536
RESERVED_FILES = 256
"""Descriptors of a worker that are not connections of clients: logs, backends, libraries."""


def serve(configuration: Configuration, on_ready: Callable[[], None] = lambda: None) -> None:
    """Answer requests in this process and its workers until SIGTERM ends it.

    `on_ready` is called when the port is open, before there are workers. Raises OperatorError when
    it cannot start; ends with SystemExit.
    """
    pid_file = PidFile(configuration.server.pid_file)
    pid_file.acquire()
    try:
        log.start(configuration.log)
        tls = tls_context(configuration.tls)
        patience_seconds = PORT_PATIENCE_SECONDS if pid_file.was_stale else 0.0
        listener = listen(configuration.host, configuration.port, patience_seconds)
        if pid_file.was_stale:
            log.engine.warning("The previous engine was killed: it left %s behind", pid_file.path)
        if tls is None and not is_loopback(configuration.host):
            log.engine.warning(
                "Listening on %s without TLS: the clients' passwords can be read in transit",
                configuration.host,
            )
        _prepare_metrics(pid_file.path.with_suffix(".metrics"))

        def ready() -> None:
            record = Record.from_configuration(configuration, os.getpid())
            now = time.time()
            pid_file.describe(dataclasses.replace(record, version=__version__, started_at=now))
            on_ready()

        Server(configuration, listener.detach(), tls, ready, pid_file.forget).run()
    finally:
        pid_file.release()


class Server(BaseApplication):  # type: ignore[misc]
    """gunicorn's application: its settings, and how the engine is loaded and reloaded."""

    def __init__(
        self,
        configuration: Configuration,
        descriptor: int,
        tls: ssl.SSLContext | None,
        on_ready: Callable[[], None] = lambda: None,
        on_fork: Callable[[], None] = lambda: None,
    ) -> None:
        self._configuration, self._descriptor, self._tls = configuration, descriptor, tls
        self._on_ready, self._on_fork = on_ready, on_fork
        super().__init__()

    def load_config(self) -> None:
        """Set what follows from the configuration, and all that the environment could change."""
        configuration, server = self._configuration, self._configuration.server
        # Requests that only wait (?wait=) have threads of their own, so that they delay no others.
        threads = server.threads + configuration.wait.max_requests
        longest_request_seconds = configuration.timeout_seconds + configuration.wait.max_seconds
        settings = {
            "bind": f"fd://{self._descriptor}",
            "worker_class": Worker,
            "workers": server.workers,
            "threads": threads,
            "worker_connections": _allow_connections(threads),
            "keepalive": KEEP_ALIVE_SECONDS,
            "graceful_timeout": server.grace_seconds,
            # How long a worker may be silent before it is replaced.
            "timeout": math.ceil(longest_request_seconds) + server.grace_seconds + 30,
            "limit_request_line": REQUEST_LINE_BYTES,
            "limit_request_field_size": HEADER_BYTES,
            "limit_request_fields": HEADER_FIELDS,
            "preload_app": True,
            "logger_class": EngineLogger,
            "proc_name": "provision-engine",
            "forwarded_allow_ips": "127.0.0.1,::1",
            # No header may change the path: every client of a local proxy could send it.
            "forwarder_headers": "",
            "control_socket_disable": True,
            "worker_tmp_dir": "/dev/shm" if os.access("/dev/shm", os.W_OK) else None,
            "when_ready": self._when_ready,
            "post_fork": lambda _master, _worker: self._on_fork(),
            "pre_request": lambda _worker, _request: arrivals.head_arrived(),
            "child_exit": lambda _master, worker: _forget_gauges(worker.pid),
        }
        if self._tls is not None:
            settings["certfile"] = str(configuration.tls.certificate)
            settings["keyfile"] = str(configuration.tls.key)
            # gunicorn would read both files again for each connection.
            settings["ssl_context"] = lambda _settings, _default: self._tls
        for name, value in settings.items():
            self.cfg.set(name, value)

    def load(self) -> Application:
        return _loaded(self._configuration)

    def reload(self) -> None:
        """Read engine.conf again; one that cannot be used changes nothing."""
        try:
            configuration = config.load(self._configuration.path)
            application = _loaded(configuration)
            tls = tls_context(configuration.tls)
            log.start(configuration.log)
        except OperatorError as error:
            log.engine.error("The configuration was not reloaded: %s", error)
            return
        old, new = self._configuration, configuration
        if (old.host, old.port, old.server.pid_file) != (new.host, new.port, new.server.pid_file):
            log.engine.warning("A new host, port or server.pid_file takes a restart")
        self._configuration, self._tls, self.callable = configuration, tls, application
        super().reload()

    def run(self) -> None:
        try:
            Arbiter(self).run()
        except (RuntimeError, HaltServer) as error:
            raise OperatorError(f"the server cannot start: {error}") from error

    def _when_ready(self, _master: Arbiter) -> None:
        # gunicorn would replace the program without the pid file noticing.
        refusal = "USR2 is not supported: use restart"
        signal.signal(signal.SIGUSR2, lambda *_: log.engine.warning(refusal))
        signal.signal(signal.SIGWINCH, signal.SIG_IGN)
        # All objects so far live as long as the workers, which share their memory untouched.
        gc.collect()
        gc.freeze()
        self._on_ready()


def _loaded(configuration: Configuration) -> Application:
    """Make the engine's application. prometheus_client must not be imported earlier."""
    try:
        application: Application = pkgutil.resolve_name(APPLICATION)(configuration)
    except OperatorError:
        raise
    except Exception as error:
        log.engine.exception("The application cannot be loaded")
        text = log.one_line(f"{type(error).__name__}: {error}")
        raise OperatorError(f"the application cannot be loaded: {text}") from error
    return with_timed_body(application, arrivals)


def _prepare_metrics(directory: Path) -> None:
    """Make an empty directory in which the processes of this engine share what they count.

    prometheus_client reads its name when it is imported. Raises OSError.
    """
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(mode=0o750, parents=True, exist_ok=True)
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(directory)


def _forget_gauges(process_id: int) -> None:
    """Drop the gauges of a process that has ended, such as its requests in flight."""
    from prometheus_client import multiprocess

    multiprocess.mark_process_dead(process_id)  # type: ignore[no-untyped-call]


def _allow_connections(threads: int) -> int:
    """Let each process have as many connections as the system permits, and return how many.

    gunicorn ends when it runs out of descriptors.
    """
    files, most_files = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files == resource.RLIM_INFINITY:
        return CONNECTIONS_PER_WORKER
    aim = OPEN_FILES if most_files == resource.RLIM_INFINITY else min(most_files, OPEN_FILES)
    if files < aim:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (aim, most_files))
            files = aim
    return max(threads + 1, min(CONNECTIONS_PER_WORKER, files - RESERVED_FILES))
