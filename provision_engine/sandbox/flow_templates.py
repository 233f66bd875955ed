"""oneflow's routes of service templates, which elsewhere are called flow templates."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable

from provision_engine.sandbox import flow_bodies, flow_values, names, pages
from provision_engine.sandbox.errors import OneError
from provision_engine.sandbox.flow_requests import (
    NOTHING,
    SHARED_ACTIONS,
    Params,
    Request,
    Response,
    document_of,
    shown,
)
from provision_engine.sandbox.service_body import (
    Crash,
    Json,
    NoResponse,
    ServiceError,
    by_position,
    compact,
    deep_merge,
    load_body,
    merge_by_name,
)
from provision_engine.sandbox.store import SERVICE_TEMPLATE, Document
from provision_engine.sandbox.template import Template


def show(request: Request) -> Response:
    try:
        return shown(document_of(request, SERVICE_TEMPLATE))
    except Crash as crash:
        raise NoResponse from crash


def create(request: Request) -> Response:
    store, user = request.world.store, request.user
    store.authorization(user).needs_creation("DOCUMENT").check()
    now = {"registration_time": store.agenda.seconds()}
    try:
        body = flow_bodies.complete(store.release, request.json()) | now
    except ServiceError as error:
        return Response(400, str(error))
    content = Template([("BODY", compact(body))])
    made = store.new_document(user, SERVICE_TEMPLATE, str(body["name"]), content)
    return shown(made, 201)


def update(request: Request) -> Response:
    document = document_of(request, SERVICE_TEMPLATE)
    try:
        _replace_body(request, document, request.json())
    except ServiceError as error:
        return Response(400, str(error))
    return shown(document)


def delete(request: Request) -> Response:
    document_of(request, SERVICE_TEMPLATE)
    request.oned("one.document.delete")
    return NOTHING


def act(request: Request) -> Response:
    name, params = request.action()
    if name in _ACTIONS:
        return _ACTIONS[name](request, params)
    if name in SHARED_ACTIONS:
        with contextlib.suppress(OneError):  # oneflow overlooks what oned refuses
            SHARED_ACTIONS[name](request, params)
        return NOTHING
    return Response(200)  # not an error here (scenario instantiate-errors)


def _replace_body(request: Request, document: Document, given: Json) -> None:
    """Stores a new body, which keeps the time of the old one."""
    time = load_body(document).get("registration_time")
    release = request.world.store.release
    body = flow_bodies.complete(release, given | {"registration_time": time})
    request.oned("one.document.update", "", 1)
    document.template.set("BODY", compact(body))
    document.changed()


# ---- actions -------------------------------------------------------------------------------------


def _instantiate(request: Request, params: Params) -> Response:
    document = document_of(request, SERVICE_TEMPLATE)
    extra = params.get("merge_template") or {}
    release = request.world.store.release
    try:
        base = load_body(document)
        flow_bodies.check_roles(release, base.get("roles"))
        extra = flow_values.checked(release, base, extra)
    except Crash as crash:
        return Response(400, crash.reason)
    except ServiceError as error:
        return Response(400, str(error))
    if release.merges_roles_by_name:
        if isinstance(extra.get("roles"), str):
            raise Crash("NoMethodError", pages.no_find(extra["roles"]))
        body = merge_by_name(base, extra)
    else:
        body = deep_merge(base, extra, by_position)
    body = flow_bodies.complete(release, body)
    flow_values.resolve_inputs(release, body)
    return shown(request.world.services.create(request.user, body).document, 201)


def _clone(request: Request, params: Params) -> Response:
    """Copies a flow template and its VM templates; any refusal is a 500, even a late one."""
    name, store = str(params.get("name", "")), request.world.store
    try:
        document = document_of(request, SERVICE_TEMPLATE)
        names.check_flow_name(name)
        copy = store.documents.get(int(request.oned("one.document.clone", name)))
        body = load_body(document)
        for role in body.get("roles") or ():
            role[store.release.role_template_key] = _clone_vm_template(
                request._replace(number=role.get(store.release.role_template_key)), name
            )
    except OneError as error:
        raise ServiceError(error.message) from None
    copy.template.set("BODY", compact(body))
    return shown(copy, 201)


def _clone_vm_template(request: Request, name: str) -> int:
    request.oned("one.template.info")
    source = request.world.store.vm_templates.get(request.number)
    return int(request.oned("one.template.clone", f"{source.name}-{name}"))


def _patch(request: Request, params: Params) -> Response:
    """Replaces the body of a flow template, or merges into it with `append`."""
    try:
        document = document_of(request, SERVICE_TEMPLATE)
        body = json.loads(str(params.get("template_json", "{}")))
        if params.get("append"):
            body = load_body(document) | body
        _replace_body(request, document, body)
    except OneError:
        pass  # oneflow overlooks it
    except ValueError:
        return Response(400, f"unexpected token at '{params.get('template_json')}'")
    except ServiceError as error:
        return Response(400, str(error))
    return NOTHING


_ACTIONS: dict[str, Callable[[Request, Params], Response]] = {
    "instantiate": _instantiate,
    "clone": _clone,
    "update": _patch,
}
