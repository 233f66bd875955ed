"""gunicorn inside the program: processes and threads that answer the API's requests."""

from __future__ import annotations

import errno
import gc
import importlib
import ipaddress
import json
import math
import os
import re
import resource
import selectors
import socket
import ssl
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from http import HTTPStatus
from pathlib import Path
from typing import Any

from gunicorn import util
from gunicorn.app.base import BaseApplication
from gunicorn.arbiter import Arbiter
from gunicorn.errors import HaltServer
from gunicorn.glogging import Logger
from gunicorn.http.errors import ParseException
from gunicorn.workers.gthread import TConn, ThreadWorker

from provision_engine import config, log, metrics_directory
from provision_engine.config import Configuration
from provision_engine.errors import OperatorError
from provision_engine.pidfile import PidFile

APPLICATION = "provision_engine.app:create_app"

# How long a client may take to send a request, and then what is left of a long body.
HEAD_SECONDS = 10
BODY_SECONDS = 30
# A connection without a request costs no thread, so it may stay open for a while.
KEEP_ALIVE_SECONDS = 30
CONNECTIONS_PER_WORKER = 4096
REQUEST_LINE_BYTES = 8190
HEADER_BYTES = 16_384
HEADER_FIELDS = 100
OPEN_FILES = 65_536
# How long workers of an engine that was killed may need to leave the port.
PORT_PATIENCE_SECONDS = 5.0
_PORT_RETRY_SECONDS = 0.05
_BACKLOG = 2048

Application = Callable[..., Any]
Loader = Callable[[Configuration], Application]


class ServerError(OperatorError):
    """The server cannot start."""


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
        tls = tls_context(configuration)
        patience_seconds = PORT_PATIENCE_SECONDS if pid_file.was_stale else 0.0
        listener = listen(configuration.host, configuration.port, patience_seconds)
        _warn(configuration, pid_file)
        _allow_many_files()
        metrics_directory.prepare(pid_file.path.with_suffix(".metrics"))
        server = _Server(configuration, load or load_application, listener.detach(), tls)
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


def tls_context(configuration: Configuration) -> ssl.SSLContext | None:
    """Return what TLS towards clients needs, None without a certificate."""
    tls = configuration.tls
    if tls.certificate is None or tls.key is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    for key, path in (("tls.certificate", tls.certificate), ("tls.key", tls.key)):
        _check_readable(key, path)
    try:
        context.load_cert_chain(tls.certificate, tls.key, password=_no_password)
    except (ssl.SSLError, ValueError) as error:
        raise ServerError(
            f"tls.certificate {tls.certificate} and tls.key {tls.key} "
            f"are no certificate and its key without a password: {error}"
        ) from error
    return context


def listen(host: str, port: int, patience_seconds: float = 0.0) -> socket.socket:
    """Open the port, for at most `patience_seconds` also while somebody else has it."""
    family, address = _address(host, port)
    until = time.monotonic() + patience_seconds
    while True:
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(address)
            listener.listen(_BACKLOG)
        except OSError as error:
            listener.close()
            if error.errno != errno.EADDRINUSE or time.monotonic() > until:
                reason = f"cannot listen on {host} port {port}: {error.strerror}"
                raise ServerError(reason) from error
            time.sleep(_PORT_RETRY_SECONDS)
        else:
            return listener


def _address(host: str, port: int) -> tuple[socket.AddressFamily, Any]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise ServerError(f"host {host} is unknown: {error.strerror}") from error
    # "localhost" is both; device clients expect the older one.
    family, _, _, _, address = min(found, key=lambda entry: entry[0] != socket.AF_INET)
    return family, address


def _check_readable(key: str, path: Path) -> None:
    try:
        path.open("rb").close()
    except OSError as error:
        raise ServerError(f"{key} {path} cannot be read: {error.strerror}") from error


def _no_password() -> str:
    raise ValueError("it is encrypted")


def _warn(configuration: Configuration, pid_file: PidFile) -> None:
    if pid_file.was_stale:
        log.engine.warning("An engine before this one was killed: %s was left", pid_file.path)
    if configuration.tls.certificate is None and not _is_loopback(configuration.host):
        log.engine.warning(
            "Listening on %s without TLS: passwords of the clients can be read on the way",
            configuration.host,
        )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return host == "localhost"


