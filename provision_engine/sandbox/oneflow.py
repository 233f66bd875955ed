"""oneflow: the REST API, by table of routes.

Every response is `text/html`, JSON or not; errors are plain text. An action that the state does not
allow is a 500; missing permissions are a 401, as wrong credentials are.
"""

from __future__ import annotations

import base64
import binascii
import json
import re

from provision_engine.sandbox import errors, flow_templates, pages
from provision_engine.sandbox.errors import OneError
from provision_engine.sandbox.flow_requests import (
    NOTHING,
    SHARED_ACTIONS,
    Handler,
    Request,
    Response,
    document_of,
    listing,
    shown,
)
from provision_engine.sandbox.service_body import (
    UNEXPECTED,
    Crash,
    NoResponse,
    Service,
    ServiceError,
)
from provision_engine.sandbox.store import SERVICE, SERVICE_TEMPLATE, User
from provision_engine.sandbox.world import World

_STATUS_OF = {
    errors.AUTHENTICATION: 401,
    errors.AUTHORIZATION: 401,
    errors.NO_EXISTS: 404,
}


def respond(
    world: World, method: str, path: str, authorization: str | None, body: bytes
) -> Response | None:
    """The response to one HTTP request; None if the connection ends without one."""
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
    except NoResponse:
        return None
    except UNEXPECTED as error:
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


# ---- services ------------------------------------------------------------------------------------


def _service(request: Request) -> Service:
    """The service of a request, whose changes are lost if the user may not change it."""
    return request.world.services.get_for(document_of(request, SERVICE), request.user)


def _show_service(request: Request) -> Response:
    return shown(_service(request).document)


def _delete_service(request: Request) -> Response:
    request.world.services.undeploy(_service(request), request.user)
    return NOTHING


def _service_action(request: Request) -> Response:
    name, params = request.action()
    if name not in SHARED_ACTIONS and name != "recover":
        raise ServiceError(f"Action {name} not supported")
    service = _service(request)
    if name in SHARED_ACTIONS:
        SHARED_ACTIONS[name](request, params)
    elif params.get("delete"):
        request.world.services.undeploy(service, request.user, is_forced=True)
    else:
        request.world.services.recover(service, request.user)
    return NOTHING


ROUTES: tuple[tuple[str, re.Pattern[str], Handler], ...] = (
    ("GET", re.compile("/service/?"), listing(SERVICE)),
    ("GET", re.compile("/service/(?P<id>[^/]+)"), _show_service),
    ("DELETE", re.compile("/service/(?P<id>[^/]+)"), _delete_service),
    ("POST", re.compile("/service/(?P<id>[^/]+)/action"), _service_action),
    ("GET", re.compile("/service_template/?"), listing(SERVICE_TEMPLATE)),
    ("POST", re.compile("/service_template/?"), flow_templates.create),
    ("GET", re.compile("/service_template/(?P<id>[^/]+)"), flow_templates.show),
    ("PUT", re.compile("/service_template/(?P<id>[^/]+)"), flow_templates.update),
    ("DELETE", re.compile("/service_template/(?P<id>[^/]+)"), flow_templates.delete),
    ("POST", re.compile("/service_template/(?P<id>[^/]+)/action"), flow_templates.act),
)
