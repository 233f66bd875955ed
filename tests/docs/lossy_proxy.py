"""A proxy in front of an engine that loses, holds or rejects the requests a test names."""

from __future__ import annotations

import http.client
import json
import threading
from dataclasses import dataclass, field
from enum import Enum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

LIMIT_SECONDS = 60.0


class Fate(Enum):
    """What happens to a request."""

    LOSE = "the engine gets it, and its response never arrives"
    HOLD = "the engine gets it, and its response waits until the test releases it"
    LOCKED = "423 instead of the engine"


@dataclass(frozen=True)
class Request:
    """A request that arrived, and the status of its response."""

    method: str
    key: str
    status: int
    was_lost: bool


@dataclass
class LossyProxy:
    """On a free port; ``first`` and ``always`` say by method which requests have a fate."""

    engine_port: int
    first: dict[str, Fate] = field(default_factory=dict)
    always: dict[str, Fate] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    is_held: threading.Event = field(default_factory=threading.Event)
    release: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> LossyProxy:
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            def handle_request(self) -> None:
                proxy.pass_on(self)

            do_GET = do_POST = do_PUT = do_DELETE = handle_request  # noqa: N815

            def log_message(self, *_arguments: Any) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def pass_on(self, request: BaseHTTPRequestHandler) -> None:
        method, key = request.command, request.headers.get("Idempotency-Key", "")
        fate = self.first.pop(method, None) or self.always.get(method)
        body = request.rfile.read(int(request.headers.get("Content-Length", 0)))
        if fate is Fate.LOCKED:
            self.requests.append(Request(method, key, 423, False))
            text = json.dumps({"error": "Locked", "message": "try again"}).encode()
            _answer(request, 423, {"Retry-After": "1"}, text)
            return
        status, headers, text = self._exchange(request, body)
        self.requests.append(Request(method, key, status, fate is Fate.LOSE))
        if fate is Fate.HOLD:
            self.is_held.set()
            self.release.wait(LIMIT_SECONDS)
        if fate is Fate.LOSE:
            request.close_connection = True
            return
        _answer(request, status, headers, text)

    def _exchange(
        self, request: BaseHTTPRequestHandler, body: bytes
    ) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection(
            "127.0.0.1", self.engine_port, timeout=LIMIT_SECONDS
        )
        try:
            connection.request(request.command, request.path, body, dict(request.headers))
            response = connection.getresponse()
            return response.status, dict(response.getheaders()), response.read()
        finally:
            connection.close()


def _answer(
    request: BaseHTTPRequestHandler, status: int, headers: dict[str, str], text: bytes
) -> None:
    request.send_response(status)
    for name in ("Content-Type", "Retry-After"):
        if name in headers:
            request.send_header(name, headers[name])
    request.send_header("Content-Length", str(len(text)))
    try:
        request.end_headers()
        request.wfile.write(text)
    except OSError:  # the client has disconnected, like a device that was stopped
        request.close_connection = True