def _allow_many_files() -> None:
    """Let each process have as many connections as the system permits."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, OPEN_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


# ---- the master ------------------------------------------------------------------------


class _Master(Arbiter):  # type: ignore[misc]
    """gunicorn's master process, without what would replace the program under our feet."""

    def handle_usr2(self) -> None:
        self.log.warning("USR2 is not served: use restart")

    def handle_winch(self) -> None:
        self.log.debug("WINCH is not served")


class _Server(BaseApplication):  # type: ignore[misc]
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
        for name, value in self._settings().items():
            self.cfg.set(name, value)

    def load(self) -> Application:
        return self._loaded(self._configuration)

    def reload(self) -> None:
        """Read engine.conf again; one that cannot be used leaves everything as it is."""
        try:
            configuration = config.load(self._configuration.path)
            application = self._loaded(configuration)
            tls = tls_context(configuration)
            log.start(configuration.log)
        except OperatorError as error:
            log.engine.error("The configuration stays as it was: %s", error)
            return
        self._note_what_takes_a_restart(configuration)
        self._configuration, self._tls, self.callable = configuration, tls, application
        super().reload()

    def run(self) -> None:
        try:
            _Master(self).run()
        except (RuntimeError, HaltServer) as error:
            raise ServerError(f"the server cannot start: {error}") from error

    def _loaded(self, configuration: Configuration) -> Application:
        try:
            return self._load(configuration)
        except OperatorError:
            raise
        except Exception as error:
            log.engine.exception("The application cannot be loaded")
            text = log.one_line(f"{type(error).__name__}: {error}")
            raise ServerError(f"the application cannot be loaded: {text}") from error

    def _note_what_takes_a_restart(self, new: Configuration) -> None:
        old = self._configuration
        if (old.host, old.port, old.server.pid_file) != (new.host, new.port, new.server.pid_file):
            log.engine.warning("host, port and server.pid_file change with a restart only")

    def _settings(self) -> dict[str, Any]:
        """Return gunicorn's settings; all that the environment could change is among them."""
        server = self._configuration.server
        return {
            "bind": f"fd://{self._descriptor}",
            "worker_class": Worker,
            "workers": server.workers,
            # Who only waits (?wait=) has threads of its own, and takes none from the others.
            "threads": server.threads + self._configuration.wait.max_requests,
            "worker_connections": CONNECTIONS_PER_WORKER,
            "keepalive": KEEP_ALIVE_SECONDS,
            "graceful_timeout": server.grace_seconds,
            "timeout": self._longest_request_seconds(),
            "limit_request_line": REQUEST_LINE_BYTES,
            "limit_request_field_size": HEADER_BYTES,
            "limit_request_fields": HEADER_FIELDS,
            "preload_app": True,
            "logger_class": EngineLogger,
            "proc_name": "provision-engine",
            "forwarded_allow_ips": "127.0.0.1,::1",
            "control_socket_disable": True,
            "worker_tmp_dir": "/dev/shm" if os.access("/dev/shm", os.W_OK) else None,
            "when_ready": self._when_ready,
            "post_fork": self._post_fork,
            "child_exit": self._child_exit,
            **self._tls_settings(),
        }

    def _longest_request_seconds(self) -> int:
        """A worker that is silent for longer than any request may take is replaced."""
        longest = self._configuration.timeout_seconds + self._configuration.wait.max_seconds
        return math.ceil(longest) + self._configuration.server.grace_seconds + 30

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
        # What exists by now lives as long as the workers, who share its memory untouched.
        gc.collect()
        gc.freeze()
        self.on_ready()

    def _post_fork(self, _master: Arbiter, _worker: ThreadWorker) -> None:
        for call in self.on_fork:
            call()

    def _child_exit(self, _master: Arbiter, worker: ThreadWorker) -> None:
        metrics_directory.forget_process(worker.pid)


