"""oneflow: the REST API, by table of routes.

Every response is `text/html`, JSON or not; errors are plain text. An action that the state does not
allow is a 500; missing permissions are a 401, as wrong credentials are.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Callable
from typing import Any, NamedTuple

from provision_engine.sandbox import errors, names, pages, seeds
from provision_engine.sandbox.errors import OneError
from provision_engine.sandbox.service_body import (
    Service,
    ServiceError,
    compact,
    deep_merge,
    merge_by_name,
)
from provision_engine.sandbox.store import (
    MANAGE,
    SERVICE,
    SERVICE_TEMPLATE,
    USE,
    Document,
    User,
)
from provision_engine.sandbox.template import Template
from provision_engine.sandbox.world import World
from provision_engine.sandbox.xml import PERMISSION_NAMES

TEXT_HTML = "text/html;charset=utf-8"
_STATUS_OF = {
    errors.AUTHENTICATION: 401,
    errors.AUTHORIZATION: 401,
    errors.NO_EXISTS: 404,
}


class Response(NamedTuple):
    """An HTTP response."""

    status: int
    body: str = ""
    content_type: str | None = TEXT_HTML


class Crash(Exception):
    """oneflow's own code failed; it sends a page of its web framework (6.x) or JSON (7.x)."""

    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind
        self.reason = reason


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


Handler = Callable[[Request], Response]


def respond(
    world: World, method: str, path: str, authorization: str | None, body: bytes
) -> Response:
    """The response to one HTTP request."""
    path = path.split("?", 1)[0]
    try:
        user = _authenticated(world, authorization)
        if isinstance(user, Response):
            return user
        for verb, pattern, handler in ROUTES:
            match = pattern.fullmatch(path)
            if match and verb == method:
                number = _leading_number(match.groupdict().get("id", "0"))
                return handler(Request(world, user, number, path, body))
        return Response(404, pages.not_found(method, path))
    except OneError as error:
        return Response(_STATUS_OF.get(error.code, 500), error.message)
    except ServiceError as error:
        return Response(500, str(error))
    except Crash as crash:
        return _crashed(world, path, crash)
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        # JSON of an unexpected shape makes oneflow's Ruby code fail in the same way.
        return _crashed(world, path, Crash("NoMethodError", str(error)))


def _authenticated(world: World, authorization: str | None) -> User | Response:
    scheme, _, encoded = (authorization or "").partition(" ")
    if scheme.lower() != "basic":
        return Response(401, "A username and password must be provided")
    try:
        session = base64.b64decode(encoded).decode()
        return world.store.authenticate(session)
    except (binascii.Error, UnicodeDecodeError, OneError):
        return Response(401, "Invalid credentials")


def user_name(authorization: str | None) -> str:
    """The user name in the Authorization header, or "" if there is none; it is not checked."""
    try:
        return base64.b64decode((authorization or "").partition(" ")[2]).decode().partition(":")[0]
    except (binascii.Error, UnicodeDecodeError):
        return ""


def _crashed(world: World, path: str, crash: Crash) -> Response:
    if world.store.release.errors_are_json:
        text = {"message": "Internal server error", "reason": crash.reason}
        return Response(500, json.dumps(text))
    return Response(500, pages.crash(crash.kind, path, crash.reason), "text/html")


def _leading_number(text: str) -> int:
    """Ruby's to_i: the leading digits, or else 0 (scenario service-templates: `abc`)."""
    match = re.match(r"\s*-?\d+", text)
    return int(match[0]) if match else 0


def _document(request: Request, kind: int, operation: int = USE) -> Document:
    documents = request.world.store.documents
    try:
        document = documents.get(request.number)
        request.world.store.authorize(request.user, document, USE, check_lock=False)
    except OneError as error:
        raise OneError(error.code, f"[one.document.info] {error.message}") from None
    if document.type != kind:
        raise OneError(
            errors.INTERNAL, f"[DocumentInfo] Error getting document [{request.number}]."
        )
    if operation != USE:
        try:
            request.world.store.authorize(request.user, document, operation)
        except OneError as error:
            raise OneError(error.code, f"[one.document.update] {error.message}") from None
    return document


