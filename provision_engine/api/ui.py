"""The two pages for people, /ui and /docs, with their files.

All files are part of the program; the Content-Security-Policy of each response
allows the browser to load and run nothing else.
"""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Iterator
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
        "font-src 'self'",
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
TYPES = {".js": SCRIPT, ".css": STYLE, ".svg": "image/svg+xml", ".woff2": "font/woff2"}
COMPRESSED_ALREADY = (".woff2",)
MIN_COMPRESSED_BYTES = 1400


class Asset(NamedTuple):
    """A file of the program, with what is needed to send it."""

    content: bytes
    compressed: bytes
    """The gzipped content; empty if compression is not worthwhile."""
    etag: str


def _files_of_page() -> Iterator[tuple[str, tuple[str, str]]]:
    """The files of /ui: every script, style, image and font below FILES except Swagger's."""
    for file in sorted(FILES.rglob("*")):
        name = file.relative_to(FILES).as_posix()
        if file.suffix in TYPES and not name.startswith("swagger/"):
            yield f"/ui/{name}", (name, TYPES[file.suffix])


# Path → file and type. Nothing else is served.
PAGES = {"/ui": ("ui.html", HTML), "/docs": ("docs.html", HTML)}
ASSETS = {
    **dict(_files_of_page()),
    "/docs/swagger-ui-bundle.js": ("swagger/swagger-ui-bundle.js.gz", SCRIPT),
    "/docs/swagger-ui.css": ("swagger/swagger-ui.css.gz", STYLE),
}

routes = Blueprint("ui", __name__)


@routes.get("/ui")
def get_ui() -> Response:
    return _response(*PAGES["/ui"])


@routes.get("/docs")
def get_docs() -> Response:
    return _response(*PAGES["/docs"])


@routes.get("/ui/<path:name>")
@routes.get("/docs/<path:name>")
def get_asset(name: str) -> Response:
    found = ASSETS.get(request.path)
    if found is None:
        raise NotFound(f"There is no file {name[:80]}")
    return _response(*found)


def _response(name: str, content_type: str) -> Response:
    asset = _asset(name)
    is_compressed = bool(asset.compressed) and request.accept_encodings["gzip"] > 0
    response = Response(
        asset.compressed if is_compressed else asset.content, content_type=content_type
    )
    response.headers.update(HEADERS)
    if is_compressed:
        response.headers["Content-Encoding"] = "gzip"
    response.headers["Vary"] = "Accept-Encoding"
    # The compressed form is another representation, so it has another entity tag.
    response.set_etag(asset.etag + ("-gzip" if is_compressed else ""))
    response.make_conditional(request)
    return response


@cache
def _asset(name: str) -> Asset:
    content = (FILES / name).read_bytes()
    if name.endswith(".gz"):
        content, compressed = gzip.decompress(content), content
    elif len(content) < MIN_COMPRESSED_BYTES or name.endswith(COMPRESSED_ALREADY):
        compressed = b""
    else:
        compressed = gzip.compress(content, mtime=0)
    return Asset(content, compressed, hashlib.sha256(content).hexdigest()[:32])