class EngineLogger(Logger):  # type: ignore[misc]
    """What gunicorn has to say goes to engine.log, and each request to api.log."""

    def __init__(self, settings: Any) -> None:
        self.cfg = settings
        self.error_log = log.engine
        self.access_log = log.access

    def setup(self, settings: Any) -> None:
        self.cfg = settings

    def debug(self, _text: str, *_arguments: object, **_options: object) -> None:
        """Drop its remarks on each connection: they would hide what the engine decides."""

    @property
    def access_log_enabled(self) -> bool:
        return True

    def access(
        self, response: Any, _request: Any, environ: dict[str, Any], duration: timedelta
    ) -> None:
        log.answered(
            environ.get("REMOTE_ADDR") or "-",
            f"{environ['REQUEST_METHOD']} {environ['RAW_URI']} {environ['SERVER_PROTOCOL']}",
            str(response.status).partition(" ")[0],
            response.sent,
            duration.total_seconds(),
            dict(response.headers).get("X-Request-ID", ""),
        )

    def reopen_files(self) -> None:
        log.reopen()

    def close_on_exec(self) -> None:
        """The log files are opened that way."""


# ---- a worker --------------------------------------------------------------------------

# What a client did wrong, by the name of gunicorn's exception; all others are 400.
_REFUSALS = {
    "LimitRequestLine": (HTTPStatus.REQUEST_URI_TOO_LONG, "the address is too long"),
    "LimitRequestHeaders": (
        HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
        f"at most {HEADER_FIELDS} header fields of at most {HEADER_BYTES} bytes are read",
    ),
    "UnsupportedTransferCoding": (
        HTTPStatus.NOT_IMPLEMENTED,
        "of the transfer codings only chunked is known",
    ),
    "ExpectationFailed": (
        HTTPStatus.EXPECTATION_FAILED,
        "the only expectation that is known is 100-continue",
    ),
    "InvalidRequestLine": (HTTPStatus.BAD_REQUEST, "the request line is malformed"),
    "InvalidRequestMethod": (HTTPStatus.BAD_REQUEST, "the method is malformed"),
    "InvalidHTTPVersion": (
        HTTPStatus.HTTP_VERSION_NOT_SUPPORTED,
        "the version of HTTP must be 1.0 or 1.1",
    ),
    "InvalidHeader": (HTTPStatus.BAD_REQUEST, "a header is malformed"),
    "InvalidHeaderName": (HTTPStatus.BAD_REQUEST, "the name of a header is malformed"),
    "ObsoleteFolding": (HTTPStatus.BAD_REQUEST, "a header goes over several lines"),
    "InvalidChunkSize": (HTTPStatus.BAD_REQUEST, "the size of a chunk is malformed"),
    "ChunkMissingTerminator": (HTTPStatus.BAD_REQUEST, "a chunk does not end where it says"),
    "InvalidChunkExtension": (HTTPStatus.BAD_REQUEST, "the extension of a chunk is malformed"),
}
_OUR_FAULT = ("ConfigurationProblem", "InvalidResponseHeader", "InvalidResponseHeaderName")
_TOO_LATE = (HTTPStatus.REQUEST_TIMEOUT, "the request did not arrive in time")
_ANSWER_SECONDS = 1.0


def refusal(error: BaseException) -> tuple[HTTPStatus, str]:
    """Return status and explanation for what went wrong outside of the application.

    The explanation never repeats what the client sent: a broken header may hold a password.
    """
    name = type(error).__name__
    if isinstance(error, ssl.SSLError):
        return HTTPStatus.BAD_REQUEST, "TLS failed"
    if name in _OUR_FAULT or not isinstance(error, ParseException):
        return HTTPStatus.INTERNAL_SERVER_ERROR, "the engine failed; its log says why"
    return _REFUSALS.get(name, (HTTPStatus.BAD_REQUEST, "the request is malformed"))


def error_answer(status: HTTPStatus, explanation: str, request_id: str) -> bytes:
    """Return a whole HTTP answer in the one form that errors have."""
    body = json.dumps({"error": status.phrase, "message": explanation}).encode()
    head = (
        f"HTTP/1.1 {status.value} {status.phrase}\r\n"
        "Content-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n"
        f"X-Request-ID: {request_id}\r\n"
        "Connection: close\r\n\r\n"
    )
    return head.encode("ascii") + body


