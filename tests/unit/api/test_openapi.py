"""Routes, responses and the OpenAPI document are compared with each other."""

from __future__ import annotations

import base64
import itertools
import json
import re
from collections.abc import Iterator
from typing import Any

import openapi_spec_validator
import pytest
from flask import Flask
from flask.testing import FlaskClient
from jsonschema import Draft202012Validator, ValidationError
from openapi_spec_validator.validation.exceptions import OpenAPIValidationError
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

from provision_engine import __version__, errors
from provision_engine.api import service, ui
from provision_engine.api.representation import QUOTA_METRICS
from provision_engine.app import create_app
from provision_engine.cloud.client import Credentials
from provision_engine.cloud.oned import Oned
from provision_engine.cloud.oneflow import Oneflow
from provision_engine.engine.actions import recover, suspend
from provision_engine.engine.runtime.states import State
from provision_engine.sandbox import Sandbox
from tests.unit.api import derived_schemas
from tests.unit.support import configuration

DOCUMENT = json.loads(json.dumps(service.openapi_document()))
BASE = "urn:api"
REGISTRY: Registry[Any] = Registry().with_resource(
    BASE, Resource.from_contents(DOCUMENT, default_specification=DRAFT202012)
)
METHODS = {"get", "put", "post", "delete"}
RUNTIMES = "/serverless-runtimes"
NATURE = {"SERVERLESS_RUNTIME": {"FAAS": {"FLAVOUR": "nature"}}}

Pair = tuple[str, str, int]


def login(user: str = "devuser", password: str = "devpass") -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


def template(rule: str) -> str:
    """A rule of Flask as a path of OpenAPI."""
    return re.sub(r"<[^>]*>", "{id}", rule)


def documented() -> set[Pair]:
    return {
        (method, path, int(status))
        for path, item in DOCUMENT["paths"].items()
        for method in METHODS & item.keys()
        for status in item[method]["responses"]
    }


def resolved(part: dict[str, Any]) -> dict[str, Any]:
    if "$ref" not in part:
        return part
    found: Any = DOCUMENT
    for name in part["$ref"].removeprefix("#/").split("/"):
        found = found[name]
    return found


class Watched:
    """Calls the engine, and checks each response against the document."""

    def __init__(self, app: Flask) -> None:
        self.app = app
        self.client: FlaskClient = app.test_client()
        self.seen: set[Pair] = set()

    def __call__(
        self, method: str, path: str, body: Any = None, *, headers: Any = None
    ) -> tuple[int, Any]:
        data = body if isinstance(body, bytes) or body is None else json.dumps(body)
        sent = login() if headers is None else headers
        answer = self.client.open(path, method=method.upper(), headers=sent, data=data)
        with self.app.test_request_context(path, method=method.upper()) as context:
            assert context.request.url_rule is not None
            rule = template(context.request.url_rule.rule)
        check(method, rule, answer)
        self.seen.add((method, rule, answer.status_code))
        return answer.status_code, answer.get_json(silent=True)


def check(method: str, rule: str, answer: Any) -> None:
    """Raises AssertionError or ValidationError if a response is not as documented."""
    responses = DOCUMENT["paths"][rule][method]["responses"]
    status = str(answer.status_code)
    assert status in responses, f"{method} {rule} answered {status}: {answer.data[:200]!r}"
    response = resolved(responses[status])
    content = response.get("content")
    if content is None:
        assert answer.data == b""
        return
    assert answer.mimetype in content
    if answer.mimetype == "application/json":
        schema = content["application/json"]["schema"]
        validator = Draft202012Validator(absolute(schema), registry=REGISTRY)
        validator.validate(answer.get_json())
    needed = {"X-Request-ID", "WWW-Authenticate", "Retry-After", "ETag"}
    for name in response["headers"].keys() & needed:
        assert name in answer.headers, f"{method} {rule} {status} has no {name}"


def absolute(schema: Any) -> Any:
    """The schema with its references pointing into the document."""
    text = json.dumps(schema).replace('"#/components', f'"{BASE}#/components')
    return json.loads(text)


@pytest.fixture(params=["6.8.0", "7.4.0"])
def sandbox(request: pytest.FixtureRequest) -> Iterator[Sandbox]:
    with Sandbox(release=request.param) as sandbox:
        yield sandbox


@pytest.fixture
def call(sandbox: Sandbox) -> Watched:
    text = (
        f"one_xmlrpc: {sandbox.oned_url}\noneflow_server: {sandbox.oneflow_url}\n"
        "timeout: 1\nlimits: {body_bytes: 2048}\n"
    )
    return Watched(create_app(configuration(text)))


def created(call: Watched) -> int:
    status, body = call("post", f"{RUNTIMES}?wait=5", NATURE)
    assert status == 201
    number: int = body["SERVERLESS_RUNTIME"]["ID"]
    return number


def test_the_document_is_openapi_3_1() -> None:
    assert DOCUMENT["openapi"].startswith("3.1.")
    openapi_spec_validator.validate(DOCUMENT)
    broken = {**DOCUMENT, "paths": {"no-slash": {}}}
    with pytest.raises(OpenAPIValidationError):
        openapi_spec_validator.validate(broken)


