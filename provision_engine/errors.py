"""Everything that can go wrong, as one tree. Each class carries its HTTP status.

An error has a short title (``error``, the same for every occurrence) and details (``message``:
text, object or list), which together are the body of the answer.
"""

from __future__ import annotations

from typing import Any


class OperatorError(Exception):
    """The program cannot start or do what its command line asks; the text is one line."""


class EngineError(Exception):
    """Base class; on its own it is a defect of the engine."""

    status = 500
    error = "Internal server error"
    retry_after_seconds: int | None = None

    def __init__(self, message: Any = "", *, error: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        if error is not None:
            self.error = error

    def __str__(self) -> str:
        return f"{self.error}: {self.message}" if self.message else self.error


class BadRequest(EngineError):
    status, error = 400, "The request does not fit"


class Unauthorized(EngineError):
    status, error = 401, "Authentication failed"


class Forbidden(EngineError):
    status, error = 403, "OpenNebula refuses this user"


class NotFound(EngineError):
    status, error = 404, "Not found"


class MethodNotAllowed(EngineError):
    status, error = 405, "Method not allowed"


class Conflict(EngineError):
    status, error = 409, "The idempotency key was used with another body"


class PreconditionFailed(EngineError):
    status, error = 412, "The runtime changed in between"


class BodyTooLarge(EngineError):
    status, error = 413, "The body is too large"


class Unprocessable(EngineError):
    status, error = 422, "The request cannot be fulfilled"


class NoFlowTemplate(Unprocessable):
    error = "Cannot find a flow template for the requested flavours"


class CapacityRefused(Unprocessable):
    error = "The requested capacity cannot be had"


class ActionRefused(Unprocessable):
    """OpenNebula does not do this now, in the state its object is in."""

    error = "OpenNebula refuses the action"


class Locked(EngineError):
    status, error = 423, "The runtime cannot be changed now"
    retry_after_seconds = 2


class TooManyRequests(EngineError):
    status, error = 429, "More requests at once than the engine admits"
    retry_after_seconds = 1


class DeployFailed(EngineError):
    error = "The service failed to deploy"


class UpdateFailed(EngineError):
    error = "The update failed"


class BadGateway(EngineError):
    status, error = 502, "OpenNebula gave an answer that makes no sense"


class BackendUnreachable(EngineError):
    status, error = 503, "OpenNebula cannot be reached"
    retry_after_seconds = 5


class BackendDown(BackendUnreachable):
    """Not even a connection could be made: certainly nothing was done."""


class BackendTimeout(EngineError):
    status, error = 504, "OpenNebula did not finish in time"
