"""The API as an OpenAPI 3.1 document.

The table OPERATIONS describes each route: summary, parameters and responses. A test compares it
with the routes and with actual responses. ``openapi_components.py`` has what the operations share.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache

from flask import Blueprint, Response, jsonify

from provision_engine import __version__
from provision_engine.api.openapi_components import (
    Json,
    components,
    json_content,
    json_response,
    ref,
    text_response,
)
from provision_engine.api.representation import RUNTIME

routes = Blueprint("openapi", __name__)

ALWAYS_POSSIBLE = (401, 403, 429, 500, 502, 503, 504)
"""Errors of every operation that calls OpenNebula on behalf of a user."""

_DESCRIPTION = f"""\
Provides devices with serverless runtimes: a function VM and optionally a data VM on an OpenNebula
cloud.

Log in with HTTP Basic, as an OpenNebula user. Every response has an `X-Request-ID`: the client's
own, if the request has a valid one. Every error has the form `Error`. Besides the statuses listed
here, an unknown path is 404, a wrong method is 405, and malformed HTTP is 400, 408, 414, 417, 431,
501 or 505, all in the same form.

Read-only members are set by the engine; in a request they are ignored, whatever their value.
Unknown members are ignored. `{RUNTIME}` may contain up to 20 kB of text, so that a response fits
into 30,000 bytes.
"""


@dataclass(frozen=True)
class Operation:
    """One method of one path."""

    method: str
    path: str
    name: str
    tag: str
    summary: str
    responses: dict[int, Json]
    errors: tuple[int, ...] = ()
    parameters: tuple[str, ...] = ()
    body: str = ""
    """The component that is the schema of the request's body."""
    description: str = ""
    headers: dict[int, tuple[str, ...]] = field(default_factory=dict)
    needs_login: bool = True

    def as_json(self) -> Json:
        """The operation object of the document."""
        result: Json = {"operationId": self.name, "tags": [self.tag], "summary": self.summary}
        if self.description:
            result["description"] = self.description
        if parameters := self._parameters():
            result["parameters"] = [{"$ref": f"#/components/parameters/{p}"} for p in parameters]
        if self.body:
            result["requestBody"] = {"required": True, "content": json_content(ref(self.body))}
        result["responses"] = {str(status): self._response(status) for status in self.statuses}
        result["security"] = [{"basic": []}] if self.needs_login else []
        return result

    @property
    def statuses(self) -> tuple[int, ...]:
        """All possible statuses, in order."""
        always = ALWAYS_POSSIBLE if self.needs_login else ()
        return tuple(sorted({*self.responses, *self.errors, *always}))

    def _parameters(self) -> tuple[str, ...]:
        of_path = ("id",) if "{id}" in self.path else ()
        return (*of_path, *self.parameters, *(("X-Request-ID",) if self.needs_login else ()))

    def _response(self, status: int) -> Json:
        if status not in self.responses:
            return {"$ref": f"#/components/responses/{status}"}
        names = ("X-Request-ID", *self.headers.get(status, ()))
        headers = {name: {"$ref": f"#/components/headers/{name}"} for name in names}
        return {**self.responses[status], "headers": headers}


_RUNTIME = json_response("The runtime", ref("Runtime"))
_ON_ONE = (404, 423)
_ON_CHANGE = (404, 412, 422, 423)

