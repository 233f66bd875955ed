"""The engine itself: version, configuration, schemas, health, metrics. No login is needed."""

from __future__ import annotations

from functools import cache

from flask import Response, current_app, jsonify, request

from provision_engine import __version__, metrics
from provision_engine.api import incoming
from provision_engine.api.validation import RUNTIME_SCHEMA, Json
from provision_engine.config import load_schema
from provision_engine.errors import BackendUnreachable


def get_root() -> Response:
    """Respond at once: devices measure their latency with it."""
    return jsonify({"name": "provision-engine", "version": __version__})


def get_version() -> Response:
    return jsonify(__version__)


def get_config() -> Response:
    configuration = current_app.extensions["configuration"]
    return jsonify(configuration.as_document(has_all_keys=incoming.flag("all")))


def get_schema() -> Response:
    return jsonify(RUNTIME_SCHEMA)


def get_openapi() -> Response:
    return jsonify(openapi_document())


@cache
def openapi_document() -> Json:
    """Return schemas/openapi.json, which a test compares with the routes, with this version."""
    document = load_schema("openapi.json")
    document["info"]["version"] = __version__
    return document


def get_health() -> Response:
    """Respond whether or not OpenNebula does: the process is alive."""
    return jsonify({"status": "ok"})


def get_readiness() -> Response:
    """Say whether requests can be served now. Raises BackendUnreachable with the reasons."""
    if reasons := current_app.extensions["probe"].reasons():
        raise BackendUnreachable(dict(reasons))
    return jsonify({"status": "ready"})


def get_metrics() -> Response:
    """Return all metrics; the backends are probed if they have not been within a second."""
    current_app.extensions["probe"].reasons()
    body, content_type = metrics.exposition(request.headers.get("Accept", ""))
    return Response(body, content_type=content_type)
