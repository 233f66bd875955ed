"""Foreign failures become ours here, by table, and nowhere else."""

from __future__ import annotations

import re

import pyone
import requests
from urllib3.exceptions import NewConnectionError

from provision_engine import errors
from provision_engine.errors import EngineError

# Ordered: the first class that fits decides.
TRANSPORT: tuple[tuple[type[Exception], type[EngineError]], ...] = (
    (requests.exceptions.ReadTimeout, errors.BackendTimeout),
    (requests.exceptions.ChunkedEncodingError, errors.BadGateway),
    (requests.exceptions.ContentDecodingError, errors.BadGateway),
    (requests.exceptions.ConnectionError, errors.BackendUnreachable),
    (requests.exceptions.Timeout, errors.BackendTimeout),
    (requests.exceptions.RequestException, errors.BadGateway),
)

ONED: tuple[tuple[type[Exception], type[EngineError]], ...] = (
    (pyone.OneAuthenticationException, errors.Unauthorized),
    (pyone.OneAuthorizationException, errors.Forbidden),
    (pyone.OneNoExistsException, errors.NotFound),
    (pyone.OneActionException, errors.ActionRefused),
    (pyone.OneException, errors.BadGateway),
)

ONEFLOW: dict[int, type[EngineError]] = {
    401: errors.Unauthorized,
    403: errors.Forbidden,
    404: errors.NotFound,
    503: errors.BackendUnreachable,
}

# Where one code of OpenNebula means several things, its text has to decide. These are all the
# texts that the engine looks into (scenarios quota-exceeded, update, slow-boot, delete-faas).
TEXTS: tuple[tuple[re.Pattern[str], type[EngineError]], ...] = (
    (
        re.compile(r"limit of .* reached for .* quota|quota .*exceeded", re.I),
        errors.CapacityRefused,
    ),
    (re.compile(r"Not enough (CPU|memory|capacity)", re.I), errors.CapacityRefused),
    (re.compile(r"New disk size has to be greater"), errors.CapacityRefused),
    (re.compile(r"Cannot resize a VM in state|resize disk for VM \d+, wrong state"), errors.Locked),
    (re.compile(r"Not authorized to perform"), errors.Forbidden),
    (re.compile(r"^(Service|Error undeploying).*(cannot be|undeploying)"), errors.ActionRefused),
)


def of_text(text: str) -> type[EngineError] | None:
    """The error that a text of OpenNebula stands for, if it is one of those we look into."""
    return next((ours for pattern, ours in TEXTS if pattern.search(text)), None)


def from_transport(error: Exception, backend: str) -> EngineError:
    """A failure on the way to a backend or back."""
    ours = next(ours for theirs, ours in TRANSPORT if isinstance(error, theirs))
    if ours is errors.BackendUnreachable and isinstance(_cause(error), NewConnectionError):
        ours = errors.BackendDown
    return ours(f"{backend}: {reason(error)}")


def _cause(error: Exception) -> object:
    """What urllib3 says happened."""
    return getattr(error.args[0], "reason", None) if error.args else None


def from_oned(error: Exception) -> EngineError:
    """An answer of oned that says no."""
    ours = next(ours for theirs, ours in ONED if isinstance(error, theirs))
    text = str(error)
    return (of_text(text) or ours)(text)


def from_oneflow(status: int, text: str) -> EngineError:
    """An answer of oneflow that says no. It answers 401 for a missing right as well."""
    ours = ONEFLOW.get(status, errors.BadGateway)
    return (of_text(text) or ours)(text or f"oneflow answered HTTP {status}")


def reason(error: Exception) -> str:
    """What happened, without addresses of objects or nested representations."""
    while error.args and isinstance(error.args[0], Exception):
        error = error.args[0]
    cause = getattr(error, "reason", None)
    if isinstance(cause, Exception):
        error = cause
    text = str(error.args[-1]) if error.args else type(error).__name__
    return re.sub(r"<[^>]*>:? ?|\bHTTPS?Connection(?:Pool)?\([^)]*\): ", "", text)
