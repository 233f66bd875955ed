"""The client's exceptions: one class for each kind of failure, all of them a ClientError."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from provision_engine.client.models import Runtime


class ClientError(Exception):
    """Base class: a request failed, at the engine or on the way to it.

    ``status`` is the HTTP status, None if there was no response; ``error`` is a short title and
    ``message`` the details (text, object or array). ``request_id`` finds the request in the
    engine's log.
    """

    def __init__(
        self, error: str, message: Any = "", status: int | None = None, request_id: str = ""
    ) -> None:
        super().__init__(error, message, status, request_id)
        self.error, self.message, self.status = error, message, status
        self.request_id = request_id

    def __str__(self) -> str:
        return f"{self.error}: {self.message}" if self.message else self.error


class Unreachable(ClientError):
    """No response of the engine arrived: whether it carried out the request is unknown."""


class Unusable(ClientError):
    """The URL is malformed or the certificate is not trusted: repeating does not help."""


class NotAnEngine(ClientError):
    """The response is not one that a Provisioning Engine sends."""


class BadRequest(ClientError):
    """400: the request is invalid; the message names the member."""


class Unauthorized(ClientError):
    """401: OpenNebula does not accept this user and password."""


class Forbidden(ClientError):
    """403: OpenNebula refuses this user."""


class NotFound(ClientError):
    """404: there is no such runtime."""


class Conflict(ClientError):
    """409: the idempotency key was used with another request."""


class Changed(ClientError):
    """412: the runtime has changed since it was read."""


class Unprocessable(ClientError):
    """422: no flow template for the flavours, or the capacity is not available."""


class Locked(ClientError):
    """423: a function is in a transient state, or another update is in progress."""


class Busy(ClientError):
    """429 or 503, even after all attempts: the engine or OpenNebula is busy or down."""


class RuntimeFailed(ClientError):
    """A function of the runtime is in ERROR; ``runtime`` is its last known state."""

    def __init__(self, runtime: Runtime) -> None:
        super().__init__(f"Serverless runtime {runtime.id} failed", runtime.reason)
        self.runtime = runtime


class StillWaiting(ClientError):
    """The time ran out before the runtime was ready; ``runtime`` is its last known state."""

    def __init__(self, runtime: Runtime, state: str = "RUNNING") -> None:
        error = f"Serverless runtime {runtime.id} is {runtime.state}, not yet {state}"
        super().__init__(error, runtime.reason)
        self.runtime = runtime


BY_STATUS: Mapping[int, type[ClientError]] = {
    400: BadRequest,
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    412: Changed,
    422: Unprocessable,
    423: Locked,
    429: Busy,
    503: Busy,
}
