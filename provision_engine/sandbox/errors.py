"""oned's errors: a code, a message and, for some, the id of the object concerned."""

from __future__ import annotations

AUTHENTICATION = 0x0100
AUTHORIZATION = 0x0200
NO_EXISTS = 0x0400
ACTION = 0x0800
XML_RPC_API = 0x1000
INTERNAL = 0x2000
ALLOCATE = 0x4000


class OneError(Exception):
    """An error of oned; the response puts the method's name before the message.

    Source: every failed call of the recordings has the form
    ``[false, "[method] message", code, object id or -1, -1]``.
    """

    def __init__(self, code: int, message: str, object_id: int = -1) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.object_id = object_id


class RpcFault(Exception):
    """An XML-RPC fault: the call itself is malformed (scenario unknown-method)."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text


def no_such(noun: str, object_id: int) -> OneError:
    """The error for an id that does not exist."""
    what = "Pool" if object_id == -1 else f"[{object_id}]"
    return OneError(NO_EXISTS, f"Error getting {noun} {what}.", object_id)
