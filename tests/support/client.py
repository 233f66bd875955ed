"""The one HTTP client: requests to an engine, and what the contract says of every response."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode, urlsplit

import jsonschema

import provision_engine
from tests.support.users import USER, User
from tests.support.waiting import WAIT_SECONDS, wait_until

RUNTIMES = "/serverless-runtimes"
FAAS = {"FLAVOUR": "nature", "CPU": 1, "MEMORY": 512, "DISK_SIZE": 1025}
DAAS = {"FLAVOUR": "s3", "CPU": 1, "MEMORY": 256, "DISK_SIZE": 1026}
SPECIFICATIONS: dict[str, dict[str, Any]] = {
    "FAAS": {"FAAS": FAAS},
    "FAAS-DAAS": {"FAAS": FAAS, "DAAS": DAAS},
}
ROLES = ("FAAS", "DAAS")
DEVICE_BYTES = 30_000
"""A small device reads a response into so many."""
SCHEMAS = Path(provision_engine.__file__).parent / "schemas"
STATES = ("PENDING", "RUNNING", "UPDATING", "SUSPENDED", "ERROR")

Json = dict[str, Any]
Body = bytes | Mapping[str, Any] | None
"""A mapping has the members of a runtime."""


class Response(NamedTuple):
    status: int
    headers: dict[str, str]
    content: bytes
    seconds: float = 0.0
    """From the request until the response was read."""

    @property
    def text(self) -> str:
        return self.content.decode()

    @property
    def json(self) -> Any:
        return json.loads(self.content)

    @property
    def runtime(self) -> Json:
        runtime: Json = self.json["SERVERLESS_RUNTIME"]
        return runtime

    @property
    def runtimes(self) -> list[Json]:
        """Those of a list."""
        return [entry["SERVERLESS_RUNTIME"] for entry in self.json]

    @property
    def next_page(self) -> str:
        """The address of the next page of a list, empty on the last."""
        found = re.fullmatch(r'<([^>]+)>; rel="next"', self.headers.get("Link", ""))
        return found[1] if found else ""

    @property
    def is_error(self) -> bool:
        """Does it have the form of the API's errors?"""
        if self.headers.get("Content-Type") != "application/json" or not self.content:
            return False
        is_form = isinstance(self.json, dict) and sorted(self.json) == ["error", "message"]
        return is_form and "X-Request-ID" in self.headers


def authorization(user: User = USER) -> dict[str, str]:
    token = base64.b64encode(b":".join(user.pair)).decode()
    return {"Authorization": f"Basic {token}"}


def body_of(members: Mapping[str, Any]) -> bytes:
    """The body of a request with these members of a runtime."""
    return json.dumps({"SERVERLESS_RUNTIME": members}).encode()


def request(
    port: int,
    method: str,
    path: str,
    body: Body = None,
    *,
    headers: Mapping[str, str] | None = None,
    user: User | None = USER,
    seconds: float = WAIT_SECONDS,
) -> Response:
    """One request over a new connection; without a user it has no credentials.

    Raises OSError or http.client.HTTPException when the connection breaks, also when it breaks
    in the middle of the response.
    """
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=seconds)
    login = authorization(user) if user else {}
    with contextlib.closing(connection):
        response = exchange(connection, method, path, body, login | dict(headers or {}))
    if not response.content and method != "HEAD" and response.status not in (204, 304):
        # A server that dies may send only the header section.
        raise http.client.IncompleteRead(response.content)
    return response


def exchange(
    connection: http.client.HTTPConnection,
    method: str,
    path: str,
    body: Body,
    headers: Mapping[str, str],
) -> Response:
    """One request over a connection, which is open afterwards if the server keeps it open."""
    sent = body_of(body) if isinstance(body, Mapping) else body
    start = time.monotonic()
    connection.request(method, path, sent, dict(headers))
    response = connection.getresponse()
    content = response.read()
    spent = time.monotonic() - start
    return Response(response.status, dict(response.getheaders()), content, spent)


def with_query(path: str, query: Mapping[str, Any]) -> str:
    return f"{path}?{urlencode(query)}" if query else path


