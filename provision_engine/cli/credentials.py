"""OpenNebula's user and password: from a file, or else typed at the terminal.

Never from an argument, which other users of the machine could read.
"""

from __future__ import annotations

import os
import sys

import click

from provision_engine import one_auth
from provision_engine.errors import OperatorError


def stored() -> tuple[str, str]:
    """From the file that ONE_AUTH names, or the usual one. Raises OperatorError."""
    login = one_auth.read(os.environ)
    if login is None:
        raise OperatorError(
            f"no credentials: write USER:PASSWORD into {one_auth.DEFAULT_FILE}, "
            f"or into the file that {one_auth.VARIABLE} names"
        )
    return login


def stored_or_typed() -> tuple[str, str]:
    """The same; without a file, a terminal is asked. Raises OperatorError."""
    if sys.stdin.isatty() and one_auth.read(os.environ) is None:
        return typed(click.prompt("OpenNebula user", err=True))
    return stored()


def typed(user: str) -> tuple[str, str]:
    """The user with the password that is typed, or read from a redirected standard input."""
    if sys.stdin.isatty():
        return user, click.prompt(f"Password of {user}", hide_input=True, err=True)
    return user, sys.stdin.readline().rstrip("\n")