# A request of at most this many bytes waits in the kernel until all of it has arrived.
_WHOLE_BYTES = 65_536
_CHUNKED = re.compile(rb"\r\ntransfer-encoding:[^\r\n]*chunked", re.IGNORECASE)
_CHUNK_SIZE = re.compile(rb"\s*([0-9A-Fa-f]{1,8})\s*(?:;.*)?")
_CONTENT_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d{1,5})[ \t]*(?:\r\n|$)", re.IGNORECASE)
_EXPECT = re.compile(rb"\r\nexpect:", re.IGNORECASE)


def missing_bytes(data: bytes) -> int:
    """Return how much is missing for sure of the request that begins like this.

    0 when it is whole, or when nobody can tell without reading on: a long body, or one that the
    client sends only when it is asked to.
    """
    head, end, body = data.partition(b"\r\n\r\n")
    if not end:
        return 1 if len(data) < _WHOLE_BYTES else 0
    if _CHUNKED.search(head) and not _EXPECT.search(head):
        return _missing_of_chunks(body) if len(data) < _WHOLE_BYTES else 0
    length = _CONTENT_LENGTH.search(head)
    if length is None or _EXPECT.search(head) or len(head) + int(length[1]) > _WHOLE_BYTES - 4:
        return 0
    return max(0, int(length[1]) - len(body))


def _missing_of_chunks(body: bytes) -> int:
    """As above, of a body in chunks; 0 too where it is malformed, which is for others to say."""
    place = 0
    while (line_end := body.find(b"\r\n", place)) >= 0:
        size = _CHUNK_SIZE.fullmatch(body[place:line_end])
        if size is None:
            return 0
        if int(size[1], 16) == 0:
            return 0 if b"\r\n\r\n" in body[line_end:] else 1
        place = line_end + 2 + int(size[1], 16) + 2
        if place > len(body):
            return place - len(body) if place < _WHOLE_BYTES else 0
    return 1


class _Connection(TConn):  # type: ignore[misc]
    """A connection whose request is looked at before a thread is spent on it."""

    arrived_bytes = 0

    def has_request(self) -> bool:
        """Tell whether the request is there, as far as that can be known without reading it."""
        if self.cfg.is_ssl:
            return True
        try:
            data = self.sock.recv(_WHOLE_BYTES, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except OSError:
            return True  # the thread that reads will meet the same, and knows what to do
        missing = missing_bytes(data)
        # Nothing more than before: the client will send no more.
        is_over = len(data) <= self.arrived_bytes or not data
        if missing == 0 or is_over:
            self._wake_at(1)
            self.arrived_bytes = 0
            return True
        self.arrived_bytes = len(data)
        self._wake_at(len(data) + missing)
        return False

    def discard(self) -> None:
        """Drop what arrived: left unread, it would turn the end of the connection to a reset."""
        self._wake_at(1)
        with suppress(OSError):
            self.sock.setblocking(False)
            self.sock.recv(_WHOLE_BYTES)

    def _wake_at(self, size_bytes: int) -> None:
        """Let the kernel call the socket readable only when so much has arrived."""
        with suppress(OSError):
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, size_bytes)


class _BodyReader:
    """Reads a body for the application, but not for ever."""

    def __init__(self, worker: Worker, connection: TConn, reader: Any) -> None:
        self._worker = worker
        self._connection = connection
        self._reader = reader
        self._until = math.inf

    def read(self, size_bytes: int) -> bytes:
        if self._until == math.inf:
            self._until = time.monotonic() + BODY_SECONDS
        self._worker.expect(self._connection, self._until)
        try:
            data: bytes = self._reader.read(size_bytes)
            return data
        finally:
            self._worker.expect(self._connection, None)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reader, name)


