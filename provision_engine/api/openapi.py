"""The API as an OpenAPI 3.1 document: schemas/openapi.json, compared with the routes by a test."""

from __future__ import annotations

from functools import cache

from flask import Blueprint, Response, jsonify

from provision_engine import __version__
from provision_engine.api.validation import Json, load_schema

routes = Blueprint("openapi", __name__)


@routes.get("/openapi.json")
def get_openapi() -> Response:
    return jsonify(document())


@cache
def document() -> Json:
    """Return the document, with the version of this engine."""
    described = load_schema("openapi.json")
    described["info"]["version"] = __version__
    return described
