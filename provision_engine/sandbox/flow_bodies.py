"""The bodies of flow templates: what oneflow demands of them and adds to them.

Source: the scenarios broken-templates and flow-templates-by-mode, and calls made by hand.
"""

from __future__ import annotations

from typing import Any

from provision_engine.sandbox import template
from provision_engine.sandbox.releases import Release
from provision_engine.sandbox.service_body import (
    Json,
    ServiceError,
    compact,
    no_method,
    not_an_object,
    to_number,
)

_DEFAULTS = {"deployment": "none", "description": ""}
_SIX_KEYS = {"vm_template", "vm_template_contents"}


def complete(release: Release, given: Json) -> Json:
    """A body with defaults. ServiceError (or a Crash, as in Ruby) if it is invalid."""
    _require(release, given, "name", "string")
    body = given | {key: value for key, value in _DEFAULTS.items() if key not in given}
    _require(release, body, "roles", "array")
    check = _seven_roles if release.contents_are_object else _six_roles
    return body | {"roles": check(release, body["roles"])}


def check_roles(release: Release, roles: Any) -> None:
    """Ruby's errors for roles that oneflow cannot even read before it instantiates."""
    if not isinstance(roles, list):
        raise no_method("each", roles)
    for role in roles:
        if not isinstance(role, dict):
            raise no_method("fetch", role) if release.contents_are_object else not_an_object()


def _require(release: Release, members: Json, key: str, kind: str) -> None:
    if key not in members:
        text = release.missing_key_text.format(key=key, kind=kind, given=compact(members))
        raise ServiceError(text)


def _with_cardinality(role: Json, default: int) -> Json:
    if not isinstance(role.get("cardinality", default), int):
        raise ServiceError("KEY: 'cardinality' must be an Integer;")
    return role if "cardinality" in role else role | {"cardinality": default}


def _six_roles(release: Release, roles: Any) -> list[Json]:
    if not isinstance(roles, list):
        raise ServiceError("KEY: 'roles' must be an Array;")
    for role in roles:
        if not isinstance(role, dict):
            raise ServiceError("KEY: roles must be a Hash; SCHEMA:")
        _require(release, role, "vm_template", "integer")
        if not isinstance(role["vm_template"], int):
            raise ServiceError("KEY: 'vm_template' must be an Integer;")
    return [_with_cardinality(role, default=1) for role in roles]


def _seven_roles(release: Release, roles: Any) -> list[Json]:
    """The roles, in the dialect of 7.x even if all are in that of 6.x."""
    if not isinstance(roles, list):
        raise no_method("all?", roles)
    for role in roles:
        if not isinstance(role, dict):
            raise no_method("key?", role)
    if all(role.keys() & _SIX_KEYS for role in roles):
        roles = [_converted(role) for role in roles]
    for role in roles:
        _require(release, role, "type", "string")
        if role["type"] not in ("vm", "vr"):
            raise ServiceError(f'Unsupported role type "{role["type"]}"')
    return [_with_cardinality(_numbered(role), default=0) for role in roles]


def _converted(role: Json) -> Json:
    made = {key: value for key, value in role.items() if key not in _SIX_KEYS}
    made |= {"template_id": to_number(role.get("vm_template")), "type": "vm"}
    if "vm_template_contents" in role:
        contents = template.parse(str(role["vm_template_contents"]))
        made["template_contents"] = dict(contents.items)
    return made


def _numbered(role: Json) -> Json:
    """Any text becomes a number, which may be that of another VM template."""
    return role | {"template_id": to_number(role.get("template_id"))}
