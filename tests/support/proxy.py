"""A proxy in front of oned and oneflow, sandbox or real, that can lose calls and responses.

Calls have names like ``vm.action`` (oned) and ``POST service/action`` (oneflow, without ids).
``calls`` has each of them, also those inside a multicall; ``requests`` has what came together.
``on_call`` is called ``before`` each one reaches the backend, and ``after`` its effect, before
its response; what it raises breaks the connection. From then on, a fault makes the backend

============ ================================================================================
refuse       refuse connections; open ones are closed
hang         read the request and never respond
cut          execute the call, and close the connection in the middle of the response
garbage      respond with neither XML-RPC nor JSON
error        respond with HTTP 500 with a short text
fail         oned only: do not execute the call; its result is an error of OpenNebula
fault        oned only: the same with a fault of XML-RPC
slow         respond ``seconds`` later
stall        execute the call, send half of the response ``seconds`` later, and then nothing
drip-headers execute the call, and send the headers of the response byte by byte, without an end
drip-body    the same for the body
drip-chunks  the same for a body in chunks
============ ================================================================================

A multicall that is watched, or struck by a fault, is forwarded call by call. So what is raised
``before`` or ``after`` the second call, and a fault that hits it, find the first one executed, and
the calls behind it are not executed, except after ``fail``, ``fault`` and ``slow``.
"""

from __future__ import annotations

import contextlib
import http.client
import itertools
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NoReturn
from urllib.parse import urlsplit

from tests.support.calls import Call, HttpResponse, Request, joined
from tests.support.engine import Backend
from tests.support.ports import free_port
from tests.support.waiting import wait_until