class Worker(ThreadWorker):  # type: ignore[misc]
    """A process with threads, of which clients that send nothing or slowly get none for long."""

    sockets: list[Any]

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._expected: dict[TConn, float] = {}
        self._late: set[TConn] = set()

    def expect(self, connection: TConn, until: float | None) -> None:
        """Give up on the client when `until` (monotonic time) comes first; None: no more."""
        if until is None:
            self._expected.pop(connection, None)
        else:
            self._expected[connection] = until

    def accept(self, listener: Any) -> None:
        """Take a connection; a thread works on it once it has sent something."""
        try:
            client, address = listener.accept()
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS):
                self.log.error("No further connection can be taken: %s", error.strerror)
                time.sleep(_PORT_RETRY_SECONDS)
            return
        self.nr_conns += 1
        connection = _Connection(self.cfg, client, address, listener.getsockname())
        connection.timeout = time.monotonic() + HEAD_SECONDS
        self.pending_conns.append(connection)

        def readable(sock: socket.socket) -> None:
            self.on_pending_socket_readable(connection, sock)

        self.poller.register(client, selectors.EVENT_READ, readable)

    def on_pending_socket_readable(self, connection: _Connection, client: Any) -> None:
        """Give a first request to a thread once it is there."""
        if connection.has_request():
            super().on_pending_socket_readable(connection, client)

    def on_client_socket_readable(self, connection: _Connection, client: Any) -> None:
        """Give a further request on a kept connection to a thread once it is there."""
        if connection.has_request():
            super().on_client_socket_readable(connection, client)

    def handle(self, connection: TConn) -> Any:
        self.expect(connection, time.monotonic() + HEAD_SECONDS)
        try:
            # What a thread knows of its last request is forgotten, its secrets above all.
            with log.request(""):
                result = super().handle(connection)
        finally:
            self.expect(connection, None)
        if connection in self._late:
            self._late.discard(connection)
            self._refuse(connection.sock, connection.client, _TOO_LATE)
            return False
        return result

    def handle_request(self, request: Any, connection: TConn) -> Any:
        self.expect(connection, None)
        request.body.reader = _BodyReader(self, connection, request.body.reader)
        answered = super().handle_request(request, connection)
        self._late.discard(connection)
        return answered

    def handle_error(self, _request: Any, client: Any, address: Any, error: Any) -> None:
        self._refuse(client, address, refusal(error), error)

    def murder_pending(self) -> None:
        """Close what waits in vain for a request (called at least once a second)."""
        now = time.monotonic()
        for connection in self.pending_conns:
            if connection.timeout > now:
                break
            if connection.arrived_bytes:
                self._refuse(connection.sock, connection.client, _TOO_LATE)
                connection.discard()
        super().murder_pending()
        for connection, until in list(self._expected.items()):
            if until < now:
                self._expected.pop(connection, None)
                self._late.add(connection)
                # The thread that reads from it finds the end of the input, and is free.
                with suppress(OSError):
                    socket.socket.shutdown(connection.sock, socket.SHUT_RD)

    def _cap_keepalive(self, deadline: float) -> None:
        """When stopping, wait no longer for clients that never sent a request either."""
        super()._cap_keepalive(deadline)
        for connection in self.pending_conns:
            connection.timeout = min(connection.timeout, deadline)

    def set_accept_enabled(self, enabled: bool) -> None:
        super().set_accept_enabled(enabled)
        if not enabled and not self.alive:
            self._leave_the_port()

    def is_parent_alive(self) -> bool:
        if not super().is_parent_alive():
            self.alive = False
        return bool(self.alive)

    def _leave_the_port(self) -> None:
        """Take the connections that the kernel has accepted already, then no more.

        Otherwise clients would wait at a port where nobody answers until the last request
        of this worker is over, and no other engine could have the port.
        """
        for listener in self.sockets:
            with suppress(OSError):
                listener.setblocking(False)
                self._take_all(listener)
            listener.close()
        self.sockets.clear()

    def _take_all(self, listener: Any) -> None:
        before = -1
        while before != self.nr_conns:
            before = self.nr_conns
            self.accept(listener)

    def _refuse(
        self,
        client: Any,
        address: Any,
        reason: tuple[HTTPStatus, str],
        error: BaseException | None = None,
    ) -> None:
        request_id, who, (status, explanation) = uuid.uuid4().hex[:8], (address or "-")[0], reason
        answer = error_answer(status, explanation, request_id)
        with log.request(request_id):
            if status is HTTPStatus.INTERNAL_SERVER_ERROR:
                self.log.error("The answer broke off", exc_info=error)
            else:
                self.log.warning("Refused a request from %s: %s", who, explanation)
            log.answered(who, "-", status.value, len(answer), 0.0, request_id)
        with suppress(OSError):
            client.settimeout(_ANSWER_SECONDS)
            util.write(client, answer)
