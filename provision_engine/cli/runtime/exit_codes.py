"""The exit codes of `provision-engine runtime`, and what they mean to a script."""

from __future__ import annotations

from provision_engine import client
from provision_engine.client import ClientError

DONE, FAILED, USAGE, NOT_FOUND = 0, 1, 2, 3
RUNTIME_FAILED, STILL_WAITING, REFUSED, UNFULFILLABLE, LATER = 4, 5, 6, 7, 8

MEANINGS = {
    DONE: "done",
    FAILED: "the engine or OpenNebula failed, or the request is invalid",
    USAGE: "the command line is wrong",
    NOT_FOUND: "there is no such runtime",
    RUNTIME_FAILED: "the runtime failed while it was waited for: a function is in ERROR",
    STILL_WAITING: "the time to wait ran out before the runtime was ready",
    REFUSED: "the user is unknown, or is not allowed to do this",
    UNFULFILLABLE: "impossible as requested: flavour, capacity, quota, a key that was used with "
    "another\n       request, or a runtime that has changed since it was read",
    LATER: "not now: the runtime is changing, the engine is busy, or it does not respond",
    130: "interrupted (Ctrl-C)",
    141: "the reader of the output closed it, as head does",
}

_ERRORS: dict[int, tuple[type[ClientError], ...]] = {
    NOT_FOUND: (client.NotFound,),
    RUNTIME_FAILED: (client.RuntimeFailed,),
    STILL_WAITING: (client.StillWaiting,),
    REFUSED: (client.Unauthorized, client.Forbidden),
    UNFULFILLABLE: (client.Conflict, client.Changed, client.Unprocessable),
    LATER: (client.Locked, client.Busy, client.Unreachable),
}


def of(error: ClientError) -> int:
    """Return the exit code for an error."""
    return next((code for code, kinds in _ERRORS.items() if isinstance(error, kinds)), FAILED)


def explained() -> str:
    """Return the table for the help text."""
    return "\n  ".join(["exit codes:", *(f"{n:<3}  {text}" for n, text in MEANINGS.items())])
