"""The device of the demo: calls the engine over HTTP, as the software of a device does."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from provision_engine.demo.errors import DemoError
from provision_engine.demo.screen import Screen

USER, PASSWORD = "devuser", "devpass"
"""Known to the sandbox only."""
RESPONSE_SECONDS = 60.0
STATE_SECONDS = 30.0
POLL_SECONDS = 0.05

Json = dict[str, Any]


class Device:
    """Calls the engine over HTTP, as the software of a device does."""

    def __init__(self, port: int, screen: Screen) -> None:
        self._port, self._screen = port, screen
        token = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        self._headers = {"Authorization": f"Basic {token}", "Content-Type": "application/json"}

    def call(self, method: str, path: str, body: Json | None = None, *, expected: int) -> Json:
        """The response: a runtime, an error, or nothing. Raises DemoError for another status."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=RESPONSE_SECONDS)
        sent = None if body is None else json.dumps(body)
        try:
            connection.request(method, path, sent, self._headers)
            response = connection.getresponse()
            text = response.read().decode()
        except (OSError, http.client.HTTPException) as error:
            raise DemoError(f"{method} {path}: no response: {error}") from error
        finally:
            connection.close()
        if response.status != expected:
            raise DemoError(f"{method} {path}: {response.status} instead of {expected}: {text}")
        body_received: Json = json.loads(text) if text else {}
        runtime: Json = body_received.get("SERVERLESS_RUNTIME", body_received)
        return runtime

    def watch(self, path: str, is_enough: Callable[[str], bool]) -> Json:
        """Poll the runtime, show each change, and return the last state."""
        until, seen = time.monotonic() + STATE_SECONDS, ("", "")
        while True:
            runtime = self.call("GET", path, expected=200)
            function = runtime["FAAS"]
            now = function["STATE"], function.get("REASON", "")
            if now != seen:
                self._screen.state(*now)
                seen = now
            if is_enough(now[0]):
                return runtime
            if now[0] == "ERROR":
                raise DemoError(f"the function is in ERROR: {now[1]}")
            if time.monotonic() > until:
                raise DemoError(f"the function is still {now[0]} after {STATE_SECONDS:.0f} s")
            time.sleep(POLL_SECONDS)

    @contextlib.contextmanager
    def watched(self, path: str) -> Iterator[None]:
        """Show the changes that happen during another call."""
        over = threading.Event()

        def look() -> None:
            # A failure here also fails the other call, which reports it.
            with contextlib.suppress(DemoError):
                self.watch(path, lambda state: over.is_set() and state != "UPDATING")

        watcher = threading.Thread(target=look, daemon=True)
        watcher.start()
        try:
            yield
        finally:
            over.set()
            watcher.join()
