"""OpenNebula on behalf of whoever sent the request."""

from __future__ import annotations

from flask import current_app, request

from provision_engine import log
from provision_engine.api import auth
from provision_engine.cloud.client import CloudClient
from provision_engine.deadline import Deadline
from provision_engine.engine import roles
from provision_engine.errors import BodyTooLarge


def cloud() -> CloudClient:
    """With the credentials of the request, for as long as it may take. Raises Unauthorized."""
    credentials = auth.credentials(request.headers.get("Authorization"))
    log.secret(credentials.password, roles.sr_auth(credentials))
    shared = current_app.extensions
    deadline = Deadline(shared["configuration"].timeout_seconds)
    return CloudClient(shared["backends"], credentials, deadline)


def body() -> bytes:
    """The body of the request. Raises BodyTooLarge.

    One without a length, in chunks, is read to the limit and would then count as whole.
    """
    limit_bytes = current_app.extensions["configuration"].limits.body_bytes
    read = request.get_data()
    if request.content_length is None and len(read) >= limit_bytes:
        raise BodyTooLarge(f"At most {limit_bytes} bytes are read")
    return read
