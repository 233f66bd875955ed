"""The two pages for people, /ui and /docs, with their files.

All files are part of the program; the Content-Security-Policy of each response
allows the browser to load and run nothing else.
"""

from __future__ import annotations

import gzip
from functools import cache
from pathlib import Path

from flask import Response, request

from provision_engine.errors import NotFound

FILES = Path(__file__).parent.parent / "ui"

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; font-src 'self'; "
    "img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
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


# Path → file and type. Nothing else is served.
PAGES = {"/ui": ("ui.html", HTML), "/docs": ("docs.html", HTML)}
_NAMES = (file.relative_to(FILES).as_posix() for file in sorted(FILES.rglob("*.*")))
ASSETS = {
    **{
        f"/ui/{name}": (name, TYPES[Path(name).suffix])
        for name in _NAMES
        if Path(name).suffix in TYPES and not name.startswith("swagger/")
    },
    "/docs/swagger-ui-bundle.js": ("swagger/swagger-ui-bundle.js.gz", SCRIPT),
    "/docs/swagger-ui.css": ("swagger/swagger-ui.css.gz", STYLE),
}


def get_file(name: str = "") -> Response:
    file, content_type = PAGES.get(request.path) or ASSETS.get(request.path) or ("", "")
    if not file:
        raise NotFound(f"There is no file {name[:80]}")
    plain, compressed = _content(file)
    is_compressed = bool(compressed) and request.accept_encodings["gzip"] > 0
    response = Response(compressed if is_compressed else plain, content_type=content_type)
    response.headers.update(HEADERS)
    if is_compressed:
        response.headers["Content-Encoding"] = "gzip"
    response.headers["Vary"] = "Accept-Encoding"
    response.add_etag()
    response.make_conditional(request)
    return response


@cache
def _content(name: str) -> tuple[bytes, bytes]:
    """Return a file, plain and gzipped; the latter is empty if compression is not worthwhile."""
    content = (FILES / name).read_bytes()
    if name.endswith(".gz"):
        return gzip.decompress(content), content
    if len(content) < MIN_COMPRESSED_BYTES or name.endswith(COMPRESSED_ALREADY):
        return content, b""
    return content, gzip.compress(content, mtime=0)
