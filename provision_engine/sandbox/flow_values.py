"""What a flow template asks of the one who instantiates it: values of user inputs and networks."""

from __future__ import annotations

import re
from typing import Any

from provision_engine.sandbox.releases import Release
from provision_engine.sandbox.service_body import Json, ServiceError

_NAMED = re.compile(r"\$(\w+)")


def checked(release: Release, body: Json, extra: Json) -> Json:
    """The merge template with the defaults of networks. ServiceError if a value is missing."""
    words = release.inputs
    _check_inputs(release, body.get(words.key), extra.get(words.values_key))
    for role in body["roles"]:
        if role.get(words.key) is not None:
            _check_role(release, role, extra.get("roles"))
    networks: Any = body.get("networks")
    values: Any = extra.get("networks_values")
    if networks and not values:
        values = _defaults(networks)
        extra = extra | {"networks_values": values}
    if networks and {*networks} - {key for value in values for key in value}:
        raise ServiceError("Every network key must have its value defined at networks_value")
    return extra


def _check_inputs(release: Release, inputs: Any, values: Any) -> None:
    words = release.inputs
    if not inputs:
        return
    if values is None:
        raise ServiceError(
            f"The Service template specifies {words.of_service} but no values have been found"
        )
    if not isinstance(inputs, dict) or not isinstance(values, dict):
        raise ServiceError(words.wrong)
    if inputs.keys() - values.keys():
        raise ServiceError(f"Verify that every {words.single} have its corresponding value defined")


def _check_role(release: Release, role: Json, given: Any) -> None:
    words, name = release.inputs, role.get("name")
    if given is None:
        raise ServiceError(
            f"The Service template specifies {words.of_role} for the role {name}"
            " but no values have been found"
        )
    if not isinstance(given, list) or not given:
        raise ServiceError(f"The role {words.of_role} are empty or do not have a valid format")
    values = next((other for other in given if other.get("name") == name), None)
    if values is None and release.contents_are_object:
        return
    _check_inputs(release, role[words.key], (values or {}).get(words.values_key))


def _defaults(networks: Any) -> list[Json]:
    """Those that are written as ``id:0``, ``template_id:0`` or ``reserve_from:0``."""
    values = []
    try:
        for name, text in networks.items():
            # Ruby's split drops what is empty at the end.
            kind, *default = text.rstrip("|").split("|")[4].strip().split(":")
            values.append({name: {kind: default[0] if default else None}})
    except (AttributeError, IndexError):
        raise ServiceError("Wrong networks format") from None
    return values


def resolve_inputs(release: Release, body: Json) -> None:
    """Puts the values of user inputs into the texts of the roles (6.x, when a service is made)."""
    if release.contents_are_object:
        return
    key, values = release.role_contents_key, release.inputs.values_key
    for role in body["roles"]:
        known = (body.get(values) or {}) | (role.get(values) or {})
        if role.get(key):
            role[key] = _resolved(role[key], known)


def resolve_early(release: Release, body: Json) -> None:
    """Puts the ids of networks into the texts of the roles (6.x, before its VMs are made)."""
    key, ids = release.role_contents_key, _network_ids(body)
    for role in body["roles"] if ids else ():
        if isinstance(role.get(key), str):
            role[key] = _resolved(role[key], ids)


def resolve_late(release: Release, body: Json) -> None:
    """Puts the ids of networks into NICs, and makes attributes of user inputs (7.x)."""
    if not release.contents_are_object:
        return
    key, values, ids = release.role_contents_key, release.inputs.values_key, _network_ids(body)
    for role in body.get("roles") or ():
        contents = role.setdefault(key, {})
        for nic in contents.get("NIC") or ():
            found = _NAMED.search(str(nic.get("NETWORK_ID")))
            if found and found[1] in ids:
                nic["NETWORK_ID"] = ids[found[1]]
        given = (body.get(values) or {}) | (role.get(values) or {})
        context = contents.setdefault("CONTEXT", {}) if given else {}
        for name, value in given.items():
            contents[name], context[name] = value, f"${name}"


def _network_ids(body: Json) -> Json:
    return {
        name: network.get("id")
        for value in body.get("networks_values") or ()
        for name, network in value.items()
    }


def _resolved(text: str, values: Json) -> str:
    """A text with ``$NAME`` replaced where there is a value of that name."""
    for name in _NAMED.findall(text):
        if name in values:
            text = text.replace(f"${name}", str(values[name]))
    return text