BACKENDS = ("oned", "oneflow")
DRIPS = {
    "drip-headers": (b"X-Drip: ", b"."),
    "drip-body": (b"Content-Length: 1000000\r\n\r\n", b"."),
    "drip-chunks": (b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n.\r\n"),
}
"""What follows the status line at once, and then byte by byte, again and again."""
ENDLESS = ("stall", *DRIPS)
REFUSALS = ("fail", "fault")
"""Those of one call: the others of its multicall go on."""
KINDS = ("refuse", "hang", "cut", "garbage", "error", *REFUSALS, "slow", *ENDLESS)
DRIP_PAUSE_SECONDS, MOST_DRIPS = 0.1, 600
"""After so many bytes the connection is closed."""
GARBAGE = b"\x00\xffthis is neither XML-RPC nor JSON <<<{{{"
FORWARD_SECONDS = 120.0
POLL_SECONDS = 0.05
HOP_BY_HOP = ("connection", "keep-alive", "transfer-encoding", "content-length", "host")
OnCall = Callable[[Call, str], None]


@dataclass
class Fault:
    kind: str
    seconds: float = 1.0
    name: str = ""
    """The name of the only call that it affects; empty for all calls."""
    times: int = 0
    """The number of calls after which it ends by itself; 0 means never."""

    def hits(self, call: Call) -> bool:
        if self.name not in ("", call.name) or self.times < 0:
            return False
        if self.times:
            self.times = self.times - 1 or -1
        return True


class Proxy:
    """A context manager; it has ``oned_url`` and ``oneflow_url`` like a backend."""

    def __init__(self, backend: Backend) -> None:
        self.on_call: OnCall | None = None
        self.calls: list[Call] = []
        self.requests: list[tuple[Call, ...]] = []
        """The calls of each request; those behind a call that is struck are not in ``calls``."""
        self._faults: dict[str, Fault] = {}
        self._activity = _Activity()
        self._lifted = threading.Event()
        urls = (backend.oned_url, backend.oneflow_url)
        self._fronts = {n: _Front(n, url, self) for n, url in zip(BACKENDS, urls, strict=True)}
        self.oned_url, self.oneflow_url = (self._fronts[name].url for name in BACKENDS)

    def __enter__(self) -> Proxy:
        return self

    def __exit__(self, *_: object) -> None:
        self._lifted.set()
        for front in self._fronts.values():
            front.close()

    def set_fault(self, backend: str, kind: str, **limits: Any) -> None:
        """Activates a fault until ``clear_faults``; ``limits`` are those of Fault."""
        if kind not in KINDS:
            raise ValueError(f"unknown fault {kind!r}")
        self._faults[backend] = Fault(kind, **limits)
        if kind == "refuse":
            self._fronts[backend].close()

    def clear_faults(self) -> None:
        faults, self._faults = self._faults, {}
        lifted, self._lifted = self._lifted, threading.Event()
        lifted.set()
        for name, fault in faults.items():
            if fault.kind == "refuse":
                self._fronts[name].listen()

    def is_idle(self, seconds: float) -> bool:
        """Has no call been in progress for so long?"""
        return self._activity.idle_seconds > seconds

    # ---- one call --------------------------------------------------------------------------

    def pass_on(self, request: Request, exchange: _Exchange) -> None:
        """Forwards a request, unless a fault prevents it. OSError to close its connection."""
        with self._activity:
            self.requests.append(request.calls)
            if self.on_call is None and request.backend not in self._faults:
                self.calls += request.calls
                return exchange.respond(*exchange.forward(request.body))
            return self._pass_on(request, exchange)

    def _pass_on(self, request: Request, exchange: _Exchange) -> None:
        lifted, ending, is_late = self._lifted, "", False
        responses = []
        for call, body in zip(request.calls, request.bodies(), strict=True):
            self.calls.append(call)
            self._tell(call, "before")
            lifted, fault = self._lifted, self._faults.get(call.backend)
            kind = fault.kind if fault and fault.hits(call) else ""
            if kind == "refuse":
                raise ConnectionAbortedError("refused")
            if kind == "hang":
                exchange.hang(lifted)
            if kind in ("garbage", "error"):
                status, content = (200, GARBAGE) if kind == "garbage" else (500, b"broken\n")
                return exchange.respond(status, [("Content-Type", "text/plain")], content)
            if kind in REFUSALS:
                responses.append(request.refusal(call, kind))
                continue
            if fault and kind == "slow" and not is_late:
                is_late = True
                time.sleep(fault.seconds)
            responses.append(exchange.forward(body))
            self._tell(call, "after")
            if kind == "cut" or kind in ENDLESS:
                ending = kind
                break
        if fault and ending == "stall":
            lifted.wait(fault.seconds)
            exchange.respond(200, [], b"half", is_cut=True)
            exchange.hang(lifted)
        if ending in DRIPS:
            exchange.drip(*DRIPS[ending], lifted)
        return exchange.respond(*joined(responses), is_cut=ending == "cut")

    def _tell(self, call: Call, moment: str) -> None:
        if self.on_call is not None:
            self.on_call(call, moment)


class _Activity:
    """Counts the calls in progress, as a context manager around each of them."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._in_progress, self._ended_at = 0, time.monotonic()

    def __enter__(self) -> None:
        with self._guard:
            self._in_progress += 1

    def __exit__(self, *_: object) -> None:
        with self._guard:
            self._in_progress -= 1
            self._ended_at = time.monotonic()

    @property
    def idle_seconds(self) -> float:
        """Since the last call ended; 0 while one is in progress."""
        with self._guard:
            return 0.0 if self._in_progress else time.monotonic() - self._ended_at


class _Front:
    """A listener in front of one of the two services; it has the same port when reopened."""

    def __init__(self, backend: str, target_url: str, proxy: Proxy) -> None:
        self.backend, self.proxy = backend, proxy
        self.target = urlsplit(target_url)
        self._port, self._server = 0, None
        self._connections: set[socket.socket] = set()
        self.listen()
        self.url = f"http://127.0.0.1:{self._port}{self.target.path}"

    def listen(self) -> None:
        front = self

        class Exchange(_Exchange):
            front: _Front

        Exchange.front = front
        server = self._server = wait_until(lambda: self._bound(Exchange))
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()

    def _bound(self, exchange: type[_Exchange]) -> ThreadingHTTPServer | None:
        """None if the port is in use."""
        port = self._port or free_port()
        try:
            server = ThreadingHTTPServer(("127.0.0.1", port), exchange)
        except OSError:
            return None
        server.daemon_threads, self._port = True, port
        return server

    def close(self) -> None:
        server, self._server = self._server, None
        if server is None:
            return
        server.shutdown()
        server.server_close()
        for connection in tuple(self._connections):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def opened(self, connection: socket.socket) -> None:
        self._connections.add(connection)

    def closed(self, connection: socket.socket) -> None:
        self._connections.discard(connection)


class _Exchange(BaseHTTPRequestHandler):
    """Serves the connection of one client."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    front: _Front

    def setup(self) -> None:
        super().setup()
        self.front.opened(self.connection)

    def finish(self) -> None:
        self.front.closed(self.connection)
        with contextlib.suppress(OSError):
            super().finish()

    def handle(self) -> None:
        with contextlib.suppress(OSError):  # the client has disconnected
            super().handle()

    def relay(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.front.backend == "oned":
            request = Request.of_oned(body)
        else:
            request = Request.of_oneflow(self.command, self.path, body)
        try:
            self.front.proxy.pass_on(request, self)
        except (OSError, http.client.HTTPException):
            self.close_connection = True

    do_GET = do_POST = do_PUT = do_DELETE = relay  # noqa: N815

    def is_abandoned(self) -> bool:
        """Has the client closed its connection?"""
        try:
            return self.connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
        except BlockingIOError:
            return False
        except OSError:
            return True

    def forward(self, body: bytes) -> HttpResponse:
        """Sends a request with this body to the backend and returns its response."""
        target = self.front.target
        connection = http.client.HTTPConnection(
            target.hostname or "", target.port, timeout=FORWARD_SECONDS
        )
        headers = {n: v for n, v in self.headers.items() if n.lower() not in HOP_BY_HOP}
        try:
            connection.request(self.command, self.path, body or None, headers)
            response = connection.getresponse()
            return response.status, response.getheaders(), response.read()
        finally:
            connection.close()

    def hang(self, lifted: threading.Event) -> NoReturn:
        """Sends nothing until the fault is lifted or the client has gone; then raises OSError."""
        while not (lifted.wait(POLL_SECONDS) or self.is_abandoned()):
            pass
        raise ConnectionAbortedError("never answered")

    def drip(self, start: bytes, repeated: bytes, lifted: threading.Event) -> NoReturn:
        """The same, but sends a byte now and then."""
        self.send_response_only(200)
        self.flush_headers()
        self.wfile.write(start)
        for byte in itertools.islice(itertools.cycle(repeated), MOST_DRIPS):
            if lifted.wait(DRIP_PAUSE_SECONDS):
                break
            self.wfile.write(bytes([byte]))
        raise ConnectionAbortedError("never completed")

    def respond(
        self, status: int, headers: list[tuple[str, str]], content: bytes, is_cut: bool = False
    ) -> None:
        self.send_response_only(status)
        for name, value in headers:
            if name.lower() not in HOP_BY_HOP:
                self.send_header(name, value)
        if status != 204:
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: len(content) // 2] if is_cut else content)
        self.close_connection = self.close_connection or is_cut

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""
