"""The validated query string, and whether the client is still connected."""

from __future__ import annotations

import math
import select
from collections.abc import Callable, Mapping

from flask import Request

from provision_engine.engine.actions.listing import LARGEST, Cursor, Filter
from provision_engine.engine.runtime.states import State
from provision_engine.errors import BadRequest

FLAGS = {"true": True, "1": True, "": True, "false": False, "0": False}
LIST = ("name", "flavour", "state", "limit", "after", "before", "offset", "order", "standby")
"""The parameters of a list."""
ORDERS = {"asc": False, "desc": True}


def check_known(arguments: Mapping[str, str], *known: str) -> None:
    """Raises BadRequest if a parameter is unknown."""
    for name in arguments:
        if name not in known:
            among = f"; known are {', '.join(known)}" if known else ""
            raise BadRequest(f"?{name[:40]}: unknown parameter{among}")


def wait_seconds(arguments: Mapping[str, str]) -> float:
    """Return how long the caller wants to wait; 0 if it does not. Raises BadRequest."""
    text = arguments.get("wait", "0")
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not (math.isfinite(seconds) and seconds >= 0):
        raise BadRequest(f"?wait={text[:40]}: must be a number of seconds, such as 30")
    return seconds


def flag(arguments: Mapping[str, str], name: str) -> bool:
    """Raises BadRequest if it is neither true nor false."""
    text = arguments.get(name, "false")
    if text.lower() not in FLAGS:
        raise BadRequest(f"?{name}={text[:40]}: must be true or false")
    return FLAGS[text.lower()]


def filter_of(arguments: Mapping[str, str]) -> Filter:
    """Return which runtimes a list shows. Raises BadRequest."""
    state = arguments.get("state", "").upper()
    if state and state not in State.__members__:
        raise BadRequest(f"?state={state[:40]}: must be one of {', '.join(State)}")
    return Filter(
        name=arguments.get("name", ""),
        flavour=arguments.get("flavour", ""),
        state=State(state) if state else None,
        shows_standby=flag(arguments, "standby"),
    )


def cursor(arguments: Mapping[str, str]) -> Cursor:
    """Return the requested page of a list. Raises BadRequest."""
    order = arguments.get("order", "asc" if "after" in arguments else "desc")
    if order not in ORDERS:
        raise BadRequest(f"?order={order[:40]}: must be asc or desc")
    if "offset" in arguments and not {"after", "before"} & arguments.keys():
        raise BadRequest("?offset=: belongs to ?before= or ?after=; follow the Link header instead")
    least = {"after": 0, "before": 1, "offset": 0, "limit": 1}
    numbers = {n: _number(n, arguments[n], least[n]) for n in least if n in arguments}
    return Cursor(**numbers, is_newest_first=ORDERS[order])


def client_watch(request: Request) -> Callable[[], bool]:
    """Return a function that says whether the client has closed its connection."""
    connection = request.environ.get("gunicorn.socket") or request.environ.get("werkzeug.socket")

    def is_gone() -> bool:
        if connection is None:
            return False
        try:
            watch = select.poll()
            # This detects that the peer has closed, even with unread data and with TLS.
            watch.register(connection.fileno(), select.POLLRDHUP)
            return bool(watch.poll(0))
        except (OSError, ValueError):
            return True

    return is_gone


def _number(name: str, text: str, least: int) -> int:
    is_number = text.isascii() and text.isdigit() and len(text) <= 10
    if not (is_number and least <= int(text) <= LARGEST):
        raise BadRequest(f"?{name}={text[:40]}: must be an integer from {least} to {LARGEST}")
    return int(text)
