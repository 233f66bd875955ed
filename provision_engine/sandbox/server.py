"""A small HTTP/1.1 server with one thread per connection, on 127.0.0.1 only.

As seen on both releases, oned (``Xmlrpc-c_Abyss/1.33.14``) closes each connection after its
response and says ``Connection: close``, even if the client asks for keep-alive; oneflow (thin on
6.8.0, puma on 7.4.0) keeps an HTTP/1.1 connection open.

It works on sockets because faults need them, and because the standard library's handler takes
longer to parse a request's header section than oned takes to respond.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable
from typing import NamedTuple

ADDRESS = "127.0.0.1"
_MAXIMUM_HEAD_BYTES = 65_536
_REASONS = {
    200: "OK", 201: "Created", 204: "No Content", 400: "Bad Request", 401: "Unauthorized",
    404: "Not Found", 405: "Method Not Allowed", 409: "Conflict", 500: "Internal Server Error",
}  # fmt: skip


class HttpRequest(NamedTuple):
    """A request; header names are in lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


class HttpResponse(NamedTuple):
    """A response; `cut` sends only half of it."""

    status: int
    body: bytes
    content_type: str | None
    cut: bool = False
    """Close the connection in the middle of the response."""


Handler = Callable[[HttpRequest], HttpResponse | None]
"""Handles a request; None closes the connection without a response."""


class HttpServer:
    """One listening socket and the connections it has accepted."""

    def __init__(
        self,
        port: int,
        handler: Handler,
        name: str,
        *,
        keeps_alive: bool = True,
        now: Callable[[], float] = time.time,
    ) -> None:
        """`now` is the time of the Date headers (Unix time)."""
        self.accepted = 0
        self._handler = handler
        self._now = now
        self._keeps_alive = keeps_alive
        self._name = name
        self._listener: socket.socket | None = None
        self._connections: set[socket.socket] = set()
        self._threads: set[threading.Thread] = set()
        self._guard = threading.RLock()
        self.port = port
        self.listen()

    def listen(self) -> None:
        """Opens the port (again); OSError if it is in use."""
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((ADDRESS, self.port))
            listener.listen(512)
        except OSError as error:
            listener.close()
            reason = f"cannot listen on {ADDRESS}:{self.port}: {error.strerror}"
            raise OSError(error.errno, reason) from None
        self.port = listener.getsockname()[1]
        self._listener = listener
        self._start(self._accept, listener)

    def close(self) -> None:
        """Closes the port and all connections; their threads end by themselves."""
        with self._guard:
            listener, self._listener = self._listener, None
            connections = list(self._connections)
        for one in (listener, *connections):
            if one is not None:
                with contextlib.suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)
                if one is listener:
                    one.close()

    def join(self, timeout_seconds: float = 5.0) -> None:
        """Waits until the threads have ended."""
        with self._guard:
            threads = list(self._threads)
        for thread in threads:
            if thread is not threading.current_thread():
                thread.join(timeout_seconds)

    def _start(self, target: Callable[[socket.socket], None], argument: socket.socket) -> None:
        thread = threading.Thread(
            target=self._run, args=(target, argument), name=f"sandbox-{self._name}", daemon=True
        )
        with self._guard:  # so that no thread is joined before it is started
            self._threads.add(thread)
            thread.start()

    def _run(self, target: Callable[[socket.socket], None], argument: socket.socket) -> None:
        try:
            target(argument)
        finally:
            with self._guard:
                self._threads.discard(threading.current_thread())

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with self._guard:
                if self._listener is not listener:
                    connection.close()
                    return
                self.accepted += 1
                self._connections.add(connection)
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._start(self._serve, connection)

    def _serve(self, connection: socket.socket) -> None:
        reader = _Reader(connection)
        try:
            while (request := reader.request()) is not None:
                response = self._handler(request)
                if response is None:
                    return
                is_last = not self._keeps_alive or _asks_to_close(request)
                connection.sendall(_written(response, is_last, self._now()))
                if response.cut or is_last:
                    return
        except (OSError, ValueError):
            return
        finally:
            with self._guard:
                self._connections.discard(connection)
            connection.close()


class _Reader:
    """Reads requests from a connection."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._buffer = b""

    def request(self) -> HttpRequest | None:
        """The next request; None when the peer has closed. ValueError if it is not HTTP."""
        end = self._buffer.find(b"\r\n\r\n")
        while end < 0:
            if not self._more() or len(self._buffer) > _MAXIMUM_HEAD_BYTES:
                return None
            end = self._buffer.find(b"\r\n\r\n")
        first, *lines = self._buffer[:end].decode("latin-1").split("\r\n")
        self._buffer = self._buffer[end + 4 :]
        method, path, _ = first.split(" ", 2)
        headers = {}
        for line in lines:
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        return HttpRequest(method, path, headers, self._body(headers))

    def _body(self, headers: dict[str, str]) -> bytes:
        if headers.get("expect", "").lower() == "100-continue":
            self._connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        if headers.get("transfer-encoding", "").lower() == "chunked":
            return self._chunks()
        return self._take(int(headers.get("content-length") or 0))

    def _chunks(self) -> bytes:
        body = b""
        while size := int(self._line().split(b";")[0], 16):
            body += self._take(size)
            self._line()
        while self._line():
            pass
        return body

    def _line(self) -> bytes:
        while b"\r\n" not in self._buffer:
            if not self._more():
                raise ValueError("the request ends too early")
        line, _, self._buffer = self._buffer.partition(b"\r\n")
        return line

    def _take(self, length: int) -> bytes:
        while len(self._buffer) < length:
            if not self._more():
                raise ValueError("the request ends too early")
        taken, self._buffer = self._buffer[:length], self._buffer[length:]
        return taken

    def _more(self) -> bool:
        data = self._connection.recv(65_536)
        self._buffer += data
        return bool(data)


def _asks_to_close(request: HttpRequest) -> bool:
    return request.headers.get("connection", "").lower() == "close"


def _written(response: HttpResponse, is_last: bool, now: float) -> bytes:
    lines = [f"HTTP/1.1 {response.status} {_REASONS.get(response.status, 'Status')}"]
    if response.content_type:
        lines.append(f"Content-Type: {response.content_type}")
    if response.status != 204:
        lines.append(f"Content-Length: {len(response.body)}")
    if is_last:
        lines.append("Connection: close")
    lines.append(time.strftime("Date: %a, %d %b %Y %H:%M:%S UTC", time.gmtime(now)))
    whole = ("\r\n".join(lines) + "\r\n\r\n").encode() + response.body
    return whole[: len(whole) - max(1, len(response.body) // 2)] if response.cut else whole
