"""Starts gunicorn with the engine's application, and reloads the configuration."""

from __future__ import annotations

import gc
import importlib
import signal
import ssl
from collections.abc import Callable
from typing import Any

from gunicorn.app.base import BaseApplication
from gunicorn.arbiter import Arbiter
from gunicorn.errors import HaltServer

from provision_engine import config, log, metrics_directory
from provision_engine.config import Configuration
from provision_engine.errors import OperatorError
from provision_engine.pidfile import PidFile
from provision_engine.server.arrival import Application, with_timed_body
from provision_engine.server.listener import ServerError, is_loopback, listen, tls_context
from provision_engine.server.settings import allow_many_files, settings
from provision_engine.server.worker import arrivals

APPLICATION = "provision_engine.app:create_app"
PORT_PATIENCE_SECONDS = 5.0
"""How long the workers of an engine that was killed may need to leave the port."""

Loader = Callable[[Configuration], Application]


def serve(
    configuration: Configuration,
    *,
    load: Loader | None = None,
    on_ready: Callable[[], None] = lambda: None,
    on_fork: Callable[[], None] = lambda: None,
) -> None:
    """Answer requests in this process and its workers until SIGTERM ends it.

    `load` makes the WSGI application, `on_ready` is called when the port is open, `on_fork`
    in each worker. Raises OperatorError when it cannot start; ends with SystemExit.
    """
    pid_file = PidFile(configuration.server.pid_file)
    pid_file.acquire()
    try:
        log.start(configuration.log)
        tls = tls_context(configuration.tls)
        patience_seconds = PORT_PATIENCE_SECONDS if pid_file.was_stale else 0.0
        listener = listen(configuration.host, configuration.port, patience_seconds)
        _warn(configuration, pid_file)
        allow_many_files()
        metrics_directory.prepare(pid_file.path.with_suffix(".metrics"))
        server = Server(configuration, load or load_application, listener.detach(), tls)
        server.on_ready = on_ready
        server.on_fork = (pid_file.forget, on_fork)
        server.run()
    finally:
        pid_file.release()


def load_application(configuration: Configuration) -> Application:
    """Make the engine's own WSGI application."""
    module, _, name = APPLICATION.partition(":")
    create: Loader = getattr(importlib.import_module(module), name)
    return create(configuration)


def _warn(configuration: Configuration, pid_file: PidFile) -> None:
    if pid_file.was_stale:
        log.engine.warning("The previous engine was killed: it left %s behind", pid_file.path)
    if configuration.tls.certificate is None and not is_loopback(configuration.host):
        log.engine.warning(
            "Listening on %s without TLS: the clients' passwords can be read in transit",
            configuration.host,
        )


class Server(BaseApplication):  # type: ignore[misc]
    """gunicorn's application: its settings, and how ours is loaded and reloaded."""

    def __init__(
        self,
        configuration: Configuration,
        load: Loader,
        descriptor: int,
        tls: ssl.SSLContext | None,
    ) -> None:
        self.on_ready: Callable[[], None] = lambda: None
        self.on_fork: tuple[Callable[[], None], ...] = ()
        self._configuration = configuration
        self._load = load
        self._descriptor = descriptor
        self._tls = tls
        super().__init__()
        self.callable = self._loaded(configuration)

    def load_config(self) -> None:
        hooks = {
            "bind": f"fd://{self._descriptor}",
            "when_ready": self._when_ready,
            "post_fork": self._post_fork,
            "pre_request": _head_arrived,
            "child_exit": _child_exit,
        }
        for name, value in (settings(self._configuration) | hooks | self._tls_settings()).items():
            self.cfg.set(name, value)

    def load(self) -> Application:
        return self._loaded(self._configuration)

    def reload(self) -> None:
        """Read engine.conf again; one that cannot be used changes nothing."""
        try:
            configuration = config.load(self._configuration.path)
            application = self._loaded(configuration)
            tls = tls_context(configuration.tls)
            log.start(configuration.log)
        except OperatorError as error:
            log.engine.error("The configuration was not reloaded: %s", error)
            return
        self._warn_of_restart(configuration)
        self._configuration, self._tls, self.callable = configuration, tls, application
        super().reload()

    def run(self) -> None:
        try:
            Arbiter(self).run()
        except (RuntimeError, HaltServer) as error:
            raise ServerError(f"the server cannot start: {error}") from error

    def _loaded(self, configuration: Configuration) -> Application:
        try:
            return with_timed_body(self._load(configuration), arrivals)
        except OperatorError:
            raise
        except Exception as error:
            log.engine.exception("The application cannot be loaded")
            text = log.one_line(f"{type(error).__name__}: {error}")
            raise ServerError(f"the application cannot be loaded: {text}") from error

    def _warn_of_restart(self, new: Configuration) -> None:
        old = self._configuration
        if (old.host, old.port, old.server.pid_file) != (new.host, new.port, new.server.pid_file):
            log.engine.warning("A new host, port or server.pid_file takes a restart")

    def _tls_settings(self) -> dict[str, Any]:
        tls = self._configuration.tls
        if self._tls is None:
            return {}
        return {
            "certfile": str(tls.certificate),
            "keyfile": str(tls.key),
            # gunicorn would read both files again for each connection.
            "ssl_context": lambda _settings, _default: self._tls,
        }

    def _when_ready(self, _master: Arbiter) -> None:
        # gunicorn would replace the program without the pid file noticing.
        signal.signal(signal.SIGUSR2, _ignore)
        signal.signal(signal.SIGWINCH, signal.SIG_IGN)
        # What exists by now lives as long as the workers, which share its memory untouched.
        gc.collect()
        gc.freeze()
        self.on_ready()

    def _post_fork(self, _master: Arbiter, _worker: object) -> None:
        for call in self.on_fork:
            call()


def _ignore(_signal: int, _frame: object) -> None:
    log.engine.warning("USR2 is not supported: use restart")


def _head_arrived(_worker: object, _request: object) -> None:
    arrivals.head_arrived()


def _child_exit(_master: Arbiter, worker: Any) -> None:
    metrics_directory.forget_process(worker.pid)
