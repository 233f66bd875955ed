"""What a request says: its target, its login, its body and its query string."""

from __future__ import annotations

import base64
import ipaddress
import math
import re
import select
from collections.abc import Callable
from contextlib import suppress

from flask import current_app, request

from provision_engine.engine.actions.listing import LARGEST, Cursor, Filter
from provision_engine.engine.runtime.states import State
from provision_engine.errors import BadRequest, BodyTooLarge, ForeignSite, NotFound, Unauthorized

READING = ("GET", "HEAD", "OPTIONS")
OWN_SITES = ("same-origin", "none")
"""The values of Sec-Fetch-Site that a page of the engine's own, or the user, can cause."""
FLAGS = {"true": True, "1": True, "": True, "false": False, "0": False}
LIST = ("name", "flavour", "state", "limit", "after", "before", "offset", "order", "standby", "all")
"""The parameters of a list."""
ORDERS = {"asc": False, "desc": True}
_UNREADABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffe-\U0010ffff]")
"""Control characters, surrogates, and characters that XML-RPC does not have."""

# ---- before the login is checked or the body is read --------------------------------------------


def check_admission() -> None:
    """Refuse a request by its path and headers. Raises NotFound or ForeignSite.

    Only the exact spelling of a path counts: a proxy may restrict it. Other targets may be a part
    of a URL with a password, so they are not repeated.
    """
    raw = request.environ.get("RAW_URI", "").partition("?")[0]
    path: str = request.environ["PATH_INFO"]
    is_plain = path[:1] in ("", "/") and path[:2] != "//" and "@" not in path
    if "%" in raw or not is_plain:
        raise NotFound("The target of the request is not a plain path")
    if request.method not in READING and _is_from_another_site():
        raise ForeignSite("A browser sent this change on behalf of another site's page")


def client_address() -> str:
    """Return the client's address, which trusted proxies, and no others, say in X-Forwarded-For.

    Each proxy appends where its request came from; the client itself may have sent the first ones.
    """
    server = current_app.extensions["configuration"].server
    address: str = request.environ.get("REMOTE_ADDR") or "-"
    hops = request.headers.get("X-Forwarded-For", "").split(",")
    with suppress(ValueError):  # what is no address is not believed
        while hops and server.trusts(ipaddress.ip_address(address)):
            # Without a scope, which may be any text.
            address = str(ipaddress.ip_address(hops.pop().strip())).partition("%")[0]
    return address


def _is_from_another_site() -> bool:
    """Judge by Sec-Fetch-Site; browsers omit it if they are old, or without TLS.

    Devices and command lines send none of these headers. A page cannot set X-Forwarded-Host of a
    request to another site, since the engine rejects every preflight.
    """
    if site := request.headers.get("Sec-Fetch-Site"):
        return site not in OWN_SITES
    origin = request.headers.get("Origin")
    hosts = (request.headers.get("Host"), request.headers.get("X-Forwarded-Host"))
    return origin is not None and origin.partition("://")[2] not in hosts


# ---- the login and the body ---------------------------------------------------------------------


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
    try:
        raw = base64.b64decode(token.strip(), validate=True)
    except ValueError as error:
        raise Unauthorized("The Authorization header is not Base64") from error
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        text = raw.decode("latin-1")  # what older clients send
    user, colon, password = text.partition(":")
    if not (colon and user and password):
        raise Unauthorized("The Authorization header contains no user and password")
    if _UNREADABLE.search(user + password):
        raise Unauthorized("User or password contain characters that OpenNebula cannot read")
    return user, password


# ---- the query string, and the connection -------------------------------------------------------


def check_known(*known: str) -> None:
    """Check that all parameters are known. Raises BadRequest."""
    for name in request.args:
        if name not in known:
            among = f"; known are {', '.join(known)}" if known else ""
            raise BadRequest(f"?{name[:40]}: unknown parameter{among}")


def wait_seconds() -> float:
    """Return how long the request waits; 0 if it does not. Raises BadRequest."""
    text = request.args.get("wait", "0")
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not (math.isfinite(seconds) and seconds >= 0):
        raise BadRequest(f"?wait={text[:40]}: must be a number of seconds, such as 30")
    longest: float = current_app.extensions["configuration"].wait.max_seconds
    return min(seconds, longest)


def flag(name: str) -> bool:
    """Return whether a parameter is true. Raises BadRequest if it is neither true nor false."""
    text = request.args.get(name, "false")
    if text.lower() not in FLAGS:
        raise BadRequest(f"?{name}={text[:40]}: must be true or false")
    return FLAGS[text.lower()]


def list_filter() -> Filter:
    """Return which runtimes a list shows. Raises BadRequest."""
    state = request.args.get("state", "").upper()
    if state and state not in State.__members__:
        raise BadRequest(f"?state={state[:40]}: must be one of {', '.join(State)}")
    return Filter(
        name=request.args.get("name", ""),
        flavour=request.args.get("flavour", ""),
        state=State(state) if state else None,
        shows_standby=flag("standby"),
    )


def cursor() -> Cursor:
    """Return the requested page of a list. Raises BadRequest."""
    arguments = request.args
    order = arguments.get("order", "asc" if "after" in arguments else "desc")
    if order not in ORDERS:
        raise BadRequest(f"?order={order[:40]}: must be asc or desc")
    if "offset" in arguments and not {"after", "before"} & arguments.keys():
        raise BadRequest("?offset=: belongs to ?before= or ?after=; follow the Link header instead")
    least = {"after": 0, "before": 1, "offset": 0, "limit": 1}
    numbers = {n: _number(n, arguments[n], least[n]) for n in least if n in arguments}
    return Cursor(**numbers, is_newest_first=ORDERS[order], is_of_all_users=flag("all"))


def client_watch() -> Callable[[], bool]:
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
