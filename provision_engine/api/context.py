"""The request as the engine sees it: who calls, for how long, and what is sent along."""

from __future__ import annotations

from flask import current_app, request

from provision_engine import log
from provision_engine.api import auth
from provision_engine.cloud.client import CloudClient
from provision_engine.deadline import Deadline
from provision_engine.engine.context import Context
from provision_engine.errors import BodyTooLarge


def of_request() -> Context:
    """With the credentials of the request, for as long as it may take. Raises Unauthorized."""
    credentials = auth.credentials(request.headers.get("Authorization"))
    log.secret(credentials.password, credentials.token)
    shared = current_app.extensions
    configuration = shared["configuration"]
    deadline = Deadline(configuration.timeout_seconds)
    cloud = CloudClient(shared["backends"], credentials, deadline)
    return Context(cloud, configuration, shared["memory"])


def body() -> bytes:
    """The body of the request. Raises BodyTooLarge.

    One without a length, in chunks, is read to the limit and would then count as whole.
    """
    limit_bytes = current_app.extensions["configuration"].limits.body_bytes
    read = request.get_data()
    if request.content_length is None and len(read) >= limit_bytes:
        raise BodyTooLarge(f"At most {limit_bytes} bytes are read")
    return read
