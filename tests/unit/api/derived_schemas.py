"""The schemas of the OpenAPI document that follow from those that the engine validates with."""

from __future__ import annotations

import copy
from typing import Any

from provision_engine import config
from provision_engine.api.representation import RUNTIME
from provision_engine.api.validation import RUNTIME_SCHEMA, UPDATE_SCHEMA
from provision_engine.engine.runtime.states import Reason, State

Json = dict[str, Any]

INTEGER: Json = {"type": "integer"}
DATE_TIME: Json = {"type": "string", "format": "date-time"}
ENGINE_MEMBERS: dict[str, Json] = {
    "ID": INTEGER,
    "OWNER": {"type": "string"},
    "SERVICE_ID": INTEGER,
    "VM_ID": INTEGER,
    "STATE": {"type": "string", "enum": list(State)},
    "ENDPOINT": {"type": "string"},
    "ERROR": {"type": "string"},
    "REASON": {"type": "string"},
    "REASON_CODE": {"type": "string", "enum": list(Reason)},
    "CREATED": DATE_TIME,
    "PHASE": {"type": "string", "enum": ["STANDBY"]},
    "SINCE": DATE_TIME,
    "EXPIRES": DATE_TIME,
}
"""The members that the engine sets, with their types in a response; a request may send anything."""


def schemas() -> Json:
    """Return the components by name."""
    return {
        **as_components("RuntimeRequest", request_schema(RUNTIME_SCHEMA)),
        **as_components("RuntimeUpdate", request_schema(UPDATE_SCHEMA)),
        **as_components("Runtime", response_schema(RUNTIME_SCHEMA)),
        **as_components("Configuration", config.schema()),
        **as_components("Error", config.load_schema("error.json")),
    }


def as_components(name: str, schema: Json) -> Json:
    """Turn a schema into components: each of its definitions becomes `name`.DEFINITION."""
    schema = copy.deepcopy(schema)
    schema.pop("$schema", None)
    definitions = schema.pop("definitions", {})
    parts = {name: schema, **{f"{name}.{part}": rules for part, rules in definitions.items()}}
    return {part: to_2020_12(rules, name) for part, rules in parts.items()}


def to_2020_12(rules: Any, name: str) -> Any:
    """Convert a schema from draft 4 to 2020-12, as far as the engine's schemas need it."""
    if isinstance(rules, list):
        return [to_2020_12(item, name) for item in rules]
    if not isinstance(rules, dict):
        return rules
    converted = {}
    for key, value in rules.items():
        if key == "$ref" and isinstance(value, str):
            value = value.replace("#/definitions/", f"#/components/schemas/{name}.")
        key = "dependentRequired" if key == "dependencies" else key
        converted[key] = to_2020_12(value, name)
    return converted


def objects(schema: Json) -> tuple[Json, Json, Json]:
    """Return the objects of a runtime's schema that contain members set by the engine."""
    runtime = schema["properties"][RUNTIME]
    return runtime, schema["definitions"]["function"], runtime["properties"]["LEASE"]


def request_schema(schema: Json) -> Json:
    schema = copy.deepcopy(schema)
    for part in objects(schema):
        for name in ENGINE_MEMBERS.keys() & part["properties"].keys():
            part["properties"][name]["readOnly"] = True
    return schema


def response_schema(schema: Json) -> Json:
    """Return the schema of responses: engine members have types, some are required."""
    schema = copy.deepcopy(schema)
    for part in objects(schema):
        for name in ENGINE_MEMBERS.keys() & part["properties"].keys():
            part["properties"][name] |= ENGINE_MEMBERS[name]
    runtime, function, _ = objects(schema)
    runtime["required"] = ["NAME", "ID", "FAAS"]
    function["required"] = ["FLAVOUR", "CPU", "MEMORY", "DISK_SIZE", "STATE", "ENDPOINT"]
    return schema
