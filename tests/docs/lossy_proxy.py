"""A proxy in front of an engine that loses, holds or rejects the requests a test names."""

from __future__ import annotations

import contextlib
import json
import threading
from dataclasses import dataclass, field
from enum import Enum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

from tests.support.client import Response, request

LIMIT_SECONDS = 60.0


class Fate(Enum):
    """What happens to a request."""

    LOSE = "the engine gets it, and its response never arrives"
    HOLD = "the engine gets it, and its response waits until the test releases it"
    LOCKED = "423 instead of the engine"


LOCKED_TEXT = json.dumps({"error": "Locked", "message": "try again"}).encode()
LOCKED = Response(423, {"Content-Type": "application/json", "Retry-After": "1"}, LOCKED_TEXT)


class Request(NamedTuple):
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
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.release.set()
        self._server.shutdown()
        self._server.server_close()

    def pass_on(self, asked: BaseHTTPRequestHandler) -> None:
        method, headers = asked.command, dict(asked.headers)
        fate = self.first.pop(method, None) or self.always.get(method)
        body = asked.rfile.read(int(headers.get("Content-Length", 0)))
        response = LOCKED
        if fate is not Fate.LOCKED:
            where = self.engine_port, method, asked.path, body
            response = request(*where, headers=headers, user=None, seconds=LIMIT_SECONDS)
        key = headers.get("Idempotency-Key", "")
        self.requests.append(Request(method, key, response.status, fate is Fate.LOSE))
        if fate is Fate.HOLD:
            self.is_held.set()
            self.release.wait(LIMIT_SECONDS)
        if fate is Fate.LOSE:
            asked.close_connection = True
            return
        asked.send_response(response.status)
        for name in {"Content-Type", "Retry-After"} & response.headers.keys():
            asked.send_header(name, response.headers[name])
        asked.send_header("Content-Length", str(len(response.content)))
        with contextlib.suppress(OSError):  # the client has disconnected, like a stopped device
            asked.end_headers()
            asked.wfile.write(response.content)
