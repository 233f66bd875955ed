"""OpenNebula's user and password: from the file of OpenNebula's own tools, or typed at a terminal.

Never from an argument, which other users of the machine could read.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from provision_engine.errors import OperatorError

VARIABLE = "ONE_AUTH"
DEFAULT_FILE = "~/.one/one_auth"

Login = tuple[str, str]
"""User and password."""


def stored() -> Login:
    """Return the credentials in the file that ONE_AUTH names, or the usual one.

    Only the first line of the file counts; it holds ``user:password``, and the password may
    contain colons. Raises OperatorError.
    """
    if login := _read():
        return login
    raise OperatorError(
        f"no credentials: write USER:PASSWORD into {DEFAULT_FILE}, "
        f"or into the file that {VARIABLE} names"
    )


def stored_or_typed() -> Login:
    """Return the same; without a file, a terminal is asked. Raises OperatorError."""
    if sys.stdin.isatty() and _read() is None:
        return typed(click.prompt("OpenNebula user", err=True))
    return stored()


def typed(user: str) -> Login:
    """Return the user with a password that is typed, or read from a redirected standard input."""
    if sys.stdin.isatty():
        return user, click.prompt(f"Password of {user}", hide_input=True, err=True)
    return user, sys.stdin.readline().rstrip("\n")


def _read() -> Login | None:
    """Return None if ONE_AUTH is not set and the usual file does not exist."""
    named = os.environ.get(VARIABLE)
    try:
        path = Path(named or DEFAULT_FILE).expanduser()
        text = path.read_text(encoding="utf-8")
    except RuntimeError as error:
        raise OperatorError(f"{named or DEFAULT_FILE}: the home directory is not known") from error
    except FileNotFoundError as error:
        if not named:
            return None
        raise OperatorError(f"{path}: does not exist ({VARIABLE} names it)") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise OperatorError(f"{path}: cannot be read: {reason}") from error
    user, _, password = text.partition("\n")[0].strip().partition(":")
    if not (user and password):
        raise OperatorError(f"{path}: the first line must be user:password")
    return user, password
