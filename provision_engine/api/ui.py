"""The two pages for people, /ui and /docs, and the files that they are made of.

All files come with the program and from this host; the policy in front of each page lets the
browser load and run nothing else.
"""

from __future__ import annotations

import gzip
import hashlib
from functools import cache
from pathlib import Path
from typing import NamedTuple

from flask import Blueprint, Response, request

from provision_engine.errors import NotFound

FILES = Path(__file__).parent.parent / "ui"

POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-cache",
}

HTML, SCRIPT, STYLE = "text/html; charset=utf-8", "text/javascript; charset=utf-8", "text/css"
WORTH_PACKING_BYTES = 1400


class Asset(NamedTuple):
    """A file of the program, ready to be sent."""

    content: bytes
    packed: bytes
    etag: str


# Path → file and type. What is not here cannot be asked for.
PAGES = {"/ui": ("ui.html", HTML), "/docs": ("docs.html", HTML)}
ASSETS = {
    "/ui/app.js": ("app.js", SCRIPT),
    "/ui/app.css": ("app.css", STYLE),
    "/ui/icon.svg": ("icon.svg", "image/svg+xml"),
    "/ui/land.svg": ("land.svg", "image/svg+xml"),
    "/docs/docs.js": ("docs.js", SCRIPT),
    "/docs/swagger-ui-bundle.js": ("swagger/swagger-ui-bundle.js.gz", SCRIPT),
    "/docs/swagger-ui.css": ("swagger/swagger-ui.css.gz", STYLE),
}

routes = Blueprint("ui", __name__)


@routes.get("/ui")
def get_ui() -> Response:
    return _sent(*PAGES["/ui"])


@routes.get("/docs")
def get_docs() -> Response:
    return _sent(*PAGES["/docs"])


@routes.get("/ui/<name>")
@routes.get("/docs/<name>")
def get_asset(name: str) -> Response:
    found = ASSETS.get(request.path)
    if found is None:
        raise NotFound(f"There is no file {name[:80]}")
    return _sent(*found)


def _sent(name: str, content_type: str) -> Response:
    asset = _asset(name)
    is_packed = bool(asset.packed) and request.accept_encodings["gzip"] > 0
    response = Response(asset.packed if is_packed else asset.content, content_type=content_type)
    response.headers.update(HEADERS)
    if is_packed:
        response.headers["Content-Encoding"] = "gzip"
    response.headers["Vary"] = "Accept-Encoding"
    # The packed form is another representation, and so has another tag.
    response.set_etag(asset.etag + ("-gzip" if is_packed else ""))
    response.make_conditional(request)
    return response


@cache
def _asset(name: str) -> Asset:
    content = (FILES / name).read_bytes()
    if name.endswith(".gz"):
        content, packed = gzip.decompress(content), content
    else:
        packed = gzip.compress(content, mtime=0) if len(content) > WORTH_PACKING_BYTES else b""
    return Asset(content, packed, hashlib.sha256(content).hexdigest()[:32])
