"""Health and metrics, for monitoring; no login needed."""

from __future__ import annotations

from flask import Blueprint, Response, current_app, jsonify, request

from provision_engine import metrics
from provision_engine.errors import BackendUnreachable

routes = Blueprint("health", __name__)


@routes.get("/healthz")
def get_health() -> Response:
    """The process is alive, whether or not OpenNebula is."""
    return jsonify({"status": "ok"})


@routes.get("/readyz")
def get_readiness() -> Response:
    """Whether requests can be served now. Raises BackendUnreachable with the reasons."""
    reasons = current_app.extensions["probe"].reasons()
    if reasons:
        raise BackendUnreachable(dict(reasons))
    return jsonify({"status": "ready"})


@routes.get("/metrics")
def get_metrics() -> Response:
    """All metrics. The backends are probed if they have not been within the last second."""
    current_app.extensions["probe"].reasons()
    body, content_type = metrics.exposition(request.headers.get("Accept", ""))
    return Response(body, content_type=content_type)
