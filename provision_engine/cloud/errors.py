"""Failures of OpenNebula and of libraries become the engine's here, by tables, and nowhere else."""

from __future__ import annotations

import re
import time
from http.client import HTTPException

import pyone
import requests

from provision_engine import errors
from provision_engine.errors import EngineError


class NotConnected(OSError):
    """No connection to a backend could be made."""


# Ordered: the first class that fits decides.
TRANSPORT: tuple[tuple[type[Exception], type[EngineError]], ...] = (
    (NotConnected, errors.BackendDown),
    (TimeoutError, errors.BackendTimeout),
    (requests.ConnectionError, errors.BackendUnreachable),
    (requests.RequestException, errors.BadGateway),
    (OSError, errors.BackendUnreachable),
    (HTTPException, errors.BadGateway),
)

ONED: tuple[tuple[type[Exception], type[EngineError]], ...] = (
    (pyone.OneAuthenticationException, errors.Unauthorized),
    (pyone.OneAuthorizationException, errors.Forbidden),
    (pyone.OneNoExistsException, errors.NotFound),
    (pyone.OneActionException, errors.ActionRefused),
    (pyone.OneException, errors.BadGateway),
)

CODES: dict[object, type[pyone.OneException]] = {
    0x0100: pyone.OneAuthenticationException,
    0x0200: pyone.OneAuthorizationException,
    0x0400: pyone.OneNoExistsException,
    0x0800: pyone.OneActionException,
}
"""oned's own codes, as pyone reads them in the response to a single call."""

ONEFLOW: dict[int, type[EngineError]] = {
    400: errors.ActionRefused,  # before anything was done
    401: errors.Unauthorized,
    403: errors.Forbidden,
    404: errors.NotFound,
    503: errors.BackendUnreachable,
}

# Where one code of OpenNebula means several things, its text has to decide. Scenarios
# quota-exceeded, update, slow-boot, delete-faas, delete-while-booting and
# missing-vm-template-with-contents of the recordings.
TEXTS: tuple[tuple[re.Pattern[str], type[EngineError]], ...] = (
    (
        re.compile(r"limit of .* reached for .* quota|quota .*exceeded", re.I),
        errors.CapacityRefused,
    ),
    (re.compile(r"Not enough (CPU|memory|capacity)", re.I), errors.CapacityRefused),
    (re.compile(r"New disk size has to be greater"), errors.CapacityRefused),
    (re.compile(r"Cannot resize a VM in state|resize disk for VM \d+, wrong state"), errors.Locked),
    (re.compile(r"Not authorized to perform"), errors.Forbidden),
    (re.compile(r"Unable to create Scheduled Action .* in DONE state"), errors.ActionRefused),
    (re.compile(r"cannot be recovered in state: (DEPLOYING|DEPLOYING_NETS)$"), errors.Locked),
    (re.compile(r"^(Service|Error undeploying).*(cannot be|undeploying)"), errors.ActionRefused),
)


def from_text(text: str) -> type[EngineError] | None:
    """Return the error that a text of OpenNebula stands for; None if it is not in the table."""
    return next((engine_error for pattern, engine_error in TEXTS if pattern.search(text)), None)


def locked_since(refusal: EngineError) -> int:
    """Return the time at the end of ``[one.document.lock] 1795486136``; now if there is none."""
    found = re.search(r"(\d+)\s*$", str(refusal.message))
    return int(found[1]) if found else int(time.time())


def from_transport(error: BaseException, backend: str) -> EngineError:
    """Return the error for a failure on the way to a backend or back."""
    cause = _cause(error)
    engine_error = next(own for foreign, own in TRANSPORT if isinstance(cause, foreign))
    return engine_error(f"{backend}: {str(cause) or type(cause).__name__}")


def _cause(error: BaseException) -> BaseException:
    """Return the failure that a library has wrapped. What is behind an EngineError is older."""
    found, behind = error, error.__context__
    while not isinstance(found, NotConnected) and behind is not None:
        if isinstance(behind, EngineError):
            break
        if isinstance(behind, OSError | HTTPException):
            found = behind
        behind = behind.__context__
    return found


def from_code(code: object, text: object) -> pyone.OneException:
    """Return the error that pyone raises for a code of oned."""
    return CODES.get(code, pyone.OneException)(text)


def from_oned(error: Exception) -> EngineError:
    """Return the error for a refusal of oned."""
    engine_error = next(own for foreign, own in ONED if isinstance(error, foreign))
    text = str(error)
    if engine_error is errors.Unauthorized:
        return engine_error("OpenNebula does not know this user and password")
    return (from_text(text) or engine_error)(text)


def from_oneflow(status: int, text: str) -> EngineError:
    """Return the error for a refusal of oneflow. It answers 401 for a missing right as well."""
    engine_error = ONEFLOW.get(status, errors.BadGateway)
    return (from_text(text) or engine_error)(text or f"oneflow answered HTTP {status}")
