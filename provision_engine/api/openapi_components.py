"""The components of the OpenAPI document: error responses, headers, parameters and schemas.

The schemas of runtimes are derived from those that requests are validated with.
"""

from __future__ import annotations

import copy
from typing import Any

from provision_engine import config
from provision_engine.api.quota import METRICS
from provision_engine.api.representation import RUNTIME
from provision_engine.api.validation import RUNTIME_SCHEMA, UPDATE_SCHEMA, load_schema
from provision_engine.engine.states import Reason, State

Json = dict[str, Any]

ERRORS = {
    400: "The body is not JSON or does not fit the schema, or a parameter is malformed",
    401: "No, malformed or wrong credentials",
    403: "OpenNebula refuses this user, or a browser sends a change from another site",
    404: "There is no such runtime, or the id is not an integer",
    409: "The idempotency key was used with another body",
    412: "If-Match does not match: the runtime has changed",
    413: "The body is too large",
    422: "No flow template has these flavours, or what is requested is not available",
    423: "A function is in a transient state, or another change holds the runtime",
    429: "Too many requests at once",
    500: "The service failed to deploy (its log is in `message`), or the engine failed",
    502: "Invalid response from OpenNebula",
    503: "OpenNebula is unreachable",
    504: "OpenNebula did not respond in time",
}
_WITH_RETRY_AFTER = (423, 429, 503)


def components() -> Json:
    """The value of the document's `components`."""
    return {
        "securitySchemes": {
            "basic": {"type": "http", "scheme": "basic", "description": "An OpenNebula user"}
        },
        "parameters": _parameters(),
        "headers": _headers(),
        "responses": {str(status): _error_response(status) for status in ERRORS},
        "schemas": _schemas(),
    }


def ref(component: str) -> Json:
    return {"$ref": f"#/components/schemas/{component}"}


def json_content(schema: Json) -> Json:
    return {"application/json": {"schema": schema}}


def json_response(description: str, schema: Json) -> Json:
    return {"description": description, "content": json_content(schema)}


def text_response(description: str, content_type: str) -> Json:
    return {"description": description, "content": {content_type: {"schema": {"type": "string"}}}}


def _error_response(status: int) -> Json:
    names = ["X-Request-ID"]
    names += ["Retry-After"] if status in _WITH_RETRY_AFTER else []
    names += ["WWW-Authenticate"] if status == 401 else []
    headers = {name: {"$ref": f"#/components/headers/{name}"} for name in names}
    return {**json_response(ERRORS[status], ref("Error")), "headers": headers}


def _headers() -> Json:
    texts = {
        "X-Request-ID": "The request's id, which the logs contain.",
        "Location": "The path of the runtime; absent for a dry run.",
        "ETag": "Changes whenever the runtime changes.",
        "Warning": 'An unknown member of the request, which was ignored, as `299 - "…"`.',
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
        "id": _parameter("id", "path", number, "The id of the runtime."),
        "wait": _parameter(
            "wait", "query", {"type": "number", "minimum": 0},
            "Seconds for which the response is held, until no function is PENDING or UPDATING.",
        ),
        "dry_run": _parameter(
            "dry_run", "query", {"type": "boolean"}, "Check everything and show the plan."
        ),
        "name": _parameter("name", "query", text, "Only runtimes of this name."),
        "flavour": _parameter(
            "flavour", "query", text, "Only runtimes of this flavour, or flavour tuple (FAAS-DAAS)."
        ),
        "state": _parameter(
            "state", "query", {"type": "string", "enum": list(State)},
            "Only runtimes with a function in this state.",
        ),
        "limit": _parameter("limit", "query", {**number, "minimum": 1}, "At most this many."),
        "after": _parameter("after", "query", number, "Only runtimes with a greater id."),
        "before": _parameter(
            "before", "query", {**number, "minimum": 1}, "Only runtimes with a lower id."
        ),
        "order": _parameter(
            "order", "query", {"type": "string", "enum": ["asc", "desc"]},
            "By id: asc for the oldest first, desc for the newest first.",
        ),
        "standby": _parameter(
            "standby", "query", {"type": "boolean"}, "Also standby runtimes."
        ),
        "replace": _parameter(
            "replace", "query", {"type": "boolean"},
            "Allow a DAAS to be replaced by a new VM, which loses its disk.",
        ),
        "Idempotency-Key": _parameter(
            "Idempotency-Key", "header", {"type": "string", "minLength": 1, "maxLength": 255},
            "Requests of one user with the same key create only one runtime.",
        ),
        "If-Match": _parameter("If-Match", "header", text, "ETags; 412 if none matches."),
        "If-None-Match": _parameter("If-None-Match", "header", text, "ETags; 304 if one matches."),
        "X-Request-ID": _parameter(
            "X-Request-ID", "header", {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,64}$"},
            "The client's own id for the request, for the logs.",
        ),
    }  # fmt: skip


def _parameter(name: str, location: str, schema: Json, description: str) -> Json:
    result = {"name": name, "in": location, "schema": schema, "description": description}
    return {**result, "required": True} if location == "path" else result


