"""The WSGI application: blueprints, the one error handler, request ids."""

from __future__ import annotations

import re
import time
import uuid

from flask import Flask, Response, g, request
from flask.json.provider import DefaultJSONProvider
from werkzeug.exceptions import HTTPException

from provision_engine import errors, headers, log, metrics
from provision_engine.api import incoming, representation, slots
from provision_engine.api.routes import routes
from provision_engine.cloud.client import Backends
from provision_engine.cloud.probe import Probe
from provision_engine.config import Configuration
from provision_engine.engine.memory import Memory
from provision_engine.errors import EngineError

ANSWER_BYTES = 30_000
"""A small device reads a response into a buffer of this size."""
SANE_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")

# Requests that Flask refuses by itself.
HTTP_ERRORS: dict[int | None, type[EngineError]] = {
    kind.status: kind
    for kind in (errors.BadRequest, errors.NotFound, errors.MethodNotAllowed, errors.BodyTooLarge)
}


def create_app(configuration: Configuration) -> Flask:
    """Create the application; it may be created before a server forks."""
    app = Flask("provision_engine", static_folder=None)
    app.json = json = DefaultJSONProvider(app)
    json.ensure_ascii, json.sort_keys, json.compact = False, False, True
    app.config["MAX_CONTENT_LENGTH"] = configuration.limits.body_bytes
    app.config["PROVIDE_AUTOMATIC_OPTIONS"] = False
    # Each path has one spelling (see also incoming.py), but for those that the first engine had.
    app.url_map.merge_slashes = False
    app.extensions["configuration"] = configuration
    app.extensions["backends"] = Backends(configuration)
    app.extensions["memory"] = Memory(configuration.cache_seconds, metrics.cache_looked)
    app.extensions["probe"] = Probe(app.extensions["backends"])
    app.extensions |= slots.slots(configuration)
    app.register_blueprint(routes)
    app.before_request(_begin)
    app.after_request(_end)
    app.teardown_request(lambda _error: metrics.in_flight.dec())
    app.register_error_handler(Exception, _error_response)
    return app


def _begin() -> None:
    metrics.in_flight.inc()
    g.began_at = time.perf_counter()
    sent = request.headers.get("X-Request-ID", "")
    log.request_id.set(sent if SANE_REQUEST_ID.fullmatch(sent) else uuid.uuid4().hex[:8])
    log.secrets.set(())
    log.labels.set({})
    address = request.environ["REMOTE_ADDR"] = incoming.client_address()  # for api.log as well
    log.label("client", address)
    incoming.check_admission()


def _end(response: Response) -> Response:
    response.headers["X-Request-ID"] = log.request_id.get()
    for name, value in headers.SECURITY.items():
        response.headers.setdefault(name, value)
    log.engine.info("Response HTTP Return Code: %s%s", response.status_code, log.labelled())
    route = request.url_rule.rule if request.url_rule else metrics.NO_ROUTE
    waited = "wait" in request.args
    metrics.request_answered(request.method, route, response.status_code, g.began_at, waited=waited)
    return response


def _error_response(error: Exception) -> Response:
    """Turn every exception, including a crash, into a response in the error form."""
    engine_error = _to_engine_error(error)
    if engine_error.status >= 500:
        log.engine.error(
            "%s", engine_error, exc_info=None if isinstance(error, EngineError) else error
        )
    else:
        log.engine.info("%s", engine_error)
    response = Response(
        error_body(engine_error), engine_error.status, content_type="application/json"
    )
    if engine_error.status == 401:
        response.headers["WWW-Authenticate"] = 'Basic realm="OpenNebula"'
    if engine_error.retry_after_seconds is not None:
        response.headers["Retry-After"] = str(engine_error.retry_after_seconds)
    if isinstance(error, HTTPException) and engine_error.status == 405:
        response.headers["Allow"] = ", ".join(getattr(error, "valid_methods", None) or ())
    return response


def _to_engine_error(error: Exception) -> EngineError:
    if isinstance(error, EngineError):
        error.message = representation.message(error)
        return error
    if isinstance(error, HTTPException) and error.code in HTTP_ERRORS:
        return HTTP_ERRORS[error.code](f"{request.method} {request.path[:200]}: {error.name}")
    return EngineError("The engine failed; its log tells why, under this request's id")


def error_body(error: EngineError) -> bytes:
    """Return the error form, never longer than a small device can read."""
    body = representation.encoded({"error": error.error, "message": error.message})
    if len(body) > ANSWER_BYTES:
        text = f"{str(error.message)[: ANSWER_BYTES // 8]}…"
        body = representation.encoded({"error": error.error, "message": text})
    return body
