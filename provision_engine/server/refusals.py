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

_STATUS_AND_TEXT = {
    errors.LimitRequestLine: (414, "the request line is too long"),
    errors.LimitRequestHeaders: (
        431,
        f"at most {HEADER_FIELDS} header fields of at most {HEADER_BYTES} bytes are accepted",
    ),
    errors.UnsupportedTransferCoding: (
        501,
        "chunked is the only transfer coding that is supported",
    ),
    errors.ExpectationFailed: (417, "100-continue is the only expectation that is supported"),
    errors.InvalidRequestLine: (400, "the request line is malformed"),
    errors.InvalidRequestMethod: (400, "the method is malformed"),
    errors.InvalidHTTPVersion: (505, "the version of HTTP must be 1.0 or 1.1"),
    errors.InvalidHeader: (400, "a header field is malformed"),
    errors.InvalidHeaderName: (400, "the name of a header field is malformed"),
    errors.ObsoleteFolding: (400, "a header field spans several lines"),
    errors.InvalidChunkSize: (400, "the size of a chunk is malformed"),
    errors.ChunkMissingTerminator: (400, "a chunk is longer or shorter than its size"),
    errors.InvalidChunkExtension: (400, "a chunk extension is malformed"),
}
# The texts never repeat what the client sent: a broken header may hold a password.
REFUSALS: dict[type[BaseException], Reason] = {
    kind: (HTTPStatus(status), text) for kind, (status, text) in _STATUS_AND_TEXT.items()
}
MALFORMED = (HTTPStatus.BAD_REQUEST, "the request is malformed")
NO_TLS = (HTTPStatus.BAD_REQUEST, "the TLS handshake failed")
FAILED = (HTTPStatus.INTERNAL_SERVER_ERROR, "the engine failed; its log has the reason")
TOO_LATE = (HTTPStatus.REQUEST_TIMEOUT, "the request did not arrive in time")
_OUR_FAULT = (
    errors.ConfigurationProblem,
    errors.InvalidResponseHeader,
    errors.InvalidResponseHeaderName,
)


def refusal(error: BaseException) -> Reason:
    """Return status and message for what went wrong outside of the application."""
    if isinstance(error, ssl.SSLError):
        return NO_TLS
    if isinstance(error, _OUR_FAULT) or not isinstance(error, errors.ParseException):
        return FAILED
    return REFUSALS.get(type(error), MALFORMED)


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
