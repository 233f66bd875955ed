"""What the caller can deploy."""

from __future__ import annotations

from flask import Blueprint, Response, current_app, jsonify

from provision_engine import log
from provision_engine.api import caller
from provision_engine.engine.survey import Surveyor

routes = Blueprint("flavours", __name__)


@routes.get("/flavours")
def list_flavours() -> Response:
    log.engine.info("Received request to List flavours")
    cloud, shared = caller.cloud(), current_app.extensions
    surveys = shared["cache"].get(
        cloud.credentials, "survey", lambda: Surveyor(cloud, shared["configuration"]).survey()
    )
    return jsonify([survey.as_json() for survey in surveys])
