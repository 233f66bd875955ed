"""A device client: it speaks HTTP and JSON, and checks every response against the schemas."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import requests

import provision_engine

from .opennebula import until
from .settings import DATA_FLAVOUR, DISK_MB, FLAVOUR, User

SCHEMAS = Path(provision_engine.__file__).parent / "schemas"
ANSWER_BYTES = 30_000
PATH = "/serverless-runtimes"

Json = dict[str, Any]


def schema(name: str) -> Json:
    return json.loads((SCHEMAS / f"{name}.json").read_text(encoding="utf-8"))


VALIDATORS = {
    name: [kind(schema(name)) for kind in (jsonschema.Draft4Validator, jsonschema.Draft6Validator)]
    for name in ("serverless_runtime", "error")
}


def small(**members: Any) -> Json:
    """A function VM as devices request it."""
    return {"FLAVOUR": FLAVOUR, "CPU": 1, "MEMORY": 128, "DISK_SIZE": DISK_MB, **members}


def data(**members: Any) -> Json:
    return {"FLAVOUR": DATA_FLAVOUR, "CPU": 1, "MEMORY": 128, "DISK_SIZE": DISK_MB, **members}


class Device:
    """One user's client. The ids of the runtimes it has created are in ``made``."""

    def __init__(self, url: str, user: User) -> None:
        self.url, self.user = url, user
        self.made: list[int] = []
        self._session = requests.Session()
        self._session.trust_env = False

    def request(
        self, method: str, path: str = "", body: Any = None, **options: Any
    ) -> requests.Response:
        """Any request; the response is checked against what the contract says of all responses."""
        if body is not None:
            options["data"] = body if isinstance(body, bytes) else json.dumps(body).encode()
        options.setdefault("auth", self.user.pair)
        answer = self._session.request(method, self.url + path, timeout=120, **options)
        check(answer)
        return answer

    def post(self, **members: Any) -> requests.Response:
        answer = self.request("POST", PATH, {"SERVERLESS_RUNTIME": members})
        if answer.status_code == 201:
            self.made.append(answer.json()["SERVERLESS_RUNTIME"]["ID"])
        return answer

    def get(self, runtime_id: int) -> requests.Response:
        return self.request("GET", f"{PATH}/{runtime_id}")

    def put(self, runtime_id: int, **members: Any) -> requests.Response:
        return self.request("PUT", f"{PATH}/{runtime_id}", {"SERVERLESS_RUNTIME": members})

    def delete(self, runtime_id: int) -> requests.Response:
        return self.request("DELETE", f"{PATH}/{runtime_id}")

    # ---- what usually goes well ----------------------------------------------------------

    def create(self, **members: Any) -> Json:
        answer = self.post(**(members or {"FAAS": small()}))
        assert answer.status_code == 201, answer.text
        return answer.json()["SERVERLESS_RUNTIME"]

    def read(self, runtime_id: int) -> Json:
        answer = self.get(runtime_id)
        assert answer.status_code == 200, answer.text
        return answer.json()["SERVERLESS_RUNTIME"]

    def update(self, runtime_id: int, **members: Any) -> Json:
        answer = self.put(runtime_id, **members)
        assert answer.status_code == 200, answer.text
        return answer.json()["SERVERLESS_RUNTIME"]

    def create_running(self, **members: Any) -> Json:
        return self.read_until(self.create(**members)["ID"], "RUNNING")

    def read_until(self, runtime_id: int, state: str) -> Json:
        """The runtime, once all its functions are in that state."""
        seen: Json = {}

        def look() -> bool:
            seen.clear()
            seen.update(self.read(runtime_id))
            return all(seen[r]["STATE"] == state for r in ("FAAS", "DAAS") if r in seen)

        assert until(look), seen
        return dict(seen)


def check(answer: requests.Response) -> None:
    """Checks what the contract requires of every response."""
    assert answer.headers["X-Request-ID"]
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Cache-Control"] == "no-store"
    if answer.status_code == 204:
        assert answer.content == b""
        return
    if answer.request.method == "HEAD" or answer.status_code == 304:
        return
    assert answer.headers["Content-Type"].split(";")[0] == "application/json"
    body = answer.json()
    if answer.status_code >= 400:
        assert set(body) == {"error", "message"}
        assert len(answer.content) <= ANSWER_BYTES
        for validator in VALIDATORS["error"]:
            validator.validate(body)
        assert "Traceback" not in answer.text
        assert "<html" not in answer.text.lower()
    elif isinstance(body, dict) and "SERVERLESS_RUNTIME" in body:
        assert len(answer.content) <= ANSWER_BYTES
        for validator in VALIDATORS["serverless_runtime"]:
            validator.validate(body)
        check_runtime(body["SERVERLESS_RUNTIME"])


def check_runtime(runtime: Json) -> None:
    assert type(runtime["ID"]) is int
    assert type(runtime["SERVICE_ID"]) is int
    for role in {"FAAS", "DAAS"} & runtime.keys():
        function = runtime[role]
        for name in ("CPU", "MEMORY", "DISK_SIZE"):
            assert type(function[name]) is int, name
        assert type(function.get("VM_ID", 0)) is int
        assert function["STATE"] in ("PENDING", "RUNNING", "UPDATING", "SUSPENDED", "ERROR")
        assert ("ERROR" in function) is (function["STATE"] == "ERROR")
        assert isinstance(function["ENDPOINT"], str)
