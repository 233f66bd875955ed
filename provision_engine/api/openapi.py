"""The API as an OpenAPI 3.1 document, made from the schemas that requests are checked with.

What the routes add (summaries, parameters, statuses) stands in one table, OPERATIONS; a test
holds it against the routes and against answers of the engine.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from flask import Blueprint, Response, jsonify

from provision_engine import __version__, config
from provision_engine.api.quota import METRICS
from provision_engine.api.representation import RUNTIME
from provision_engine.api.validation import RUNTIME_SCHEMA, UPDATE_SCHEMA, load_schema
from provision_engine.engine.states import Reason, State

Json = dict[str, Any]

routes = Blueprint("openapi", __name__)

REFUSED = {
    400: "The body is not JSON or does not fit the schema, or a parameter is malformed",
    401: "No, malformed or wrong credentials",
    403: "OpenNebula refuses this user",
    404: "There is no such runtime, or the id is not a whole number",
    409: "The idempotency key was used with another body",
    412: "If-Match does not match: the runtime changed in between",
    413: "The body is too long",
    422: "No flow template has these flavours, or what is requested is not available",
    423: "A function is in a transient state, or another change holds the runtime",
    429: "Too many requests at once",
    500: "The service failed to deploy (its log is in `message`), or the engine failed",
    502: "Invalid response from OpenNebula",
    503: "OpenNebula is unreachable",
    504: "OpenNebula did not respond in time",
}
ALWAYS_POSSIBLE = (401, 403, 429, 500, 502, 503, 504)
"""Of every call that asks OpenNebula on behalf of a user."""

_WITH_RETRY_AFTER = (423, 429, 503)
_DESCRIPTION = f"""\
Gives devices serverless runtimes: a function VM and perhaps a data VM on an OpenNebula cloud.

Log in with HTTP Basic, as the OpenNebula user. Every answer carries `X-Request-ID`, the client's
own if it sent a sane one; every error has the form `Error`. Beside the statuses listed here a
path that does not exist is 404, another method is 405, and malformed HTTP is refused with 400,
408, 414, 417, 431, 501 or 505, all in the same form.

What is marked as read-only is the engine's: it is ignored when sent, whatever it holds. Members
nobody knows are ignored. `{RUNTIME}` holds up to 20 kB of text, so that an answer fits into
30,000 bytes.
"""


@dataclass(frozen=True)
class Operation:
    """What the table knows of one method of one path."""

    method: str
    path: str
    name: str
    tag: str
    summary: str
    answers: dict[int, Json]
    refusals: tuple[int, ...] = ()
    parameters: tuple[str, ...] = ()
    body: str = ""
    """The component that the request's body has to fit."""
    description: str = ""
    headers: dict[int, tuple[str, ...]] = field(default_factory=dict)
    needs_login: bool = True

    def as_json(self) -> Json:
        told: Json = {"operationId": self.name, "tags": [self.tag], "summary": self.summary}
        if self.description:
            told["description"] = self.description
        if parameters := self._parameters():
            told["parameters"] = [{"$ref": f"#/components/parameters/{p}"} for p in parameters]
        if self.body:
            told["requestBody"] = {"required": True, "content": _json(_ref(self.body))}
        told["responses"] = {str(status): self._answer(status) for status in self.statuses}
        told["security"] = [{"basic": []}] if self.needs_login else []
        return told

    @property
    def statuses(self) -> tuple[int, ...]:
        always = ALWAYS_POSSIBLE if self.needs_login else ()
        return tuple(sorted({*self.answers, *self.refusals, *always}))

    def _parameters(self) -> tuple[str, ...]:
        of_path = ("id",) if "{id}" in self.path else ()
        return (*of_path, *self.parameters, *(("X-Request-ID",) if self.needs_login else ()))

    def _answer(self, status: int) -> Json:
        if status not in self.answers:
            return {"$ref": f"#/components/responses/{status}"}
        names = ("X-Request-ID", *self.headers.get(status, ()))
        headers = {name: {"$ref": f"#/components/headers/{name}"} for name in names}
        return {**self.answers[status], "headers": headers}


def _ref(component: str) -> Json:
    return {"$ref": f"#/components/schemas/{component}"}


def _json(schema: Json) -> Json:
    return {"application/json": {"schema": schema}}


