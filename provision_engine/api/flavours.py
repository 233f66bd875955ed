"""The flavours, and whether the caller can deploy them."""

from __future__ import annotations

from flask import Blueprint, Response, jsonify, request

from provision_engine import log
from provision_engine.api import context, query, representation
from provision_engine.engine.preflight import Inspector

routes = Blueprint("flavours", __name__)


@routes.get("/flavours")
def list_flavours() -> Response:
    log.engine.info("Received request to List flavours")
    caller = context.of_request()
    query.check_known(request.args)
    caller.cloud.oned.version()  # checks the login, since the response may come from the cache
    found = caller.remembered.cached("preflight", lambda: Inspector(caller).inspect())
    return jsonify(representation.preflights(found))
