"""HTTP Basic authentication with OpenNebula's user and password."""

from __future__ import annotations

import base64
import binascii
import unicodedata

from provision_engine.cloud.client import Credentials
from provision_engine.errors import Unauthorized


def credentials(header: str | None) -> Credentials:
    """From an Authorization header; a password may contain colons. Raises Unauthorized."""
    if not header:
        raise Unauthorized("OpenNebula user and password are required (HTTP Basic)")
    scheme, _, token = header.strip().partition(" ")
    if scheme.lower() != "basic":
        raise Unauthorized("The Authorization header is not HTTP Basic")
    user, colon, password = _decoded(token.strip()).partition(":")
    if not (colon and user and password):
        raise Unauthorized("The Authorization header contains no user and password")
    if not all(_is_supported(character) for character in user + password):
        raise Unauthorized("User or password contain characters that OpenNebula cannot read")
    return Credentials(user, password)


def _decoded(token: str) -> str:
    try:
        raw = base64.b64decode(token, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Unauthorized("The Authorization header is not Base64") from error
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("latin-1")  # what older clients send


def _is_supported(character: str) -> bool:
    """Can XML-RPC transport this character to oned?"""
    is_surrogate = 0xD800 <= ord(character) <= 0xDFFF
    return unicodedata.category(character) != "Cc" and ord(character) < 0xFFFE and not is_surrogate
