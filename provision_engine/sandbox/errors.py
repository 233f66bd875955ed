"""What oned answers when it refuses: a code, a sentence and perhaps the object it is about."""

from __future__ import annotations

AUTHENTICATION = 0x0100
AUTHORIZATION = 0x0200
NO_EXISTS = 0x0400
ACTION = 0x0800
XML_RPC_API = 0x1000
INTERNAL = 0x2000
ALLOCATE = 0x4000


class OneError(Exception):
    """A refusal by oned; the method's name is put before the sentence when it is answered.

    Source: every failed call of the recordings has the form
    ``[false, "[method] message", code, object id or -1, -1]``.
    """

    def __init__(self, code: int, message: str, object_id: int = -1) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.object_id = object_id


class RpcFault(Exception):
    """An XML-RPC fault: the call itself was malformed (scenario unknown-method)."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text


def no_such(noun: str, object_id: int) -> OneError:
    """The answer for an id nobody has."""
    return OneError(NO_EXISTS, f"Error getting {noun} [{object_id}].", object_id)