def _schemas() -> Json:
    return {
        **_as_components("RuntimeRequest", _request_schema(RUNTIME_SCHEMA)),
        **_as_components("RuntimeUpdate", _request_schema(UPDATE_SCHEMA)),
        **_as_components("Runtime", _response_schema(RUNTIME_SCHEMA)),
        **_as_components("Configuration", config.schema()),
        **_as_components("Error", load_schema("error.json")),
        **_as_components("DryRun", _DRY_RUN),
        **_as_components("Flavour", _flavour()),
        **_as_components("Timeline", _TIMELINE),
        **_as_components("Quota", _QUOTA),
        **_as_components("Status", _members(status={"type": "string"})),
        **_as_components("Program", _members(name={"type": "string"}, version={"type": "string"})),
    }


def _as_components(name: str, schema: Json) -> Json:
    """A schema as components: each of its definitions becomes one too, named `name`.DEFINITION."""
    schema = copy.deepcopy(schema)
    schema.pop("$schema", None)
    definitions = schema.pop("definitions", {})
    parts = {name: schema, **{f"{name}.{part}": rules for part, rules in definitions.items()}}
    return {part: _to_2020_12(rules, name) for part, rules in parts.items()}


def _to_2020_12(rules: Any, name: str) -> Any:
    """Converts a schema from draft 4 to 2020-12, as far as our schemas need it."""
    if isinstance(rules, list):
        return [_to_2020_12(item, name) for item in rules]
    if not isinstance(rules, dict):
        return rules
    converted = {}
    for key, value in rules.items():
        if key == "$ref" and isinstance(value, str):
            value = value.replace("#/definitions/", f"#/components/schemas/{name}.")
        key = "dependentRequired" if key == "dependencies" else key
        converted[key] = _to_2020_12(value, name)
    return converted


_INTEGER: Json = {"type": "integer"}
_DATE_TIME: Json = {"type": "string", "format": "date-time"}
_ENGINE_MEMBERS: dict[str, Json] = {
    "ID": _INTEGER,
    "SERVICE_ID": _INTEGER,
    "VM_ID": _INTEGER,
    "STATE": {"type": "string", "enum": list(State)},
    "ENDPOINT": {"type": "string"},
    "ERROR": {"type": "string"},
    "REASON": {"type": "string"},
    "REASON_CODE": {"type": "string", "enum": list(Reason)},
    "CREATED": _DATE_TIME,
    "PHASE": {"type": "string", "enum": ["STANDBY"]},
    "SINCE": _DATE_TIME,
    "EXPIRES": _DATE_TIME,
}
"""The members that the engine sets, with their types in a response; a request may send anything."""


def _objects(schema: Json) -> tuple[Json, Json, Json]:
    """The objects of a runtime's schema that contain members set by the engine."""
    runtime = schema["properties"][RUNTIME]
    return runtime, schema["definitions"]["function"], runtime["properties"]["LEASE"]


def _request_schema(schema: Json) -> Json:
    schema = copy.deepcopy(schema)
    for part in _objects(schema):
        for name in _ENGINE_MEMBERS.keys() & part["properties"].keys():
            part["properties"][name]["readOnly"] = True
    return schema


def _response_schema(schema: Json) -> Json:
    """The schema of responses: members set by the engine have types, some are required."""
    schema = copy.deepcopy(schema)
    for part in _objects(schema):
        for name in _ENGINE_MEMBERS.keys() & part["properties"].keys():
            part["properties"][name] |= _ENGINE_MEMBERS[name]
    runtime, function, _ = _objects(schema)
    runtime["required"] = ["NAME", "ID", "FAAS"]
    function["required"] = ["FLAVOUR", "CPU", "MEMORY", "DISK_SIZE", "STATE", "ENDPOINT"]
    return schema


def _members(*optional: str, **members: Json) -> Json:
    required = [name for name in members if name not in optional]
    return {"type": "object", "required": required, "properties": members}


_DRY_RUN = _members(
    FLOW_TEMPLATE=_INTEGER,
    OWNER={"type": "string", "description": "The user who owns the flow template."},
    ROLES={
        "type": "object",
        "description": "By FAAS and DAAS: the role of the flow template, and its VM's attributes.",
        "additionalProperties": _members(NAME={"type": "string"}, ATTRIBUTES={"type": "object"}),
    },
    WARNINGS={
        "type": "array",
        "description": "Members of the request that a create would ignore.",
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
                "description": "ASKED: the request arrived; SERVICE: oneflow started; VM: the VM "
                "was created; SCHEDULED: it got a host; COPIED: its disks were copied.",
                "enum": ["ASKED", "SERVICE", "VM", "SCHEDULED", "COPIED"],
            },
            AT={**_DATE_TIME, "description": "Precise to the second, as OpenNebula stores it."},
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
        FLOW_TEMPLATE={**_INTEGER, "description": "The id of the flow template."},
        OWNER={**text, "description": "The user who owns the flow template."},
        DEPLOYABLE={"type": "boolean"},
        FAAS={**function, "description": "The sizes of a runtime that requests none."},
        DAAS=function,
        FINDINGS={
            "type": "array",
            "description": "Problems of the flow template; the fatal ones prevent a create.",
            "items": _members(TEXT=text, HINT=text, FATAL={"type": "boolean"}),
        },
    )
