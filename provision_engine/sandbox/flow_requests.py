"""What the routes of oneflow share: requests, responses, and the documents they are about."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any, NamedTuple

from provision_engine.sandbox import errors, oned, pages
from provision_engine.sandbox.calls import Call, Value
from provision_engine.sandbox.errors import OneError
from provision_engine.sandbox.rpc import Parameter
from provision_engine.sandbox.service_body import Crash, ServiceError, parse_body
from provision_engine.sandbox.store import Document, User
from provision_engine.sandbox.world import World
from provision_engine.sandbox.xml import PERMISSION_NAMES

TEXT_HTML = "text/html;charset=utf-8"


class Response(NamedTuple):
    """An HTTP response."""

    status: int
    body: str = ""
    content_type: str | None = TEXT_HTML


NOTHING = Response(204, content_type=None)


class Request(NamedTuple):
    """The argument of each route's function."""

    world: World
    user: User
    number: int
    path: str
    body: bytes

    def json(self) -> dict[str, Any]:
        """The body as a JSON object."""
        try:
            value = json.loads(self.body)
        except ValueError:
            text = self.body.decode("utf-8", "replace")
            raise Crash("JSON::ParserError", f"859: unexpected token at '{text}'") from None
        return value if isinstance(value, dict) else {}

    def action(self) -> tuple[str, dict[str, Any]]:
        """The name and the parameters of the requested action."""
        action = self.json().get("action")
        if not isinstance(action, dict):
            raise Crash("NoMethodError", pages.NO_ACTION)
        params = action.get("params")
        return str(action.get("perform")), params if isinstance(params, dict) else {}

    def oned(self, method: str, *arguments: Parameter) -> Value:
        """Calls oned as the user of the request; its errors begin with the method's name."""
        number = self.world.store.current_request_id
        call = Call(self.world, self.user, number, [self.number, *arguments])
        try:
            return oned.METHODS[method].function(call)
        except OneError as error:
            raise OneError(error.code, f"[{method}] {error.message}") from None


Handler = Callable[[Request], Response]
Params = dict[str, Any]


def document_of(request: Request, kind: int) -> Document:
    """The document of a request; OneError if the user may not use it or it is of another type."""
    request.oned("one.document.info")
    document = request.world.store.documents.get(request.number)
    if document.type != kind:
        raise OneError(
            errors.INTERNAL, f"[DocumentInfo] Error getting document [{request.number}]."
        )
    return document


def shown(document: Document, status: int = 200) -> Response:
    """The response with a document."""
    return Response(status, f'{{"DOCUMENT": {_document_json(document)}}}')


def listing(kind: int) -> Handler:
    """A route that lists all documents of a type that the user may use."""

    def listed(request: Request) -> Response:
        found = request.world.store.documents.select(request.user, -2, -1, -1, kind)
        if not found:
            return Response(200, '{"DOCUMENT_POOL": {}}')
        inner = ", ".join([_document_json(d) for d in found])
        return Response(200, f'{{"DOCUMENT_POOL": {{"DOCUMENT": [{inner}]}}}}')

    return listed


def _document_json(document: Document) -> str:
    """A document as oneflow shows it, with its BODY as JSON instead of text."""
    head = {
        "ID": str(document.id),
        "UID": str(document.uid),
        "GID": str(document.gid),
        "UNAME": document.uname,
        "GNAME": document.gname,
        "NAME": document.name,
        "TYPE": str(document.type),
        "PERMISSIONS": {
            n: str(b) for n, b in zip(PERMISSION_NAMES, document.permissions, strict=True)
        },
    }
    text = json.dumps(head, ensure_ascii=False)[:-1]
    return f'{text}, "TEMPLATE": {_template_json(document)}}}'


def _template_json(document: Document) -> str:
    parse_body(document)  # a Crash if it is not JSON
    members = [
        f"{json.dumps(name)}: {value if name == 'BODY' and value else json.dumps(value)}"
        for name, value in document.template.items
    ]
    return f"{{{', '.join(members)}}}"


# ---- actions on any document ---------------------------------------------------------------------


def _rename(request: Request, params: Params) -> None:
    request.oned("one.document.rename", str(params.get("name", "")))


def _chmod(request: Request, params: Params) -> None:
    digits = str(params.get("octet", ""))
    if not re.fullmatch(r"[0-7]{3}", digits):
        raise ServiceError("Wrong octet")
    bits = [int(digit) >> shift & 1 for digit in digits for shift in (2, 1, 0)]
    request.oned("one.document.chmod", *bits)


def _chown(request: Request, params: Params) -> None:
    owner, group = (int(params.get(name, -1)) for name in ("owner_id", "group_id"))
    request.oned("one.document.chown", owner, group)


SHARED_ACTIONS: dict[str, Callable[[Request, Params], None]] = {
    "rename": _rename,
    "chmod": _chmod,
    "chown": _chown,
    "chgrp": _chown,
}
