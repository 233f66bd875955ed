"""Requests to an engine, one connection each, and specifications of runtimes."""

from __future__ import annotations

import base64
import http.client
import json
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

from tests.support.users import USER, User
from tests.support.waiting import WAIT_SECONDS

RUNTIMES = "/serverless-runtimes"
FAAS = {"FLAVOUR": "nature", "CPU": 1, "MEMORY": 512, "DISK_SIZE": 1025}
DAAS = {"FLAVOUR": "s3", "CPU": 1, "MEMORY": 256, "DISK_SIZE": 1026}
SPECIFICATIONS: dict[str, dict[str, Any]] = {
    "FAAS": {"FAAS": FAAS},
    "FAAS-DAAS": {"FAAS": FAAS, "DAAS": DAAS},
}

Json = Any


class Response(NamedTuple):
    status: int
    headers: dict[str, str]
    content: bytes
    seconds: float = 0.0
    """From the request until the response was read."""

    @property
    def json(self) -> Json:
        return json.loads(self.content)

    @property
    def runtime(self) -> dict[str, Any]:
        runtime: dict[str, Any] = self.json["SERVERLESS_RUNTIME"]
        return runtime

    @property
    def is_error(self) -> bool:
        """Does it have the form of the API's errors?"""
        if self.headers.get("Content-Type") != "application/json" or not self.content:
            return False
        is_form = isinstance(self.json, dict) and sorted(self.json) == ["error", "message"]
        return is_form and "X-Request-ID" in self.headers


def authorization(user: User = USER) -> dict[str, str]:
    token = base64.b64encode(user.session.encode()).decode()
    return {"Authorization": f"Basic {token}"}


def body_of(members: Mapping[str, Any]) -> bytes:
    """The body of a request with these members of a runtime."""
    return json.dumps({"SERVERLESS_RUNTIME": members}).encode()


def request(
    port: int,
    method: str,
    path: str,
    members: Mapping[str, Any] | None = None,
    *,
    headers: Mapping[str, str] | None = None,
    user: User | None = USER,
    body: bytes | None = None,
    seconds: float = WAIT_SECONDS,
) -> Response:
    """One request over a new connection; without a user it has no credentials.

    Raises OSError or http.client.HTTPException when the connection breaks, also when it breaks
    in the middle of the response.
    """
    sent = body if members is None else body_of(members)
    login = authorization(user) if user else {}
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=seconds)
    start = time.monotonic()
    try:
        connection.request(method, path, sent, login | dict(headers or {}))
        response = connection.getresponse()
        content = response.read()
    finally:
        connection.close()
    if not content and method != "HEAD" and response.status not in (204, 304):
        raise http.client.IncompleteRead(
            content
        )  # a server that dies may send only the header section
    spent = time.monotonic() - start
    return Response(response.status, dict(response.getheaders()), content, spent)