def document_json(document: Document) -> str:
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
    return f'{text}, "TEMPLATE": {{"BODY": {document.template.text("BODY") or "{}"}}}}}'


def _shown(document: Document, status: int = 200) -> Response:
    return Response(status, f'{{"DOCUMENT": {document_json(document)}}}')


def _list(kind: int) -> Handler:
    def listed(request: Request) -> Response:
        found = request.world.store.documents.select(request.user, -2, -1, -1, kind)
        if not found:
            return Response(200, '{"DOCUMENT_POOL": {}}')
        inner = ", ".join([document_json(d) for d in found])
        return Response(200, f'{{"DOCUMENT_POOL": {{"DOCUMENT": [{inner}]}}}}')

    return listed


def _show(kind: int) -> Handler:
    return lambda request: _shown(_document(request, kind))


# ---- service templates ---------------------------------------------------------------------------


def _create_template(request: Request) -> Response:
    body = _checked_body(request, request.json())
    content = Template([("BODY", compact(body))])
    name = str(body["name"])
    made = request.world.store.new_document(request.user, SERVICE_TEMPLATE, name, content)
    return _shown(made, 201)


def _checked_body(request: Request, given: dict[str, Any]) -> dict[str, Any]:
    """A flow template's body in oneflow's order, with defaults; ServiceError if it is invalid."""
    cloud = request.world.store
    for key in ("name", "roles"):
        if key not in given:
            raise ServiceError(f"KEY: '{key}' is required;")
    _check_roles(given)
    roles = []
    for role in given["roles"]:
        if not cloud.release.contents_are_object and "vm_template" not in role:
            raise ServiceError("KEY: 'vm_template' is required;")
        default = seeds.role(cloud, str(role.get("name", "")), 0)
        del default[cloud.release.role_template_key]
        for optional in ("min_vms", "cooldown"):
            del default[optional]
        roles.append(_in_order(default | role, seeds.role(cloud, "", 0)))
    default_body = seeds.flow_body(cloud, str(given["name"]), roles)
    return default_body | {k: v for k, v in given.items() if k != "roles"}


def _in_order(given: dict[str, Any], order: dict[str, Any]) -> dict[str, Any]:
    known = {key: given[key] for key in order if key in given}
    return known | given


def _check_roles(body: dict[str, Any]) -> None:
    if not isinstance(body["roles"], list):
        raise ServiceError("KEY: 'roles' must be an Array;")
    for role in body["roles"]:
        if not isinstance(role, dict) or not isinstance(role.get("cardinality", 1), int):
            raise ServiceError("KEY: 'roles' must be an Array;")


def _update_template(request: Request) -> Response:
    document = _document(request, SERVICE_TEMPLATE, MANAGE)
    _store_body(document, _checked_body(request, request.json()))
    return _shown(document)


def _store_body(document: Document, body: dict[str, Any]) -> None:
    document.template.set("BODY", compact(body))
    document.changed()


def _delete_template(request: Request) -> Response:
    document = _document(request, SERVICE_TEMPLATE, MANAGE)
    request.world.store.documents.remove(document)
    return Response(204, content_type=None)


def _template_action(request: Request) -> Response:
    name, params = request.action()
    action = TEMPLATE_ACTIONS.get(name)
    # An unknown action is not an error here (scenario instantiate-errors).
    return action(request, params) if action else Response(200)


def _instantiate(request: Request, params: dict[str, Any]) -> Response:
    document = _document(request, SERVICE_TEMPLATE)
    base = json.loads(document.template.text("BODY") or "{}")
    extra = params.get("merge_template") or {}
    if request.world.store.release.merges_roles_by_name:
        if isinstance(extra.get("roles"), str):
            raise Crash("NoMethodError", pages.no_find(extra["roles"]))
        body = merge_by_name(base, extra)
    else:
        body = deep_merge(base, extra)
    _check_roles(body)
    return _shown(request.world.services.create(request.user, body).document, 201)


