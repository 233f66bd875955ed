"""oned and oneflow as HTTP servers whose responses a test sets."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

CLOSE = "close"
"""Close the connection instead of answering."""
HANG = "hang"
"""Do not answer until the test is over."""
CUT = "cut"
"""Close the connection in the middle of the response."""


@dataclass
class Call:
    """A request that has arrived."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Answer:
    """A response, or one of CLOSE, HANG and CUT."""

    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    failure: str = ""
    to: bytes = b""
    """Only requests whose body contains this are answered with it."""


class Wire:
    """A server on loopback. Its answers are given in order, the last one again and again."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.is_over = threading.Event()
        self._answers: list[Answer] = []
        self._server = _Server(self)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))

    def __enter__(self) -> Wire:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.is_over.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def answer(
        self, body: str | bytes = b"", status: int = 200, to: bytes = b"", **headers: str
    ) -> None:
        """Headers are named as Python does it: ``content_type``."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        content = body.encode() if isinstance(body, str) else body
        self._answers.append(Answer(content, status, named, to=to))

    def answer_json(self, body: Any, status: int = 200) -> None:
        self.answer(json.dumps(body), status, content_type="application/json")

    def fail(self, how: str, to: bytes = b"") -> None:
        """CLOSE, HANG or CUT."""
        self._answers.append(Answer(failure=how, to=to))

    def take(self, call: Call) -> Answer:
        self.calls.append(call)
        fitting = [answer for answer in self._answers if answer.to in call.body]
        if len(fitting) > 1:
            self._answers.remove(fitting[0])
        return fitting[0]


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        super().__init__(("127.0.0.1", 0), _Handler)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def handle_one_request(self) -> None:
        self.raw_requestline = self.rfile.readline()
        if not self.raw_requestline or not self.parse_request():
            self.close_connection = True
            return
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        call = Call(self.command, self.path, dict(self.headers), body)
        self._give(self.server.wire.take(call))

    def _give(self, answer: Answer) -> None:
        if answer.failure == HANG:
            self.server.wire.is_over.wait()
        if answer.failure:
            self.close_connection = True
        if answer.failure == CUT:
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
        if answer.failure:
            return
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        if answer.status not in (204, 304):
            self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        self.wfile.write(answer.body)

    def log_message(self, *_: Any) -> None:
        """Be quiet."""


@pytest.fixture
def wire() -> Iterator[Wire]:
    with Wire() as wire:
        yield wire
