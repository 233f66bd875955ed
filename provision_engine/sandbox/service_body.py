"""The document of a service: its BODY, how it is merged, and the VM attributes of its roles."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator
from enum import IntEnum
from typing import Any

from provision_engine.sandbox.store import Document, Vm
from provision_engine.sandbox.template import Template

Json = dict[str, Any]


class ServiceState(IntEnum):
    """States of a service, and of each of its roles."""

    PENDING = 0
    DEPLOYING = 1
    RUNNING = 2
    UNDEPLOYING = 3
    WARNING = 4
    DONE = 5
    FAILED_UNDEPLOYING = 6
    FAILED_DEPLOYING = 7
    SCALING = 8
    FAILED_SCALING = 9
    COOLDOWN = 10
    DEPLOYING_NETS = 11
    UNDEPLOYING_NETS = 12
    FAILED_DEPLOYING_NETS = 13
    FAILED_UNDEPLOYING_NETS = 14
    HOLD = 15


class ServiceError(Exception):
    """An error of oneflow, which responds with 500 and this text."""


def compact(body: Json) -> str:
    """JSON as Ruby writes it into a document."""
    return json.dumps(body, separators=(",", ":"), ensure_ascii=False)


class Service:
    """A service: its document, with the BODY parsed."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.text = document.template.text("BODY") or "{}"
        self.body: Json = json.loads(self.text)

    @property
    def id(self) -> int:
        """The id of the document."""
        return self.document.id

    @property
    def state(self) -> ServiceState:
        """The service's state."""
        return ServiceState(self.body["state"])

    @property
    def roles(self) -> list[Json]:
        """The service's roles, as in its body."""
        roles: list[Json] = self.body["roles"]
        return roles

    def vm_ids(self) -> Iterator[int]:
        """The ids of the VMs of all roles."""
        for role in self.roles:
            for node in role.get("nodes", ()):
                yield node["deploy_id"]

    def log(self, timestamp: int, severity: str, message: str) -> None:
        """Adds a log entry and saves; `severity` is I or E."""
        entry = {"timestamp": timestamp, "severity": severity, "message": message}
        self.body.setdefault("log", []).append(entry)
        self.save()

    def save(self) -> None:
        """Writes the body back to the document."""
        self.text = compact(self.body)
        self.document.template.set("BODY", self.text)
        self.document.changed()


def node_of(vm: Vm) -> Json:
    """A VM as an entry of its role's `nodes`."""
    info = {
        "ID": str(vm.id), "UID": str(vm.uid), "GID": str(vm.gid),
        "UNAME": vm.uname, "GNAME": vm.gname, "NAME": vm.name,
    }  # fmt: skip
    return {"deploy_id": vm.id, "vm_info": {"VM": info}}


def deep_merge(base: Json, extra: Json) -> Json:
    """Merges as 6.x does, lists by position (scenario instantiate-errors)."""
    merged = copy.deepcopy(base)
    for key, value in extra.items():
        merged[key] = _merged_value(merged.get(key), value)
    return merged


def _merged_value(old: Any, new: Any) -> Any:
    if isinstance(old, dict) and isinstance(new, dict):
        return deep_merge(old, new)
    if isinstance(old, list) and isinstance(new, list):
        pairs = [_merged_value(a, b) for a, b in zip(old, new, strict=False)]
        return pairs + old[len(pairs) :] + copy.deepcopy(new[len(pairs) :])
    return copy.deepcopy(new)


def merge_by_name(base: Json, extra: Json) -> Json:
    """Merges as 7.x does: roles by name; a role of an unknown name is dropped."""
    merged = deep_merge(base, {k: v for k, v in extra.items() if k != "roles"})
    by_name = {role.get("name"): role for role in extra.get("roles") or ()}
    merged["roles"] = [
        deep_merge(role, by_name.get(role.get("name"), {})) for role in merged.get("roles", ())
    ]
    return merged


def contents_text(role: Json, service_id: int, is_object: bool) -> str:
    """A role's VM attributes in template syntax, with those that oneflow adds.

    The layout determines the lines and columns of parse errors (scenarios
    failed-deploy-bad-contents and hostile-values-through-oneflow).
    """
    if not is_object:
        text = role.get("vm_template_contents") or ""
        return f'{text}\nSERVICE_ID = {service_id}\nROLE_NAME = "{role["name"]}"\n'
    given = role.get("template_contents")
    contents = {"ROLE_NAME": role["name"], **(given if isinstance(given, dict) else {})}
    lines = [line for key, value in contents.items() for line in _attribute_lines(key, value)]
    return "\n".join(lines) + f"\nSERVICE_ID = {service_id}\n"


def _attribute_lines(name: str, value: Any) -> Iterator[str]:
    for single in value if isinstance(value, list) else (value,):
        if isinstance(single, dict):
            members = "\n".join(f"    {k} = {_quoted(v)}" for k, v in single.items())
            # 7.x replaces newlines by commas to separate members, and so puts a comma before each
            # newline inside a value too.
            yield f"{name}=[\n" + members.replace("\n", ",\n") + "\n]\n"
        else:
            yield f"{name} = {_quoted(single)}"


def _quoted(value: Any) -> str:
    return '"' + str(value).replace('"', '\\"') + '"'


_PLACEHOLDER = re.compile(r"\$\{[^}]*\}")


def substitute(extra: Template) -> None:
    """Replaces each ``${NAME}`` by the service's value of that name: nothing, in the recordings."""
    extra.change_values(lambda text: _PLACEHOLDER.sub("", text))
