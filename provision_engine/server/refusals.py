"""Responses to what never reaches the application: malformed requests, crashes outside of it."""

from __future__ import annotations

import json
import ssl
from http import HTTPStatus

from gunicorn.http import errors

from provision_engine import headers

HEADER_BYTES = 16_384
HEADER_FIELDS = 100

Reason = tuple[HTTPStatus, str]

FAILED = (HTTPStatus.INTERNAL_SERVER_ERROR, "the engine failed; its log has the reason")
# The texts never repeat what the client sent: a broken header may hold a password.
REFUSALS: dict[type[BaseException], Reason] = {
    errors.LimitRequestLine: (HTTPStatus(414), "the request line is too long"),
    errors.LimitRequestHeaders: (
        HTTPStatus(431),
        f"at most {HEADER_FIELDS} header fields of at most {HEADER_BYTES} bytes are accepted",
    ),
    errors.UnsupportedTransferCoding: (
        HTTPStatus(501),
        "chunked is the only transfer coding that is supported",
    ),
    errors.ExpectationFailed: (
        HTTPStatus(417),
        "100-continue is the only expectation that is supported",
    ),
    errors.InvalidRequestLine: (HTTPStatus(400), "the request line is malformed"),
    errors.InvalidRequestMethod: (HTTPStatus(400), "the method is malformed"),
    errors.InvalidHTTPVersion: (HTTPStatus(505), "the version of HTTP must be 1.0 or 1.1"),
    errors.InvalidHeader: (HTTPStatus(400), "a header field is malformed"),
    errors.InvalidHeaderName: (HTTPStatus(400), "the name of a header field is malformed"),
    errors.ObsoleteFolding: (HTTPStatus(400), "a header field spans several lines"),
    errors.InvalidChunkSize: (HTTPStatus(400), "the size of a chunk is malformed"),
    errors.ChunkMissingTerminator: (HTTPStatus(400), "a chunk is longer or shorter than its size"),
    errors.InvalidChunkExtension: (HTTPStatus(400), "a chunk extension is malformed"),
    errors.ConfigurationProblem: FAILED,
    errors.InvalidResponseHeader: FAILED,
    errors.InvalidResponseHeaderName: FAILED,
}
MALFORMED = (HTTPStatus.BAD_REQUEST, "the request is malformed")
NO_TLS = (HTTPStatus.BAD_REQUEST, "the TLS handshake failed")
TOO_LATE = (HTTPStatus.REQUEST_TIMEOUT, "the request did not arrive in time")


def refusal(error: BaseException) -> Reason:
    """Return status and message for what went wrong outside of the application."""
    if isinstance(error, ssl.SSLError):
        return NO_TLS
    unknown = MALFORMED if isinstance(error, errors.ParseException) else FAILED
    return REFUSALS.get(type(error), unknown)


def error_response(reason: Reason, request_id: str) -> bytes:
    """Return a whole HTTP response whose body has the form of all errors."""
    status, message = reason
    body = json.dumps({"error": status.phrase, "message": message}).encode()
    head = (
        f"HTTP/1.1 {status.value} {status.phrase}\r\n"
        "Content-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n"
        f"X-Request-ID: {request_id}\r\n"
        + "".join(f"{name}: {value}\r\n" for name, value in headers.SECURITY.items())
        + "Connection: close\r\n\r\n"
    )
    return head.encode("ascii") + body