def _answer(description: str, schema: Json) -> Json:
    return {"description": description, "content": _json(schema)}


def _text(description: str, content_type: str) -> Json:
    return {"description": description, "content": {content_type: {"schema": {"type": "string"}}}}


_RUNTIME = _answer("The runtime", _ref("Runtime"))
_ON_ONE = (404, 423)
_ON_CHANGE = (404, 412, 422, 423)

OPERATIONS: tuple[Operation, ...] = (
    Operation(
        "post", "/serverless-runtimes", "create_runtime", "runtimes",
        "Create a serverless runtime",
        {
            200: _answer(
                "The runtime made before with the same key; or, of a dry run, what would be made",
                {"anyOf": [_ref("Runtime"), _ref("DryRun")]},
            ),
            201: _answer("The new runtime; each function is PENDING", _ref("Runtime")),
        },
        (400, 409, 413, 422, 423), ("wait", "dry_run", "Idempotency-Key"), "RuntimeRequest",
        headers={200: ("Location", "Warning"), 201: ("Location", "Warning")},
    ),
    Operation(
        "get", "/serverless-runtimes", "list_runtimes", "runtimes",
        "List the caller's runtimes, states fresh",
        {200: _answer("A page of runtimes", {"type": "array", "items": _ref("Runtime")})},
        (400,), ("name", "flavour", "state", "limit", "after", "before", "order", "standby"),
        headers={200: ("Link",)},
    ),
    Operation(
        "get", "/serverless-runtimes/{id}", "get_runtime", "runtimes",
        "Read a runtime, states fresh",
        {200: _RUNTIME, 304: {"description": "It is as the client has seen it"}},
        (400, *_ON_ONE), ("wait", "If-None-Match"), headers={200: ("ETag",), 304: ("ETag",)},
    ),
    Operation(
        "put", "/serverless-runtimes/{id}", "update_runtime", "runtimes",
        "Change a runtime: sizes, SCHEDULING, DEVICE_INFO, NAME, LEASE",
        {200: _RUNTIME}, (400, 413, *_ON_CHANGE), ("wait", "If-Match"), "RuntimeUpdate",
        "Only what is given and differs is changed, and all of it is checked before any of it is "
        "done. An empty FLAVOUR means unchanged. LEASE renews the lease; null lifts it, where no "
        "maximum is configured. SCHEDULING may also be changed while a VM waits for a host.",
        {200: ("ETag", "Warning")},
    ),
    Operation(
        "delete", "/serverless-runtimes/{id}", "delete_runtime", "runtimes",
        "Delete a runtime with its VMs",
        {204: {"description": "Each VM is gone, or OpenNebula ends it as soon as it can"}},
        (400, 404, 412, 423), ("wait", "If-Match"),
        description="With ?wait= the response is held until the VMs are gone.",
    ),
    Operation(
        "post", "/serverless-runtimes/{id}/recover", "recover_runtime", "runtimes",
        "Let a runtime run again under its own id",
        {200: _RUNTIME}, (400, 404, 422, 423), ("wait", "replace"),
        description="A stopped VM is resumed, a deployment that failed is tried again, and a VM "
        "that failed is replaced by a new one. With ?wait= the response is held until the outcome "
        "is known.",
        headers={200: ("ETag",)},
    ),
    Operation(
        "post", "/serverless-runtimes/{id}/suspend", "suspend_runtime", "runtimes",
        "Suspend the VMs of a runtime: they keep disks and address, and use no CPU and memory",
        {200: _RUNTIME}, (400, 404, 422, 423), ("wait",), headers={200: ("ETag",)},
    ),
    Operation(
        "post", "/serverless-runtimes/{id}/resume", "resume_runtime", "runtimes",
        "Let the VMs of a suspended runtime run again",
        {200: _RUNTIME}, (400, 404, 422, 423), ("wait",), headers={200: ("ETag",)},
    ),
    Operation(
        "get", "/serverless-runtimes/{id}/timeline", "get_timeline", "runtimes",
        "What happened when, while a runtime was created",
        {200: _answer("The steps that are known, in time order", _ref("Timeline"))},
        (400, *_ON_ONE),
    ),
    Operation(
        "get", "/flavours", "list_flavours", "runtimes",
        "List the flavours, and whether the caller can deploy them",
        {200: _answer("All that the caller may see", {"type": "array", "items": _ref("Flavour")})},
        (400,),
    ),
    Operation(
        "get", "/quota", "get_quota", "runtimes", "Read the caller's own quota",
        {200: _answer("Limits and what is used of them", _ref("Quota"))}, (400,),
    ),
    Operation(
        "get", "/serverless-runtimes/schema", "get_schema", "server",
        "The JSON schema of a runtime (draft 4 to 6)",
        {200: _answer("The schema", {"type": "object"})}, needs_login=False,
    ),
    Operation(
        "get", "/", "get_root", "server", "Answer at once, to measure the latency",
        {200: _answer("The program", _ref("Program"))}, needs_login=False,
    ),
    Operation(
        "get", "/server/version", "get_version", "server", "The engine's version",
        {200: _answer("A semantic version", {"type": "string"})}, needs_login=False,
    ),
    Operation(
        "get", "/server/config", "get_config", "server", "The configuration in force",
        {200: _answer("As in engine.conf", _ref("Configuration"))}, needs_login=False,
    ),
    Operation(
        "get", "/healthz", "get_health", "health", "Whether the process works",
        {200: _answer("It does", _ref("Status"))}, needs_login=False,
    ),
    Operation(
        "get", "/readyz", "get_readiness", "health", "Whether OpenNebula can be reached",
        {200: _answer("It can", _ref("Status"))}, (503,), needs_login=False,
    ),
    Operation(
        "get", "/metrics", "get_metrics", "health", "Counters and durations for Prometheus",
        {200: _text("In Prometheus' text form, or OpenMetrics where asked for", "text/plain")},
        needs_login=False,
    ),
    Operation(
        "get", "/openapi.json", "get_openapi", "documents", "This document",
        {200: _answer("OpenAPI 3.1", {"type": "object"})}, needs_login=False,
    ),
    Operation(
        "get", "/docs", "get_docs", "documents", "The API to read and to try",
        {200: _text("A page", "text/html")}, needs_login=False,
    ),
    Operation(
        "get", "/ui", "get_ui", "documents", "The page for a person",
        {200: _text("A page", "text/html")}, needs_login=False,
    ),
)  # fmt: skip