class Device:
    """One user's client. The ids of the runtimes it has created are in ``made``.

    Each response is checked against what the contract says of all responses.
    """

    def __init__(self, url: str, user: User = USER) -> None:
        self.url, self.user = url, user
        self.port = urlsplit(url).port or 80
        self.made: list[int] = []

    def request(self, method: str, path: str, body: Body = None, **options: Any) -> Response:
        """Any request; ``query`` holds its parameters, the others are those of `request`."""
        path = with_query(path, options.pop("query", {}))
        options = {"user": self.user, "seconds": 120.0} | options
        response = request(self.port, method, path, body, **options)
        check(response, method)
        return response

    def post(self, query: str = "", *, headers: Json | None = None, **members: Any) -> Response:
        response = self.request("POST", RUNTIMES + query, members, headers=headers)
        if response.status == 201:
            self.made.append(response.runtime["ID"])
        return response

    def get(self, runtime_id: object, query: str = "", **options: Any) -> Response:
        return self.request("GET", f"{RUNTIMES}/{runtime_id}{query}", **options)

    def put(
        self, runtime_id: int, query: str = "", *, headers: Json | None = None, **members: Any
    ) -> Response:
        return self.request("PUT", f"{RUNTIMES}/{runtime_id}{query}", members, headers=headers)

    def delete(self, runtime_id: int, query: str = "", **options: Any) -> Response:
        return self.request("DELETE", f"{RUNTIMES}/{runtime_id}{query}", **options)

    def act(self, runtime_id: object, action: str, **options: Any) -> Response:
        """Recover, suspend or resume; the action may have a query."""
        return self.request("POST", f"{RUNTIMES}/{runtime_id}/{action}", **options)

    # ---- what usually goes well ----------------------------------------------------------

    def create(self, **members: Any) -> Json:
        return self._runtime(self.post(**members), 201)

    def read(self, runtime_id: int) -> Json:
        return self._runtime(self.get(runtime_id))

    def update(self, runtime_id: int, **members: Any) -> Json:
        return self._runtime(self.put(runtime_id, **members))

    def _runtime(self, response: Response, status: int = 200) -> Json:
        assert response.status == status, response.text
        return response.runtime

    def create_running(self, **members: Any) -> Json:
        return self.read_until(self.create(**members)["ID"], "RUNNING")

    def read_until(self, runtime_id: int, state: str) -> Json:
        """The runtime, once all its functions are in that state."""

        def look() -> Json | None:
            runtime = self.read(runtime_id)
            return runtime if states(runtime) == {state} else None

        runtime: Json = wait_until(look)
        return runtime

    def list(self, **query: Any) -> list[Json]:
        """All runtimes of a list, on one page."""
        return self.page(**query)[0]

    def page(self, path: str = RUNTIMES, **query: Any) -> tuple[list[Json], str]:
        """A page and the address of the next one, empty on the last."""
        response = self.request("GET", with_query(path, query))
        assert response.status == 200, response.text
        for runtime in response.runtimes:
            if "SERVICE_ID" in runtime:
                check_runtime(runtime)
        return response.runtimes, response.next_page


def states(runtime: Json) -> set[str]:
    """Of its functions."""
    return {runtime[role]["STATE"] for role in ROLES if role in runtime}


def schema(name: str) -> Json:
    found: Json = json.loads((SCHEMAS / f"{name}.json").read_text(encoding="utf-8"))
    return found


VALIDATORS = {
    name: [kind(schema(name)) for kind in (jsonschema.Draft4Validator, jsonschema.Draft6Validator)]
    for name in ("serverless_runtime", "error")
}


def check(response: Response, method: str = "GET") -> None:
    """Checks what the contract requires of every response."""
    assert response.headers["X-Request-ID"]
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.headers["Cache-Control"] == "no-store"
    if response.status == 204:
        assert response.content == b""
    if method == "HEAD" or response.status in (204, 304):
        return
    assert response.headers["Content-Type"].split(";")[0] == "application/json"
    body, kind = response.json, ""
    if response.status >= 400:
        kind = "error"
        assert set(body) == {"error", "message"}
        assert "Traceback" not in response.text
        assert "<html" not in response.text.lower()
    elif isinstance(body, dict) and "SERVERLESS_RUNTIME" in body:
        kind = "serverless_runtime"
        check_runtime(body["SERVERLESS_RUNTIME"])
    if kind:
        assert len(response.content) <= DEVICE_BYTES
        for validator in VALIDATORS[kind]:
            validator.validate(body)


def check_runtime(runtime: Json) -> None:
    assert type(runtime["ID"]) is int
    assert type(runtime["SERVICE_ID"]) is int
    for role in {*ROLES} & runtime.keys():
        function = runtime[role]
        for name in ("CPU", "MEMORY", "DISK_SIZE"):
            assert type(function[name]) is int, name
        assert type(function.get("VM_ID", 0)) is int
        assert function["STATE"] in STATES
        assert ("ERROR" in function) is (function["STATE"] == "ERROR")
        assert isinstance(function["ENDPOINT"], str)
