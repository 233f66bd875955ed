"""A client of the engine over one persistent connection."""

from __future__ import annotations

import base64
import http.client
import json
import re
import time
from typing import Any

PATH = "/serverless-runtimes"
CREATED, NO_CONTENT, UNPROCESSABLE, LOCKED = 201, 204, 422, 423
UNLOCKED_SECONDS = 60.0
Runtime = dict[str, Any]


class Device:
    """One user's client. Raises RuntimeError for an unexpected status."""

    def __init__(self, user: str, password: str, port: int, name: str) -> None:
        token = base64.b64encode(f"{user}:{password}".encode()).decode()
        self._headers = {"Authorization": f"Basic {token}"}
        self._connection = http.client.HTTPConnection("127.0.0.1", port)
        self._name = name

    def ask(
        self, method: str, path: str, body: Any = None, expect: int = 200, **headers: str
    ) -> Any:
        status, content = self._exchange(method, path, body, headers)
        if status != expect:
            raise _unexpected(method, path, status, content)
        return json.loads(content) if content else None

    def _exchange(
        self, method: str, path: str, body: Any, headers: dict[str, str]
    ) -> tuple[int, bytes]:
        text = None if body is None else json.dumps(body)
        self._connection.request(method, PATH + path, text, self._headers | headers)
        answer = self._connection.getresponse()
        return answer.status, answer.read()

    def create(self, flavour: str, key: str = "") -> Runtime:
        """The name of everything that a run creates, by which it is found for removal."""
        runtime: Runtime = self._create(flavour, key, CREATED)["SERVERLESS_RUNTIME"]
        return runtime

    def create_nothing(self, key: str) -> None:
        """A create that is rejected, since no flavour has this name."""
        self._create("no-such-flavour", key, UNPROCESSABLE)

    def _create(self, flavour: str, key: str, expect: int) -> Any:
        body = {"SERVERLESS_RUNTIME": {"NAME": self._name, "FAAS": {"FLAVOUR": flavour}}}
        headers = {"Idempotency-Key": key} if key else {}
        return self.ask("POST", "", body, expect, **headers)

    def read(self, runtime_id: int) -> Runtime:
        runtime: Runtime = self.ask("GET", f"/{runtime_id}")["SERVERLESS_RUNTIME"]
        return runtime

    def list(self, query: str) -> list[Runtime]:
        return [entry["SERVERLESS_RUNTIME"] for entry in self.ask("GET", f"?{query}")]

    def list_following(self, query: str) -> str:
        """The query of the next page, from the Link header; empty on the last page."""
        self._connection.request("GET", f"{PATH}?{query}", headers=self._headers)
        answer = self._connection.getresponse()
        answer.read()
        found = re.match(r"<[^?]*\?(.*)>", answer.headers["Link"] or "")
        return found[1] if found else ""

    def delete(self, runtime_id: int) -> None:
        """Repeats the request while the runtime is locked: a standby may still be created."""
        end = time.monotonic() + UNLOCKED_SECONDS
        while True:
            status, content = self._exchange("DELETE", f"/{runtime_id}", None, {})
            if status == NO_CONTENT:
                return
            if status != LOCKED or time.monotonic() > end:
                raise _unexpected("DELETE", f"/{runtime_id}", status, content)
            time.sleep(0.2)

    def wait_until_running(self, runtime_id: int, seconds: float, pause_seconds: float) -> None:
        """Raises RuntimeError if it failed, or is not RUNNING in time."""
        end = time.monotonic() + seconds
        while (state := self.read(runtime_id)["FAAS"]["STATE"]) != "RUNNING":
            if state == "ERROR" or time.monotonic() > end:
                raise RuntimeError(f"runtime {runtime_id} is {state}")
            time.sleep(pause_seconds)

    def close(self) -> None:
        self._connection.close()


def _unexpected(method: str, path: str, status: int, content: bytes) -> RuntimeError:
    return RuntimeError(f"{method} {path}: {status} {content[:300]!r}")
