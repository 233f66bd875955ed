"""The engine's context of a request (caller, deadline, shared objects), and its body."""

from __future__ import annotations

from flask import current_app, request

from provision_engine.api import auth
from provision_engine.engine.context import Context, for_user
from provision_engine.errors import BodyTooLarge


def of_request() -> Context:
    """Return the context of the current request. Raises Unauthorized."""
    user, password = auth.credentials(request.headers.get("Authorization"))
    shared = current_app.extensions
    return for_user(user, password, shared["backends"], shared["configuration"], shared["memory"])


def body() -> bytes:
    """Return the body of the request. Raises BodyTooLarge.

    A chunked body is read only up to the limit, which does not show whether that is all of it.
    """
    limit_bytes = current_app.extensions["configuration"].limits.body_bytes
    read = request.get_data()
    if request.content_length is None and len(read) >= limit_bytes:
        raise BodyTooLarge(f"At most {limit_bytes} bytes are accepted")
    return read
