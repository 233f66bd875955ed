"""Refuses requests by their path and headers, before the login is checked or the body is read."""

from __future__ import annotations

from flask import Request

from provision_engine.errors import ForeignSite, NotFound

READING = ("GET", "HEAD", "OPTIONS")
OWN_SITES = ("same-origin", "none")
"""The values of Sec-Fetch-Site that a page of the engine's own, or the user, can cause."""


def check(request: Request) -> None:
    """Raises NotFound or ForeignSite."""
    _check_path(request)
    if request.method not in READING and _is_from_another_site(request):
        raise ForeignSite("A browser sent this change on behalf of another site's page")


def _check_path(request: Request) -> None:
    """Only the exact spelling of a path counts: a proxy may restrict it.

    Other targets may be a part of a URL with a password, so they are not repeated.
    """
    raw = request.environ.get("RAW_URI", "").partition("?")[0]
    path: str = request.environ["PATH_INFO"]
    is_plain = path[:1] in ("", "/") and path[:2] != "//" and "@" not in path
    if "%" in raw or not is_plain:
        raise NotFound("The target of the request is not a plain path")


def _is_from_another_site(request: Request) -> bool:
    """Judge by Sec-Fetch-Site; browsers omit it if they are old, or without TLS.

    Devices and command lines send none of these headers. A page cannot set X-Forwarded-Host of a
    request to another site, since the engine rejects every preflight.
    """
    if site := request.headers.get("Sec-Fetch-Site"):
        return site not in OWN_SITES
    origin = request.headers.get("Origin")
    hosts = (request.headers.get("Host"), request.headers.get("X-Forwarded-Host"))
    return origin is not None and origin.partition("://")[2] not in hosts
