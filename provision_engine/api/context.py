"""The engine's context of a request (caller, deadline, shared objects), and its body."""

from __future__ import annotations

from flask import current_app, request

from provision_engine import log
from provision_engine.api import auth
from provision_engine.cloud.client import CloudClient
from provision_engine.deadline import Deadline
from provision_engine.engine.context import Context
from provision_engine.errors import BodyTooLarge


def of_request() -> Context:
    """The context of the current request. Raises Unauthorized."""
    credentials = auth.credentials(request.headers.get("Authorization"))
    log.secret(*credentials.secrets)
    shared = current_app.extensions
    configuration = shared["configuration"]
    deadline = Deadline(configuration.timeout_seconds)
    cloud = CloudClient(shared["backends"], credentials, deadline)
    return Context(cloud, configuration, shared["memory"])


def body() -> bytes:
    """The body of the request. Raises BodyTooLarge.

    A chunked body is read only up to the limit, which does not show whether that is all of it.
    """
    limit_bytes = current_app.extensions["configuration"].limits.body_bytes
    read = request.get_data()
    if request.content_length is None and len(read) >= limit_bytes:
        raise BodyTooLarge(f"At most {limit_bytes} bytes are accepted")
    return read
