"""The document of a service: its BODY, how it is merged, and the VM attributes of its roles.

The owner of a document may write anything into it. What then fails in oneflow's own code fails here
with the same error (scenarios broken-services, broken-templates and broken-lists).
"""

from __future__ import annotations

import copy
import json
import math
import re
from collections.abc import Callable, Iterator
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
    UNKNOWN = -1
    """Any other number; oneflow has no name for it."""

    @classmethod
    def _missing_(cls, value: object) -> ServiceState:
        return cls.UNKNOWN


class ServiceError(Exception):
    """An error of oneflow, which responds with 500 and this text."""


class Crash(Exception):
    """oneflow's own code failed; it sends a page of its web framework (6.x) or JSON (7.x)."""

    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind
        self.reason = reason


UNEXPECTED = (TypeError, ValueError, LookupError, AttributeError, ArithmeticError, RecursionError)
"""What the code here may raise about a body of an unexpected shape, where Ruby fails too."""


class NoResponse(Exception):
    """oneflow's own code failed so that the connection ends without a response."""


def compact(body: Json) -> str:
    """JSON as Ruby writes it into a document."""
    return json.dumps(body, separators=(",", ":"), ensure_ascii=False)


# ---- bodies that anybody may have written --------------------------------------------------------

MAXIMUM_DEPTH = 100


def parse_body(document: Document) -> Any:
    """The BODY of a document, of any type; None without one. Crash if it is not JSON."""
    text = document.template.text("BODY")
    if not text:
        return None
    try:
        value = json.loads(text, parse_int=_integer)
        is_too_deep = _depth(value) > MAXIMUM_DEPTH
    except ValueError:
        raise Crash("JSON::ParserError", f"unexpected token at '{text}'") from None
    except RecursionError:
        is_too_deep = True
    if is_too_deep:
        reason = f"nesting of {MAXIMUM_DEPTH + 1} is too deep"
        raise Crash("JSON::NestingError", reason)
    return value


def _depth(value: Any) -> int:
    depth, level = 0, [value]
    while level := [v for v in level if isinstance(v, dict | list)]:
        depth += 1
        level = [x for v in level for x in (v.values() if isinstance(v, dict) else v)]
    return depth


def load_body(document: Document) -> Json:
    """The BODY as an object. NoResponse or Crash if it is something else."""
    try:
        value = parse_body(document)
    except Crash as crash:
        raise NoResponse from crash
    if isinstance(value, str):
        return {}  # Ruby finds no member in it
    if not isinstance(value, dict | None):
        raise not_an_object()
    if value is None:
        raise no_method("[]", None)
    return value


def not_an_object() -> Crash:
    """Ruby's error for a member of something that has none."""
    return Crash("TypeError", "no implicit conversion of String into Integer")


def no_method(name: str, value: Any) -> Crash:
    """Ruby's error for a method that a value does not have."""
    shown = {None: "nil:NilClass"}.get(value) or f"{json.dumps(value)}:{_ruby_class(value)}"
    return Crash("NoMethodError", f"undefined method `{name}' for {shown}")


def _ruby_class(value: Any) -> str:
    return {int: "Integer", float: "Float", str: "String"}.get(type(value), "Object")


MAXIMUM_DIGITS = 1_000


def _integer(digits: str) -> int:
    """A whole number; of one that Python refuses to read only the first digits."""
    return int(digits[:MAXIMUM_DIGITS])


def to_number(value: Any) -> int:
    """Ruby's to_i."""
    if isinstance(value, str):
        digits = re.match(r"\s*-?[0-9]+", value)
        return _integer(digits[0]) if digits else 0
    is_number = isinstance(value, int) or (isinstance(value, float) and math.isfinite(value))
    return int(value) if is_number else 0


def nodes_of(role: Json) -> list[Json]:
    """The entries of a role's VMs."""
    nodes = role.get("nodes")
    if not isinstance(nodes, list | None):
        raise no_method("each", nodes)
    return nodes or []


def node_ids(role: Json) -> list[int]:
    """The ids of a role's VMs."""
    return [to_number(node.get("deploy_id")) for node in nodes_of(role) if isinstance(node, dict)]


# ---- services ------------------------------------------------------------------------------------


class Service:
    """A service: its document, with the BODY parsed."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.text = document.template.text("BODY") or ""
        self.body = load_body(document)
        self.roles = _roles(self.body)

    @property
    def id(self) -> int:
        """The id of the document."""
        return self.document.id

    @property
    def state(self) -> ServiceState:
        """The service's state."""
        return ServiceState(to_number(self.body.get("state")))

    @property
    def state_name(self) -> str:
        """The state as oneflow names it."""
        return "" if self.state is ServiceState.UNKNOWN else self.state.name

    def vm_ids(self) -> Iterator[int]:
        """The ids of the VMs of all roles."""
        for role in self.roles:
            yield from node_ids(role)

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


