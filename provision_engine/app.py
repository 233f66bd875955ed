"""The WSGI application: blueprints, the one error handler, request ids."""

from __future__ import annotations

import json
import re
import uuid
from typing import Any

from flask import Flask, Response, g, request
from flask.json.provider import DefaultJSONProvider
from werkzeug.exceptions import HTTPException

from provision_engine import errors, headers, log, metrics
from provision_engine.api import (
    admission,
    flavours,
    health,
    openapi,
    quota,
    representation,
    runtimes,
    server,
    slots,
    ui,
)
from provision_engine.cloud.client import Backends
from provision_engine.cloud.probe import Probe
from provision_engine.config import Configuration
from provision_engine.engine.actions.wait import Waiting
from provision_engine.engine.cache import Cache
from provision_engine.engine.context import Memory
from provision_engine.errors import EngineError

ANSWER_BYTES = 30_000
"""A small device reads a response into a buffer of this size."""
SANE_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")

# What Flask refuses by itself.
HTTP_ERRORS: dict[int, type[EngineError]] = {
    400: errors.BadRequest,
    404: errors.NotFound,
    405: errors.MethodNotAllowed,
    413: errors.BodyTooLarge,
}


class _Json(DefaultJSONProvider):
    ensure_ascii = False
    sort_keys = False
    compact = True


def create_app(configuration: Configuration) -> Flask:
    """The application with this configuration; it may be created before a server forks."""
    app = Flask("provision_engine", static_folder=None)
    app.json = _Json(app)
    app.config["MAX_CONTENT_LENGTH"] = configuration.limits.body_bytes
    app.config["PROVIDE_AUTOMATIC_OPTIONS"] = False
    # Each path has one spelling (see also admission.py), but for those that the first engine had.
    app.url_map.merge_slashes = False
    app.extensions["configuration"] = configuration
    app.extensions["backends"] = Backends(configuration)
    cache = Cache(configuration.cache.seconds, metrics.cache_looked)
    app.extensions["memory"] = Memory.empty(cache)
    app.extensions["probe"] = Probe(app.extensions["backends"])
    app.extensions["waiting"] = Waiting()
    app.extensions |= slots.slots(configuration)
    for module in (server, runtimes, flavours, quota, health, openapi, ui):
        app.register_blueprint(module.routes)
    app.before_request(_begin)
    app.after_request(_end)
    app.teardown_request(_leave)
    app.register_error_handler(Exception, _answer_error)
    return app


def request_id() -> str:
    """The client's own request id if it sent a valid one, else a new one."""
    sent = request.headers.get("X-Request-ID", "")
    return sent if SANE_REQUEST_ID.fullmatch(sent) else uuid.uuid4().hex[:8]


def _begin() -> None:
    g.began_at = metrics.request_began()
    log.request_id.set(request_id())
    log.secrets.set(())
    admission.check(request)


def _end(response: Response) -> Response:
    response.headers["X-Request-ID"] = log.request_id.get()
    for name, value in headers.SECURITY.items():
        response.headers.setdefault(name, value)
    log.engine.info("Response HTTP Return Code: %s", response.status_code)
    route = request.url_rule.rule if request.url_rule else metrics.NO_ROUTE
    waited = "wait" in request.args
    metrics.request_answered(request.method, route, response.status_code, g.began_at, waited=waited)
    return response


def _leave(_error: BaseException | None) -> None:
    metrics.request_left()


def _answer_error(error: Exception) -> Response:
    """Every exception, including a crash, becomes a response in the error form."""
    ours = _as_ours(error)
    if ours.status >= 500:
        log.engine.error("%s", ours, exc_info=None if isinstance(error, EngineError) else error)
    else:
        log.engine.info("%s", ours)
    response = Response(error_body(ours), ours.status, content_type="application/json")
    if ours.status == 401:
        response.headers["WWW-Authenticate"] = 'Basic realm="OpenNebula"'
    if ours.retry_after_seconds is not None:
        response.headers["Retry-After"] = str(ours.retry_after_seconds)
    if isinstance(error, HTTPException) and ours.status == 405:
        response.headers["Allow"] = ", ".join(getattr(error, "valid_methods", None) or ())
    return response


def _as_ours(error: Exception) -> EngineError:
    if isinstance(error, EngineError):
        error.message = representation.message(error)
        return error
    if isinstance(error, HTTPException) and error.code in HTTP_ERRORS:
        return HTTP_ERRORS[error.code](f"{request.method} {request.path[:200]}: {error.name}")
    return EngineError("The engine failed; its log tells why, under this request's id")


def error_body(error: EngineError) -> bytes:
    """The error form, never longer than a small device can read."""
    body = _dump(error.error, error.message)
    if len(body) > ANSWER_BYTES:
        text = error.message if isinstance(error.message, str) else str(error.message)
        body = _dump(error.error, f"{text[: ANSWER_BYTES // 8]}…")
    return body


def _dump(error: str, message: Any) -> bytes:
    return json.dumps({"error": error, "message": message}, ensure_ascii=False).encode(
        errors="backslashreplace"
    )
