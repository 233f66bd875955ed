"""OpenNebula's user and password, from the file that OpenNebula's own tools read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from provision_engine.errors import OperatorError

VARIABLE = "ONE_AUTH"
DEFAULT_FILE = "~/.one/one_auth"


class Login(NamedTuple):
    user: str
    password: str

    def __repr__(self) -> str:
        return f"Login({self.user!r}, ***)"


def read(environment: Mapping[str, str]) -> Login | None:
    """Return the credentials in the file that ONE_AUTH names, else in ~/.one/one_auth.

    Only the first line of the file counts; it holds ``user:password``, and the password may
    contain colons. Returns None when ONE_AUTH is not set and the default file does not exist.
    Raises OperatorError, naming the file, for everything else that is wrong.
    """
    named = environment.get(VARIABLE)
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
    return _parsed(text, path)


def _parsed(text: str, path: Path) -> Login:
    user, _, password = text.partition("\n")[0].strip().partition(":")
    if not (user and password):
        raise OperatorError(f"{path}: the first line must be user:password")
    return Login(user, password)
