"""What stands in a query string, checked; and whether its sender still listens."""

from __future__ import annotations

import math
import select
from collections.abc import Callable, Mapping
from urllib.parse import urlencode

from flask import Request

from provision_engine.engine.listing import Wanted
from provision_engine.engine.states import State
from provision_engine.errors import BadRequest

FLAGS = {"true": True, "1": True, "": True, "false": False, "0": False}
FILTERS = ("name", "flavour", "state", "limit", "after")


def wait_seconds(arguments: Mapping[str, str]) -> float:
    """How long the caller wants to wait; 0 if it does not. Raises BadRequest."""
    text = arguments.get("wait", "0")
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not (math.isfinite(seconds) and seconds >= 0):
        raise BadRequest(f"?wait={text[:40]}: a number of seconds is wanted")
    return seconds


def flag(arguments: Mapping[str, str], name: str) -> bool:
    """Raises BadRequest where it is neither true nor false."""
    text = arguments.get(name, "false")
    if text.lower() not in FLAGS:
        raise BadRequest(f"?{name}={text[:40]}: true or false is wanted")
    return FLAGS[text.lower()]


def wanted(arguments: Mapping[str, str]) -> Wanted:
    """Which runtimes a list shall show. Raises BadRequest."""
    state = arguments.get("state", "").upper()
    if state and state not in State.__members__:
        raise BadRequest(f"?state={state[:40]}: one of {', '.join(State)} is wanted")
    return Wanted(
        name=arguments.get("name", ""),
        flavour=arguments.get("flavour", ""),
        state=state,
        limit=_number(arguments, "limit", 1),
        after=_number(arguments, "after", 0) if "after" in arguments else -1,  # type: ignore[arg-type]
    )


def next_page(request: Request, after: int) -> str:
    """The address of the page that follows, relative to the server."""
    kept = {name: request.args[name] for name in FILTERS if name in request.args}
    return f"{request.path}?{urlencode(kept | {'after': str(after)})}"


def client_watch(request: Request) -> Callable[[], bool]:
    """Tells, each time it is called, whether the client has closed its connection."""
    connection = request.environ.get("gunicorn.socket") or request.environ.get("werkzeug.socket")

    def is_gone() -> bool:
        if connection is None:
            return False
        try:
            watch = select.poll()
            # Whether the other side has closed, whatever it sent before, and also under TLS.
            watch.register(connection.fileno(), select.POLLRDHUP)
            return bool(watch.poll(0))
        except (OSError, ValueError):
            return True

    return is_gone


def _number(arguments: Mapping[str, str], name: str, least: int) -> int | None:
    text = arguments.get(name)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and least <= int(text[:11]) <= 2**31 - 1):
        raise BadRequest(f"?{name}={text[:40]}: a number from {least} to 2^31 - 1 is wanted")
    return int(text)