def _roles(body: Json) -> list[Json]:
    roles = body.get("roles")
    if roles is None:
        return []
    if not isinstance(roles, list):
        raise no_method("each", roles)
    if not all(isinstance(role, dict) for role in roles):
        raise not_an_object()
    for role in roles:
        role.setdefault("nodes", [])
    return roles


def node_of(vm: Vm) -> Json:
    """A VM as an entry of its role's `nodes`."""
    info = {
        "ID": str(vm.id), "UID": str(vm.uid), "GID": str(vm.gid),
        "UNAME": vm.uname, "GNAME": vm.gname, "NAME": vm.name,
    }  # fmt: skip
    return {"deploy_id": vm.id, "vm_info": {"VM": info}}


MergeLists = Callable[[list[Any], list[Any]], list[Any]]


def deep_merge(base: Json, extra: Json, merge_lists: MergeLists) -> Json:
    """Merges objects by key, lists as said, and replaces everything else."""
    merged = copy.deepcopy(base)
    for key, new in extra.items():
        old = merged.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            merged[key] = deep_merge(old, new, merge_lists)
        elif isinstance(old, list) and isinstance(new, list):
            merged[key] = merge_lists(old, new)
        else:
            merged[key] = copy.deepcopy(new)
    return merged


def by_position(old: list[Any], new: list[Any]) -> list[Any]:
    """Merges lists as 6.x does (scenario instantiate-errors).

    Where there is no object at a position of both, the new list replaces the old one.
    """
    merged = list(old)
    for position, value in enumerate(new):
        before = old[position] if position < len(old) else None
        if isinstance(before, dict) and isinstance(value, dict):
            merged[position] = deep_merge(before, value, by_position)
        else:
            merged = copy.deepcopy(new)
    return merged


def appended(old: list[Any], new: list[Any]) -> list[Any]:
    """Merges lists as 7.x does: one after the other; of equal objects only one stays."""
    merged = [*old, *copy.deepcopy(new)]
    if not all(isinstance(value, dict) for value in merged):
        return merged
    return [value for position, value in enumerate(merged) if value not in merged[:position]]


def replaced(old: list[Any], new: list[Any]) -> list[Any]:
    """The new list."""
    return copy.deepcopy(new)


def merge_by_name(base: Json, extra: Json) -> Json:
    """Merges as 7.x does: roles by name; a role of an unknown name is dropped.

    The value of a network replaces the one that the template has.
    """
    base = dict(base)
    if networks := extra.get("networks_values"):
        known = {
            key: value for net in base.get("networks_values") or () for key, value in net.items()
        }
        known |= {key: value for net in networks for key, value in net.items()}
        base["networks_values"] = [{key: value} for key, value in known.items()]
    by_name = {role.get("name"): role for role in extra.get("roles") or ()}
    base["roles"] = [
        deep_merge(role, by_name.get(role.get("name"), {}), appended)
        for role in base.get("roles", ())
    ]
    rest = {k: v for k, v in extra.items() if k not in ("roles", "networks_values")}
    return deep_merge(base, rest, appended)


# ---- VM attributes of roles ----------------------------------------------------------------------


def text_with_identity(text: str, service_id: int, role_name: str) -> str:
    """The attributes of a role's VMs as 6.x sends them; its text comes first."""
    return f'{text}\nSERVICE_ID = {service_id}\nROLE_NAME = "{role_name}"'


def merged_contents(source: Template, contents: Json) -> Json:
    """A VM template with a role's contents merged into it, as 7.x sends both."""
    known: Json = {}
    for name, value in sorted(source.items, key=lambda item: item[0]):
        if name in known:
            before = known[name]
            known[name] = [*(before if isinstance(before, list) else [before]), value]
        else:
            known[name] = value
    return deep_merge(known, contents, replaced)


def raw(attributes: Json) -> str:
    """Attributes in template syntax as 7.x writes them.

    It puts a comma at the end of each line in a vector to separate the members, and so into a
    value of several lines too.
    """
    return "".join([_raw(name, value) for name, value in attributes.items()])


def _raw(name: str, value: Any) -> str:
    if isinstance(value, dict):
        lines = raw(value).rstrip("\n").split("\n")
        return f"{name} = [\n" + ",\n".join(lines) + "\n]\n"
    if isinstance(value, list):
        return "".join([_raw(name, element) for element in value])
    return f"{name} = {_quoted(value)}\n"


def _quoted(value: Any) -> str:
    return '"' + str(value).replace('"', '\\"') + '"'