@routes.get("/openapi.json")
def get_openapi() -> Response:
    return jsonify(document())


@cache
def document() -> Json:
    """The whole document."""
    paths: Json = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method] = operation.as_json()
    return {
        "openapi": "3.1.1",
        "info": {
            "title": "Provisioning Engine",
            "version": __version__,
            "description": _DESCRIPTION,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "tags": [
            {"name": "runtimes", "description": "Serverless runtimes"},
            {"name": "server", "description": "What the engine tells about itself"},
            {"name": "health", "description": "For whoever watches over it"},
            {"name": "documents", "description": "For people and their tools"},
        ],
        "paths": paths,
        "components": {
            "securitySchemes": {
                "basic": {"type": "http", "scheme": "basic", "description": "OpenNebula's user"}
            },
            "parameters": _parameters(),
            "headers": _headers(),
            "responses": {str(status): _refusal(status) for status in REFUSED},
            "schemas": _schemas(),
        },
    }


# ---- components ------------------------------------------------------------------------


def _refusal(status: int) -> Json:
    names = ["X-Request-ID"]
    names += ["Retry-After"] if status in _WITH_RETRY_AFTER else []
    names += ["WWW-Authenticate"] if status == 401 else []
    headers = {name: {"$ref": f"#/components/headers/{name}"} for name in names}
    return {**_answer(REFUSED[status], _ref("Error")), "headers": headers}


def _headers() -> Json:
    texts = {
        "X-Request-ID": "The request's id, under which the logs tell of it.",
        "Location": "The path of the runtime; not of a dry run.",
        "ETag": "Changes whenever anything in the runtime does.",
        "Warning": 'A member of the request that is unknown and was ignored, as `299 - "…"`.',
        "Link": 'The next page, as `<path>; rel="next"`; not on the last one.',
        "WWW-Authenticate": "HTTP Basic.",
    }
    headers: Json = {
        name: {"description": text, "schema": {"type": "string"}} for name, text in texts.items()
    }
    headers["Retry-After"] = {"description": "Seconds.", "schema": {"type": "integer"}}
    return headers


def _parameters() -> Json:
    number = {"type": "integer", "minimum": 0, "maximum": 2**31 - 1}
    text = {"type": "string"}
    return {
        "id": _parameter("id", "path", number, "Number of the runtime."),
        "wait": _parameter(
            "wait", "query", {"type": "number", "minimum": 0},
            "Seconds for which the response is held, until no function is PENDING or UPDATING.",
        ),
        "dry_run": _parameter(
            "dry_run", "query", {"type": "boolean"}, "Check everything and show the plan."
        ),
        "name": _parameter("name", "query", text, "Only runtimes of this name."),
        "flavour": _parameter(
            "flavour", "query", text, "Only runtimes of this flavour, or of these: FAAS-DAAS."
        ),
        "state": _parameter(
            "state", "query", {"type": "string", "enum": list(State)},
            "Only runtimes of which a function is in this state.",
        ),
        "limit": _parameter("limit", "query", {**number, "minimum": 1}, "So many at most."),
        "after": _parameter("after", "query", number, "Only runtimes with a greater id."),
        "before": _parameter(
            "before", "query", {**number, "minimum": 1}, "Only runtimes with a lower id."
        ),
        "order": _parameter(
            "order", "query", {"type": "string", "enum": ["asc", "desc"]},
            "By id: the oldest first, or with desc the newest first.",
        ),
        "standby": _parameter(
            "standby", "query", {"type": "boolean"}, "Also runtimes that wait for their create."
        ),
        "replace": _parameter(
            "replace", "query", {"type": "boolean"},
            "Allow that a DAAS gets a new VM, and loses its disk.",
        ),
        "Idempotency-Key": _parameter(
            "Idempotency-Key", "header", {"type": "string", "minLength": 1, "maxLength": 255},
            "The same user and key make one runtime, however often they ask.",
        ),
        "If-Match": _parameter("If-Match", "header", text, "ETags; only if one of them matches."),
        "If-None-Match": _parameter("If-None-Match", "header", text, "ETags; 304 if one matches."),
        "X-Request-ID": _parameter(
            "X-Request-ID", "header", {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,64}$"},
            "The client's own id of its request, for the logs.",
        ),
    }  # fmt: skip


def _parameter(name: str, place: str, schema: Json, description: str) -> Json:
    told = {"name": name, "in": place, "schema": schema, "description": description}
    return {**told, "required": True} if place == "path" else told


def _schemas() -> Json:
    return {
        **_parts("RuntimeRequest", _read_only(RUNTIME_SCHEMA)),
        **_parts("RuntimeUpdate", _read_only(UPDATE_SCHEMA)),
        **_parts("Runtime", _answered(RUNTIME_SCHEMA)),
        **_parts("Configuration", config.schema()),
        **_parts("Error", load_schema("error.json")),
        **_parts("DryRun", _DRY_RUN),
        **_parts("Flavour", _flavour()),
        **_parts("Timeline", _TIMELINE),
        **_parts("Quota", _QUOTA),
        **_parts("Status", _members(status={"type": "string"})),
        **_parts("Program", _members(name={"type": "string"}, version={"type": "string"})),
    }


def _parts(name: str, schema: Json) -> Json:
    """A schema as components: its definitions become ones of their own, named after it."""
    schema = copy.deepcopy(schema)
    schema.pop("$schema", None)
    definitions = schema.pop("definitions", {})
    parts = {name: schema, **{f"{name}.{part}": rules for part, rules in definitions.items()}}
    return {part: _modern(rules, name) for part, rules in parts.items()}


def _modern(rules: Any, name: str) -> Any:
    """Draft 4 to 6, as far as our schemas use it, in the words of draft 2020-12."""
    if isinstance(rules, list):
        return [_modern(item, name) for item in rules]
    if not isinstance(rules, dict):
        return rules
    told = {}
    for key, value in rules.items():
        if key == "$ref" and isinstance(value, str):
            value = value.replace("#/definitions/", f"#/components/schemas/{name}.")
        key = "dependentRequired" if key == "dependencies" else key
        told[key] = _modern(value, name)
    return told


_WHOLE: Json = {"type": "integer"}
_MOMENT: Json = {"type": "string", "format": "date-time"}
_ENGINES: dict[str, Json] = {
    "ID": _WHOLE,
    "SERVICE_ID": _WHOLE,
    "VM_ID": _WHOLE,
    "STATE": {"type": "string", "enum": list(State)},
    "ENDPOINT": {"type": "string"},
    "ERROR": {"type": "string"},
    "REASON": {"type": "string"},
    "REASON_CODE": {"type": "string", "enum": list(Reason)},
    "CREATED": _MOMENT,
    "PHASE": {"type": "string", "enum": ["STANDBY"]},
    "SINCE": _MOMENT,
    "EXPIRES": _MOMENT,
}
"""What only the engine can know: anything in a request, but of a type in an answer."""


def _objects(schema: Json) -> tuple[Json, Json, Json]:
    """The objects of a runtime's schema that hold members of the engine."""
    runtime = schema["properties"][RUNTIME]
    return runtime, schema["definitions"]["function"], runtime["properties"]["LEASE"]


def _read_only(schema: Json) -> Json:
    schema = copy.deepcopy(schema)
    for part in _objects(schema):
        for name in _ENGINES.keys() & part["properties"].keys():
            part["properties"][name]["readOnly"] = True
    return schema


def _answered(schema: Json) -> Json:
    """As answered: the members of the engine have types, and the important ones are there."""
    schema = copy.deepcopy(schema)
    for part in _objects(schema):
        for name in _ENGINES.keys() & part["properties"].keys():
            part["properties"][name] |= _ENGINES[name]
    runtime, function, _ = _objects(schema)
    runtime["required"] = ["NAME", "ID", "FAAS"]
    function["required"] = ["FLAVOUR", "CPU", "MEMORY", "DISK_SIZE", "STATE", "ENDPOINT"]
    return schema


def _members(*optional: str, **members: Json) -> Json:
    required = [name for name in members if name not in optional]
    return {"type": "object", "required": required, "properties": members}


_DRY_RUN = _members(
    FLOW_TEMPLATE=_WHOLE,
    ROLES={
        "type": "object",
        "description": "By FAAS and DAAS: the role of the flow template, and its VM's attributes.",
        "additionalProperties": _members(NAME={"type": "string"}, ATTRIBUTES={"type": "object"}),
    },
    WARNINGS={
        "type": "array",
        "description": "What a create would do nevertheless, but perhaps not as it was meant.",
        "items": _members(
            CODE={"enum": ["IGNORED"]}, PATH={"type": "string"}, TEXT={"type": "string"}
        ),
    },
)
_TIMELINE = _members(
    STEPS={
        "type": "array",
        "items": _members(
            "FUNCTION",
            STEP={
                "description": "ASKED: the request came; SERVICE: oneflow began; VM: it was made; "
                "SCHEDULED: it has a host; COPIED: its disks are there, and it boots.",
                "enum": ["ASKED", "SERVICE", "VM", "SCHEDULED", "COPIED"],
            },
            AT={**_MOMENT, "description": "To the second, as OpenNebula knows it."},
            FUNCTION={"enum": ["FAAS", "DAAS"]},
        ),
    }
)

_QUOTA = _members(
    **{
        name: _members(
            LIMIT={"type": ["number", "null"], "description": "null: unlimited."},
            USED={"type": "number"},
        )
        for name in METRICS
    }
)
"""MEMORY and SYSTEM_DISK_SIZE are MB."""


def _flavour() -> Json:
    sizes = RUNTIME_SCHEMA["definitions"]["function"]["properties"]
    function = _members(**{n: sizes[n] for n in ("FLAVOUR", "CPU", "MEMORY", "DISK_SIZE")})
    text: Json = {"type": "string"}
    return _members(
        "FAAS",
        "DAAS",
        FLAVOURS={**text, "description": "The tuple: FAAS, or FAAS-DAAS."},
        FLOW_TEMPLATE={**_WHOLE, "description": "Number of the flow template."},
        DEPLOYABLE={"type": "boolean"},
        FAAS={**function, "description": "The sizes of a request that asks for none."},
        DAAS=function,
        FINDINGS={
            "type": "array",
            "description": "What is not as it should be; the fatal ones prevent a create.",
            "items": _members(TEXT=text, HINT=text, FATAL={"type": "boolean"}),
        },
    )
