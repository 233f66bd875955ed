"""A body becomes a checked specification. What is wrong with it is told with its place."""

from __future__ import annotations

import copy
import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jsonschema

from provision_engine import log
from provision_engine.cloud.template import why_not
from provision_engine.engine.specification import Specification, check_length, is_device_info
from provision_engine.errors import BadRequest

RUNTIME = "SERVERLESS_RUNTIME"
SCHEMAS = Path(__file__).parent.parent / "schemas"
SHOWN_CHARACTERS = 100

Json = dict[str, Any]


def load_schema(name: str) -> Json:
    """One of the schemas that the program ships."""
    schema: Json = json.loads((SCHEMAS / name).read_text(encoding="utf-8"))
    return schema


def _of_update(schema: Json) -> Json:
    """The schema of an update: what is not given stays, but something has to be given."""
    schema = copy.deepcopy(schema)
    for part in (schema["properties"][RUNTIME], schema["definitions"]["function"]):
        del part["required"]
        part["minProperties"] = 1
    return schema


RUNTIME_SCHEMA = load_schema("serverless_runtime.json")
UPDATE_SCHEMA = _of_update(RUNTIME_SCHEMA)
_FOR_CREATE = jsonschema.Draft6Validator(RUNTIME_SCHEMA)
_FOR_UPDATE = jsonschema.Draft6Validator(UPDATE_SCHEMA)

_KNOWN: Json = RUNTIME_SCHEMA["properties"][RUNTIME]["properties"]
_KNOWN_OF_FUNCTION: Json = RUNTIME_SCHEMA["definitions"]["function"]["properties"]


def to_create(body: bytes) -> Specification:
    """The runtime that a body asks for. Raises BadRequest."""
    sent = _runtime(body, _FOR_CREATE)
    if not sent["FAAS"]["FLAVOUR"]:
        raise BadRequest(f"{RUNTIME}.FAAS.FLAVOUR: a function needs a flavour")
    if not sent.get("DAAS", {}).get("FLAVOUR"):
        sent.pop("DAAS", None)
    return _checked(sent)


def to_update(body: bytes) -> Specification:
    """The changes that a body asks for. Raises BadRequest."""
    return _checked(_runtime(body, _FOR_UPDATE))


def idempotency_key(header: str | None) -> str:
    """What is kept of a key: its digest; empty without one. Raises BadRequest."""
    if header is None:
        return ""
    if not 0 < len(header) <= 255 or not header.isascii() or not header.isprintable():
        raise BadRequest("Idempotency-Key: up to 255 printable ASCII characters are allowed")
    return hashlib.sha256(header.encode()).hexdigest()


def parse(body: bytes) -> Any:
    """A body's JSON. Raises BadRequest where it is none, or ambiguous."""
    try:
        return json.loads(
            body.decode("utf-8-sig"),
            object_pairs_hook=_without_twins,
            parse_constant=_no_constant,
        )
    except UnicodeDecodeError as error:
        raise BadRequest(f"The body is not UTF-8: byte {error.start + 1}") from error
    except RecursionError as error:
        raise BadRequest("The body is nested too deeply") from error
    except ValueError as error:
        raise BadRequest(f"The body is not JSON: {error}") from error


def _runtime(body: bytes, validator: Any) -> Json:
    document = parse(body)
    if not isinstance(document, dict):
        raise BadRequest("The body is no JSON object")
    _check(validator, document)
    runtime: Json = document[RUNTIME]
    _warn(_unknown(runtime))
    return runtime


def _check(validator: Any, document: Json) -> None:
    error = jsonschema.exceptions.best_match(validator.iter_errors(document))
    if error is not None:
        place = ".".join(map(str, error.absolute_path)) or "The body"
        raise BadRequest(f"{place}: {_short(error.message)}")


def _checked(sent: Json) -> Specification:
    specification = Specification.of(sent)
    for place, text in specification.texts():
        if reason := why_not(text):
            raise BadRequest(f"{RUNTIME}.{place}: OpenNebula cannot carry it; {reason}")
    for place, text in specification.texts():
        if len(text) > _max_length(place):
            raise BadRequest(f"{RUNTIME}.{place}: longer than {_max_length(place)} characters")
    for name, value in specification.device_info.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise BadRequest(f"{RUNTIME}.DEVICE_INFO.{name}: the number is too large")
    check_length(specification.name, specification.scheduling, specification.device_info)
    return specification


def _max_length(place: str) -> int:
    return 128 if place == "NAME" or place.endswith(".FLAVOUR") else 4096


def _without_twins(pairs: Iterable[tuple[str, Any]]) -> Json:
    members: Json = {}
    for name, value in pairs:
        if name in members:
            raise ValueError(f"the member {_short(name)!r} appears twice in an object")
        members[name] = value
    return members


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no number in JSON")


def _unknown(runtime: Mapping[str, Any]) -> Iterator[str]:
    """The places of members that nobody knows."""
    for name, value in runtime.items():
        if name not in _KNOWN:
            yield name
        elif name in ("FAAS", "DAAS"):
            yield from (f"{name}.{member}" for member in value if member not in _KNOWN_OF_FUNCTION)
        elif name == "SCHEDULING":
            known = _KNOWN[name]["properties"]
            yield from (f"{name}.{member}" for member in value if member not in known)
        elif name == "DEVICE_INFO":
            yield from (f"{name}.{m}" for m, held in value.items() if not is_device_info(m, held))


def _warn(places: Iterable[str]) -> None:
    for place in places:
        log.engine.warning("Ignoring %s.%s, which nobody knows", RUNTIME, _short(place))


def _short(text: str) -> str:
    return text if len(text) <= SHOWN_CHARACTERS * 3 else f"{text[: SHOWN_CHARACTERS * 3]}…"