OPERATIONS: tuple[Operation, ...] = (
    Operation(
        "post", "/serverless-runtimes", "create_runtime", "runtimes",
        "Create a serverless runtime",
        {
            200: json_response(
                "The runtime created before with the same key, or the plan of a dry run",
                {"anyOf": [ref("Runtime"), ref("DryRun")]},
            ),
            201: json_response("The new runtime; each function is PENDING", ref("Runtime")),
        },
        (400, 409, 413, 422, 423), ("wait", "dry_run", "Idempotency-Key"), "RuntimeRequest",
        headers={200: ("Location", "Warning"), 201: ("Location", "Warning")},
    ),
    Operation(
        "get", "/serverless-runtimes", "list_runtimes", "runtimes",
        "List the caller's runtimes with their current states",
        {200: json_response("A page of runtimes", {"type": "array", "items": ref("Runtime")})},
        (400,), ("name", "flavour", "state", "limit", "after", "before", "order", "standby"),
        headers={200: ("Link",)},
    ),
    Operation(
        "get", "/serverless-runtimes/{id}", "get_runtime", "runtimes",
        "Read a runtime with its current state",
        {200: _RUNTIME, 304: {"description": "It has not changed"}},
        (400, *_ON_ONE), ("wait", "If-None-Match"), headers={200: ("ETag",), 304: ("ETag",)},
    ),
    Operation(
        "put", "/serverless-runtimes/{id}", "update_runtime", "runtimes",
        "Update a runtime: sizes, SCHEDULING, DEVICE_INFO, NAME, LEASE",
        {200: _RUNTIME}, (400, 413, *_ON_CHANGE), ("wait", "If-Match"), "RuntimeUpdate",
        "Changes the given members whose values differ; everything is checked before anything is "
        "changed. An empty FLAVOUR means unchanged. LEASE renews the lease; null removes it, if no "
        "maximum is configured. SCHEDULING can also be changed while a VM waits for a host.",
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
        "Recover a runtime under its own id",
        {200: _RUNTIME}, (400, 404, 422, 423), ("wait", "replace"),
        description="Resumes a stopped VM, retries a failed deployment, and replaces a failed VM "
        "by a new one. With ?wait= the response is held until the outcome is known.",
        headers={200: ("ETag",)},
    ),
    Operation(
        "post", "/serverless-runtimes/{id}/suspend", "suspend_runtime", "runtimes",
        "Suspend the VMs of a runtime: they keep disks and addresses, but use no CPU or memory",
        {200: _RUNTIME}, (400, 404, 422, 423), ("wait",), headers={200: ("ETag",)},
    ),
    Operation(
        "post", "/serverless-runtimes/{id}/resume", "resume_runtime", "runtimes",
        "Resume the VMs of a suspended runtime",
        {200: _RUNTIME}, (400, 404, 422, 423), ("wait",), headers={200: ("ETag",)},
    ),
    Operation(
        "get", "/serverless-runtimes/{id}/timeline", "get_timeline", "runtimes",
        "The steps of a runtime's creation, with their times",
        {200: json_response("The known steps, in time order", ref("Timeline"))},
        (400, *_ON_ONE),
    ),
    Operation(
        "get", "/flavours", "list_flavours", "runtimes",
        "List the flavours, and whether the caller can deploy them",
        {
            200: json_response(
                "All flavours that the caller may see", {"type": "array", "items": ref("Flavour")}
            )
        },
        (400,),
    ),
    Operation(
        "get", "/quota", "get_quota", "runtimes", "Read the caller's own quota",
        {200: json_response("Limits and usage", ref("Quota"))}, (400,),
    ),
    Operation(
        "get", "/serverless-runtimes/schema", "get_schema", "server",
        "The JSON schema of a runtime (draft 4 to 6)",
        {200: json_response("The schema", {"type": "object"})}, needs_login=False,
    ),
    Operation(
        "get", "/", "get_root", "server", "Respond at once, for measuring the latency",
        {200: json_response("The program", ref("Program"))}, needs_login=False,
    ),
    Operation(
        "get", "/server/version", "get_version", "server", "The engine's version",
        {200: json_response("A semantic version", {"type": "string"})}, needs_login=False,
    ),
    Operation(
        "get", "/server/config", "get_config", "server", "The configuration in force",
        {200: json_response("As in engine.conf", ref("Configuration"))}, needs_login=False,
    ),
    Operation(
        "get", "/healthz", "get_health", "health", "Whether the process is alive",
        {200: json_response("It is", ref("Status"))}, needs_login=False,
    ),
    Operation(
        "get", "/readyz", "get_readiness", "health", "Whether OpenNebula is reachable",
        {200: json_response("It is", ref("Status"))}, (503,), needs_login=False,
    ),
    Operation(
        "get", "/metrics", "get_metrics", "health", "Counters and durations for Prometheus",
        {200: text_response("Prometheus' text format, or OpenMetrics if accepted", "text/plain")},
        needs_login=False,
    ),
    Operation(
        "get", "/openapi.json", "get_openapi", "documents", "This document",
        {200: json_response("OpenAPI 3.1", {"type": "object"})}, needs_login=False,
    ),
    Operation(
        "get", "/docs", "get_docs", "documents", "The API's documentation, with forms to try it",
        {200: text_response("A page", "text/html")}, needs_login=False,
    ),
    Operation(
        "get", "/ui", "get_ui", "documents", "The web page for people",
        {200: text_response("A page", "text/html")}, needs_login=False,
    ),
)  # fmt: skip


@routes.get("/openapi.json")
def get_openapi() -> Response:
    return jsonify(document())


@cache
def document() -> Json:
    """The OpenAPI document."""
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
            {"name": "server", "description": "Information about the engine"},
            {"name": "health", "description": "For monitoring"},
            {"name": "documents", "description": "For people and their tools"},
        ],
        "paths": paths,
        "components": components(),
    }
