"""Information about the engine itself; no login needed."""

from __future__ import annotations

from flask import Blueprint, Response, current_app, jsonify

from provision_engine import __version__
from provision_engine.api.validation import RUNTIME_SCHEMA

routes = Blueprint("server", __name__)


@routes.get("/", strict_slashes=False)
def get_root() -> Response:
    """Responds at once: devices measure their latency with it."""
    return jsonify({"name": "provision-engine", "version": __version__})


@routes.get("/server/version", strict_slashes=False)
def get_version() -> Response:
    return jsonify(__version__)


@routes.get("/server/config", strict_slashes=False)
def get_config() -> Response:
    return jsonify(current_app.extensions["configuration"].as_document())


@routes.get("/serverless-runtimes/schema", strict_slashes=False)
def get_schema() -> Response:
    return jsonify(RUNTIME_SCHEMA)
