"""A proxy in front of an engine that loses, holds or rejects the requests a test names."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple

from werkzeug import Request, Response

from tests.support.client import request
from tests.support.engine import served

LIMIT_SECONDS = 60.0


class Fate(Enum):
    """What happens to a request."""

    LOSE = "the engine gets it, and its response never arrives"
    HOLD = "the engine gets it, and its response waits until the test releases it"
    LOCKED = "423 instead of the engine"
    GATEWAY = "the engine gets it, and 504 of a proxy arrives instead of its response"


class Seen(NamedTuple):
    """A request that arrived, and the status of its response."""

    method: str
    key: str
    status: int
    was_lost: bool


@dataclass
class LossyProxy:
    """``first`` and ``always`` say by method which requests have a fate."""

    engine_port: int
    url: str = ""
    first: dict[str, Fate] = field(default_factory=dict)
    always: dict[str, Fate] = field(default_factory=dict)
    requests: list[Seen] = field(default_factory=list)
    is_held: threading.Event = field(default_factory=threading.Event)
    release: threading.Event = field(default_factory=threading.Event)

    @Request.application
    def respond(self, asked: Request) -> Response:
        method, key = asked.method, asked.headers.get("Idempotency-Key", "")
        fate = self.first.pop(method, None) or self.always.get(method)
        status, headers = 423, {"Content-Type": "application/json", "Retry-After": "1"}
        content = b'{"error": "Locked", "message": "try again"}'
        if fate is not Fate.LOCKED:
            where = (self.engine_port, method, asked.full_path, asked.data)
            got = request(*where, headers=dict(asked.headers), user=None, seconds=LIMIT_SECONDS)
            status, headers, content = got[:3]
        self.requests.append(Seen(method, key, status, fate in (Fate.LOSE, Fate.GATEWAY)))
        if fate is Fate.HOLD:
            self.is_held.set()
            self.release.wait(LIMIT_SECONDS)
        if fate is Fate.LOSE:
            asked.environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
            raise ConnectionAbortedError("lost")
        if fate is Fate.GATEWAY:
            return Response("<html>", 504, {"Retry-After": "1"})
        kept = {n: v for n, v in headers.items() if n in ("Content-Type", "Retry-After")}
        return Response(content, status, kept)


@contextlib.contextmanager
def lossy_proxy(engine_port: int) -> Iterator[LossyProxy]:
    proxy = LossyProxy(engine_port)
    with served(proxy.respond) as proxy.url:
        yield proxy
        proxy.release.set()
