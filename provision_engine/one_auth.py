"""OpenNebula's user and password, from the file where its own tools keep them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from provision_engine.failures import OperatorError

VARIABLE = "ONE_AUTH"
DEFAULT_PATH = "~/.one/one_auth"


def read(environment: Mapping[str, str]) -> tuple[str, str]:
    """User and password, from the first line of the file that ONE_AUTH names, or the usual one.

    A password may contain colons. Raises OperatorError with one line.
    """
    path = Path(environment.get(VARIABLE) or DEFAULT_PATH).expanduser()
    try:
        lines = path.read_text(encoding="utf-8").strip().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8"
        raise OperatorError(
            f"{path}: OpenNebula's user and password cannot be read: {reason} "
            f"({VARIABLE} names another file)"
        ) from error
    user, _, password = (lines or [""])[0].partition(":")
    if not (user and password):
        raise OperatorError(f"{path}: does not hold user:password in its first line")
    return user, password
