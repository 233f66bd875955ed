"""All errors of the engine, in one tree. Each class has its HTTP status.

An error has a short title (``error``, the same for every occurrence) and details (``message``:
text, object or list), which together are the body of the response.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class OperatorError(Exception):
    """The program cannot start or do what its command line asks; each argument is one line."""

    def __str__(self) -> str:
        return "; ".join(map(str, self.args))


class EngineError(Exception):
    """Base class; an instance of this class itself is a defect of the engine."""

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
    status, error = 400, "Invalid request"


class Unauthorized(EngineError):
    status, error = 401, "Authentication failed"


class Forbidden(EngineError):
    status, error = 403, "Permission denied by OpenNebula"


class ForeignSite(Forbidden):
    error = "Request from another site"


class NotFound(EngineError):
    status, error = 404, "Not found"


class MethodNotAllowed(EngineError):
    status, error = 405, "Method not allowed"


class Conflict(EngineError):
    status, error = 409, "Idempotency key reused with a different body"


class PreconditionFailed(EngineError):
    status, error = 412, "Precondition failed: the runtime has changed"


class BodyTooLarge(EngineError):
    status, error = 413, "Request body too large"


class Unprocessable(EngineError):
    status, error = 422, "Request cannot be processed"


class NoFlowTemplate(Unprocessable):
    error = "No flow template for the requested flavours"


class UnknownFlavours(NoFlowTemplate):
    """No flow template is for these flavours, or it has gone; the message has them by role."""

    @classmethod
    def from_roles(cls, flavours: Mapping[str, str]) -> UnknownFlavours:
        return cls({role: {"FLAVOUR": flavour} for role, flavour in flavours.items()})


class CapacityRefused(Unprocessable):
    error = "The requested capacity is not available"


class ActionRefused(Unprocessable):
    """OpenNebula rejects this action in the current state of the object."""

    error = "Action not possible in the current state"

    def __init__(self, message: Any = "", *, remedy: str = "") -> None:
        super().__init__(message)
        self.remedy = remedy
        """The action that helps: "recover", "resume", or "replace", a recover that loses data."""


class Locked(EngineError):
    status, error = 423, "The runtime is busy"
    retry_after_seconds = 2


class TooManyRequests(EngineError):
    status, error = 429, "Too many requests"
    retry_after_seconds = 1


class DeployFailed(EngineError):
    error = "Deployment failed"


class UpdateFailed(EngineError):
    error = "Update failed"


class BadGateway(EngineError):
    status, error = 502, "Invalid response from OpenNebula"


class BackendUnreachable(EngineError):
    status, error = 503, "OpenNebula is unreachable"
    retry_after_seconds = 5


class BackendDown(BackendUnreachable):
    """No connection could be established, so certainly nothing was done."""


class DeployedAnew(BackendUnreachable):
    """oneflow was restarted, and has deployed a service once more, as its own user."""


class BackendTimeout(EngineError):
    status, error = 504, "OpenNebula did not respond in time"
