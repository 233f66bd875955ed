"""HTTP Basic authentication with OpenNebula's user and password."""

from __future__ import annotations

import base64
import binascii
import re

from provision_engine.errors import Unauthorized

_UNREADABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffe-\U0010ffff]")
"""Control characters, surrogates, and characters that XML-RPC does not have."""


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
    except (binascii.Error, ValueError) as error:
        raise Unauthorized("The Authorization header is not Base64") from error
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("latin-1")  # what older clients send