@pytest.mark.parametrize("name", derived_schemas.schemas())
def test_the_documented_schemas_are_those_that_the_engine_validates_with(name: str) -> None:
    derived = json.loads(json.dumps(derived_schemas.schemas()[name]))
    assert DOCUMENT["components"]["schemas"][name] == derived


def test_the_document_names_the_states_and_the_metrics_of_a_quota() -> None:
    components = DOCUMENT["components"]
    assert components["parameters"]["state"]["schema"]["enum"] == list(State)
    assert list(components["schemas"]["Quota"]["properties"]) == list(QUOTA_METRICS)
    assert DOCUMENT["info"]["version"] == __version__


def test_each_route_is_documented_and_each_path_is_a_route(call: Watched) -> None:
    assets = {"/ui/{id}", "/docs/{id}"}
    routes = {
        (method.lower(), template(rule.rule))
        for rule in call.app.url_map.iter_rules()
        for method in rule.methods or ()
        if method.lower() in METHODS
    }
    documented_routes = {(method, path) for method, path, _ in documented()}
    assert {route for route in routes if route[1] not in assets} == documented_routes
    assert {("get", path) for path in assets} <= routes
    assert set(ui.PAGES) <= set(DOCUMENT["paths"])


def test_each_documented_status_occurs_and_no_other(
    sandbox: Sandbox, call: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    _ask_about_the_engine(sandbox, call)
    _create(call)
    number = created(call)
    one = f"{RUNTIMES}/{number}"
    _use(call, one)
    _refuse(call, one)
    _fail_behind(call, one, monkeypatch)
    assert documented() - call.seen == set()


def _ask_about_the_engine(sandbox: Sandbox, call: Watched) -> None:
    for path in DOCUMENT["paths"]:
        if "get" in DOCUMENT["paths"][path] and not DOCUMENT["paths"][path]["get"]["security"]:
            assert call("get", path, headers={})[0] == 200
    sandbox.faults.set("oned", "garbage")
    call.app.extensions["probe"] = type(call.app.extensions["probe"])(
        call.app.extensions["backends"]
    )
    status, body = call("get", "/readyz", headers={})
    assert (status, list(body["message"])) == (503, ["oned"])
    sandbox.faults.clear()


def _create(call: Watched) -> None:
    keyed = login() | {"Idempotency-Key": "k"}
    assert call("post", RUNTIMES, NATURE, headers=keyed)[0] == 201
    assert call("post", RUNTIMES, NATURE, headers=keyed)[0] == 200
    other = {"SERVERLESS_RUNTIME": {"FAAS": {"FLAVOUR": "nature", "CPU": 3}}}
    assert call("post", RUNTIMES, other, headers=keyed)[0] == 409
    status, body = call("post", f"{RUNTIMES}?dry_run=1", NATURE)
    assert (status, list(body)) == (200, ["FLOW_TEMPLATE", "OWNER", "ROLES", "WARNINGS"])
    assert call("post", RUNTIMES, b"[]")[0] == 400
    assert call("post", RUNTIMES, b" " * 3000)[0] == 413
    nope = {"SERVERLESS_RUNTIME": {"FAAS": {"FLAVOUR": "nope"}}}
    assert call("post", RUNTIMES, nope)[0] == 422
    failing = {"SERVERLESS_RUNTIME": {"FAAS": {"FLAVOUR": "FAILED_DEPLOY"}}}
    assert call("post", RUNTIMES, failing)[0] == 500


def _use(call: Watched, one: str) -> None:
    assert call("get", RUNTIMES)[0] == 200
    assert call("get", f"{RUNTIMES}?state=x")[0] == 400
    assert call("get", "/server/config?all=x")[0] == 400
    assert call("get", one)[0] == 200
    tag = call.client.get(one, headers=login()).headers["ETag"]
    assert call("get", one, headers=login() | {"If-None-Match": tag})[0] == 304
    assert call("put", one, {"SERVERLESS_RUNTIME": {"FAAS": {"MEMORY": 256}}})[0] == 200
    status, body = call("get", f"{one}/timeline")
    assert (status, body["STEPS"][0]["STEP"]) == (200, "ASKED")
    assert {"ASKED", "SERVICE", "VM", "SCHEDULED"} <= {step["STEP"] for step in body["STEPS"]}
    assert call("post", f"{one}/recover")[0] == 200
    assert call("post", f"{one}/suspend?wait=20")[0] == 200
    assert call("post", f"{one}/resume?wait=20")[0] == 200
    assert call("get", "/quota")[0] == 200
    status, body = call("get", "/flavours")
    assert status == 200
    assert {f["FLAVOURS"] for f in body if f["DEPLOYABLE"]} >= {"nature", "nature-s3"}
    gone = f"{RUNTIMES}/{created(call)}"
    assert call("delete", gone)[0] == 204


def _refuse(call: Watched, one: str) -> None:
    stale = login() | {"If-Match": '"stale"'}
    change = {"SERVERLESS_RUNTIME": {"NAME": "x"}}
    assert call("put", one, change, headers=stale)[0] == 412
    assert call("delete", one, headers=stale)[0] == 412
    assert call("put", one, b"{")[0] == 400
    assert call("put", one, b" " * 3000)[0] == 413
    assert call("put", one, {"SERVERLESS_RUNTIME": {"FAAS": {"FLAVOUR": "x"}}})[0] == 422
    for path in ("", "/recover", "/suspend", "/resume"):
        assert call("post" if path else "get", f"{one}{path}?wait=x")[0] == 400
    assert call("delete", f"{one}?wait=x")[0] == 400
    for path in ("/flavours", "/quota", f"{one}/timeline"):
        assert call("get", f"{path}?unknown=x")[0] == 400
    for method, path in _operations("x"):
        assert call(method, path, change)[0] == 404
    for method, path in [*_operations(one), *_on_all()]:
        assert call(method, path, NATURE, headers={})[0] == 401
        assert call(method, path, NATURE, headers=login(password="wrong"))[0] == 401


def _operations(one: str) -> list[tuple[str, str]]:
    one = one if one.startswith("/") else f"{RUNTIMES}/{one}"
    return [
        ("get", one),
        ("put", one),
        ("delete", one),
        ("post", f"{one}/recover"),
        ("post", f"{one}/suspend"),
        ("post", f"{one}/resume"),
        ("get", f"{one}/timeline"),
    ]


def _on_all() -> list[tuple[str, str]]:
    return [("get", RUNTIMES), ("post", RUNTIMES), ("get", "/flavours"), ("get", "/quota")]


def _fail_behind(call: Watched, one: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever goes wrong behind a call, its response is a documented one."""
    failures: tuple[Exception, ...] = (
        errors.Forbidden("no"),
        errors.TooManyRequests("no"),
        errors.BadGateway("no"),
        errors.BackendUnreachable("no"),
        errors.BackendTimeout("no"),
        RuntimeError("a defect"),
    )
    calls = [*_operations(one), *_on_all()]
    for failure, (method, path) in itertools.product(failures, calls):
        memory = call.app.extensions["memory"]
        memory.for_login(memory.login(Credentials("devuser", "devpass"))).forget_cached()
        with monkeypatch.context() as patch:
            patch.setattr(Oned, "together", _raising(failure))
            status, _ = call(method, path, NATURE)
        assert status == getattr(failure, "status", 500)
    for method, path in [*_operations(one), ("post", RUNTIMES)]:
        with monkeypatch.context() as patch:
            patch.setattr(Oned, "together", _raising(errors.Locked("no")))
            assert call(method, path, NATURE)[0] == 423
    refused = _raising(errors.ActionRefused("no"))
    with monkeypatch.context() as patch:
        patch.setattr(recover, "recover_runtime", refused)
        patch.setattr(suspend, "suspend_runtime", refused)
        patch.setattr(suspend, "resume_runtime", refused)
        for path in ("recover", "suspend", "resume"):
            assert call("post", f"{one}/{path}")[0] == 422
    with monkeypatch.context() as patch:
        # A delete that oneflow keeps refusing has to be repeated later.
        patch.setattr(Oneflow, "_send", refused)
        assert call("delete", one)[0] == 423


def _raising(failure: Exception) -> Any:
    def raising(*_arguments: Any, **_named: Any) -> Any:
        raise failure

    return raising


def test_the_check_notices_what_is_not_documented(call: Watched) -> None:
    answer = call.client.get(RUNTIMES, headers=login())
    check("get", RUNTIMES, answer)
    with pytest.raises(ValidationError):
        check("get", f"{RUNTIMES}/{{id}}", answer)
    refused = call.client.post(RUNTIMES, headers=login(), data=b"[]")
    with pytest.raises(AssertionError, match="answered 400"):
        check("get", "/healthz", refused)


def test_the_pages_load_nothing_from_elsewhere(call: Watched) -> None:
    for path, (name, _) in {**ui.PAGES, **ui.ASSETS}.items():
        answer = call.client.get(path, headers={"Accept-Encoding": "gzip"})
        assert answer.status_code == 200
        assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'")
        assert "unsafe" not in answer.headers["Content-Security-Policy"]
        again = call.client.get(
            path, headers={"Accept-Encoding": "gzip", "If-None-Match": answer.headers["ETag"]}
        )
        assert (again.status_code, again.data) == (304, b"")
        if name.endswith(".html"):
            text = (ui.FILES / name).read_text()
            assert not re.search(r"(?:src|href)=[\"']?(?:https?:)?//", text)
            assert "<style" not in text
            assert " style=" not in text
            assert all("src=" in script for script in re.findall(r"<script[^>]*>", text))


def test_only_listed_files_are_served(call: Watched) -> None:
    for path in ("/ui/ui.html", "/docs/LICENSE", "/ui/..%2fschemas", "/docs/app.js"):
        answer = call.client.get(path)
        assert (answer.status_code, answer.mimetype) == (404, "application/json")
