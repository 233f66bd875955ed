"""The engine's context of a request (caller, deadline, shared objects), its login and its body."""

from __future__ import annotations

import base64
import re

from flask import current_app, request

from provision_engine.engine.context import Context, for_user
from provision_engine.errors import BodyTooLarge, Unauthorized

_UNREADABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffe-\U0010ffff]")
"""Control characters, surrogates, and characters that XML-RPC does not have."""


def of_request() -> Context:
    """Return the context of the current request. Raises Unauthorized."""
    user, password = credentials(request.headers.get("Authorization"))
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


def credentials(header: str | None) -> tuple[str, str]:
    """Return user and password of an Authorization header. Raises Unauthorized."""
    if not header:
        raise Unauthorized("OpenNebula user and password are required (HTTP Basic)")
    scheme, _, token = header.strip().partition(" ")
    if scheme.lower() != "basic":
        raise Unauthorized("The Authorization header is not HTTP Basic")
    user, colon, password = _decoded(token.strip()).partition(":")
    if not (colon and user and password):
        raise Unauthorized("The Authorization header contains no user and password")
    if _UNREADABLE.search(user + password):
        raise Unauthorized("User or password contain characters that OpenNebula cannot read")
    return user, password


def _decoded(token: str) -> str:
    try:
        raw = base64.b64decode(token, validate=True)
    except ValueError as error:
        raise Unauthorized("The Authorization header is not Base64") from error
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("latin-1")  # what older clients send