def _clone(request: Request, params: dict[str, Any]) -> Response:
    document = _document(request, SERVICE_TEMPLATE)
    name = str(params.get("name", ""))
    names.check_flow_name(name)
    body = json.loads(document.template.text("BODY") or "{}") | {"name": name}
    content = Template([("BODY", compact(body))])
    made = request.world.store.new_document(request.user, SERVICE_TEMPLATE, name, content)
    return _shown(made, 201)


def _patch(request: Request, params: dict[str, Any]) -> Response:
    document = _document(request, SERVICE_TEMPLATE, MANAGE)
    try:
        extra = json.loads(str(params.get("template_json", "{}")))
    except ValueError as error:
        raise ServiceError(str(error)) from None
    body = json.loads(document.template.text("BODY") or "{}")
    _store_body(document, body | (extra if isinstance(extra, dict) else {}))
    return _shown(document)


# ---- services ------------------------------------------------------------------------------------


def _service(request: Request, operation: int = USE) -> Service:
    return request.world.services.get(_document(request, SERVICE, operation))


def _delete_service(request: Request) -> Response:
    request.world.services.undeploy(_service(request, MANAGE), request.user)
    return Response(204, content_type=None)


def _service_action(request: Request) -> Response:
    name, params = request.action()
    action = SERVICE_ACTIONS.get(name)
    if action is None:
        raise ServiceError(f"Action {name} not supported")
    return action(request, params)


def _recover(request: Request, params: dict[str, Any]) -> Response:
    service = _service(request, MANAGE)
    if params.get("delete"):
        request.world.services.undeploy(service, request.user, is_forced=True)
    else:
        request.world.services.recover(service, request.user)
    return Response(204, content_type=None)


# ---- both ----------------------------------------------------------------------------------------


def _rename(kind: int) -> Callable[[Request, dict[str, Any]], Response]:
    def rename(request: Request, params: dict[str, Any]) -> Response:
        document = _document(request, kind, MANAGE)
        names.check_rename(str(params.get("name", "")))
        document.name = str(params["name"])
        document.changed()
        return Response(204, content_type=None)

    return rename


def _chmod(kind: int) -> Callable[[Request, dict[str, Any]], Response]:
    def chmod(request: Request, params: dict[str, Any]) -> Response:
        document = _document(request, kind, MANAGE)
        digits = str(params.get("octet", ""))
        if not re.fullmatch(r"[0-7]{3}", digits):
            raise ServiceError("Wrong octet")
        document.permissions = [int(d) >> shift & 1 for d in digits for shift in (2, 1, 0)]
        document.changed()
        request.world.store.documents.permissions_changed(document)
        return Response(204, content_type=None)

    return chmod


Action = Callable[[Request, dict[str, Any]], Response]
TEMPLATE_ACTIONS: dict[str, Action] = {
    "instantiate": _instantiate,
    "clone": _clone,
    "update": _patch,
    "rename": _rename(SERVICE_TEMPLATE),
    "chmod": _chmod(SERVICE_TEMPLATE),
}
SERVICE_ACTIONS: dict[str, Action] = {
    "recover": _recover,
    "rename": _rename(SERVICE),
    "chmod": _chmod(SERVICE),
}
ROUTES: tuple[tuple[str, re.Pattern[str], Handler], ...] = (
    ("GET", re.compile("/service/?"), _list(SERVICE)),
    ("GET", re.compile("/service/(?P<id>[^/]+)"), _show(SERVICE)),
    ("DELETE", re.compile("/service/(?P<id>[^/]+)"), _delete_service),
    ("POST", re.compile("/service/(?P<id>[^/]+)/action"), _service_action),
    ("GET", re.compile("/service_template/?"), _list(SERVICE_TEMPLATE)),
    ("POST", re.compile("/service_template/?"), _create_template),
    ("GET", re.compile("/service_template/(?P<id>[^/]+)"), _show(SERVICE_TEMPLATE)),
    ("PUT", re.compile("/service_template/(?P<id>[^/]+)"), _update_template),
    ("DELETE", re.compile("/service_template/(?P<id>[^/]+)"), _delete_template),
    ("POST", re.compile("/service_template/(?P<id>[^/]+)/action"), _template_action),
)
