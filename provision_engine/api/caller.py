"""OpenNebula on behalf of whoever sent the request."""

from __future__ import annotations

from flask import current_app, request

from provision_engine import log
from provision_engine.api import auth
from provision_engine.cloud.client import CloudClient
from provision_engine.deadline import Deadline
from provision_engine.engine import roles


def cloud() -> CloudClient:
    """With the credentials of the request, for as long as it may take. Raises Unauthorized."""
    credentials = auth.credentials(request.headers.get("Authorization"))
    log.secret(credentials.password, roles.sr_auth(credentials))
    shared = current_app.extensions
    deadline = Deadline(shared["configuration"].timeout_seconds)
    return CloudClient(shared["backends"], credentials, deadline)
