"""Validates a request's body and converts it to a specification. Errors name the path."""

from __future__ import annotations

import copy
import hashlib
import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import jsonschema

from provision_engine import log
from provision_engine.api.representation import RUNTIME
from provision_engine.config import load_schema
from provision_engine.engine.runtime import scheduling
from provision_engine.engine.runtime.model import ROLES, Function
from provision_engine.engine.runtime.sizes import SIZES
from provision_engine.engine.runtime.specification import (
    POLICY,
    REQUIREMENTS,
    Specification,
    check_length,
)
from provision_engine.errors import BadRequest

SHOWN_CHARACTERS = 100
SHOWN_MEMBERS, LOGGED_MEMBERS = 8, 3
"""The maximum number of ignored members named in the headers of a response, and in the log."""
DEVICE_INFO_NAME = re.compile(r"[A-Z][A-Z0-9_]*")
EXPRESSIONS: Mapping[str, tuple[Callable[[str], str], str]] = {
    POLICY: (scheduling.rank, "a rank"),
    REQUIREMENTS: (scheduling.requirements, "requirements"),
}

Json = dict[str, Any]


def _of_update(schema: Json) -> Json:
    """Return the schema of an update: all members are optional, but at least one is required."""
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
_KNOWN_IN: Mapping[str, Json] = {
    **dict.fromkeys(ROLES, RUNTIME_SCHEMA["definitions"]["function"]["properties"]),
    "SCHEDULING": _KNOWN["SCHEDULING"]["properties"],
}


def to_create(body: bytes) -> tuple[Specification, list[str]]:
    """Return the runtime that a body specifies, and the paths of its unknown members.

    Raises BadRequest.
    """
    sent, ignored = _runtime(body, _FOR_CREATE)
    if not sent["FAAS"]["FLAVOUR"]:
        raise BadRequest(f"{RUNTIME}.FAAS.FLAVOUR: a function needs a flavour")
    if not sent.get("DAAS", {}).get("FLAVOUR"):
        sent.pop("DAAS", None)
    return _checked(sent), ignored


def to_update(body: bytes) -> tuple[Specification, list[str]]:
    """Return the changes that a body specifies, and the paths of its unknown members.

    Raises BadRequest.
    """
    sent, ignored = _runtime(body, _FOR_UPDATE)
    return _checked(sent), ignored


def sent_functions(body: bytes, roles: Iterable[str]) -> Json:
    """Return the functions of a valid body as they were sent, for an error message."""
    sent = parse(body)[RUNTIME]
    return {role: sent[role] for role in roles}


def idempotency_key(header: str | None) -> str:
    """Return the digest of a key, which is stored; empty without a key. Raises BadRequest."""
    if header is None:
        return ""
    if not 0 < len(header) <= 255 or not header.isascii() or not header.isprintable():
        raise BadRequest("Idempotency-Key: up to 255 printable ASCII characters are allowed")
    return hashlib.sha256(header.encode()).hexdigest()


def parse(body: bytes) -> Any:
    """Parse a body as JSON. Raises BadRequest if it is invalid or has duplicate members."""
    try:
        return json.loads(
            body.decode("utf-8-sig"),
            object_pairs_hook=_without_duplicates,
            parse_constant=_no_constant,
        )
    except UnicodeDecodeError as error:
        raise BadRequest(f"The body is not UTF-8: byte {error.start + 1}") from error
    except RecursionError as error:
        raise BadRequest("The body is nested too deeply") from error
    except ValueError as error:
        raise BadRequest(f"The body is not JSON: {error}") from error


def _runtime(body: bytes, validator: Any) -> tuple[Json, list[str]]:
    document = parse(body)
    if not isinstance(document, dict):
        raise BadRequest("The body is not a JSON object")
    _check(validator, document)
    runtime: Json = document[RUNTIME]
    ignored = [f"{RUNTIME}.{_short(path)}" for path in _unknown(runtime)]
    if ignored:
        more = ", …" if len(ignored) > LOGGED_MEMBERS else ""
        names = ", ".join(ignored[:LOGGED_MEMBERS])
        log.engine.warning("Ignoring %d unknown members: %s%s", len(ignored), names, more)
    return runtime, ignored


def _check(validator: Any, document: Json) -> None:
    error = jsonschema.exceptions.best_match(validator.iter_errors(document))
    if error is not None:
        path = ".".join(map(str, error.absolute_path)) or "The body"
        raise BadRequest(f"{path}: {_short(error.message)}")


def _checked(sent: Json) -> Specification:
    specification = _specification(sent)
    for path, reason in specification.unstorable_texts():
        raise BadRequest(f"{RUNTIME}.{path}: OpenNebula cannot store it; {reason}")
    for path, text in specification.texts():
        if len(text) > _max_length(path):
            raise BadRequest(f"{RUNTIME}.{path}: longer than {_max_length(path)} characters")
    for name, value in specification.device_info.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise BadRequest(f"{RUNTIME}.DEVICE_INFO.{name}: the number is too large")
    check_length(specification.name, specification.scheduling, specification.device_info)
    _check_expressions(specification)
    return specification


def _check_expressions(specification: Specification) -> None:
    """Raises BadRequest if OpenNebula's scheduler could not parse the expressions."""
    for name, text in specification.scheduling.items():
        check, kind = EXPRESSIONS[name]
        try:
            check(text)
        except scheduling.InvalidExpression as error:
            raise BadRequest(
                f"{RUNTIME}.SCHEDULING.{name}: OpenNebula cannot parse it as {kind}; {error}"
            ) from error


def _specification(sent: Json) -> Specification:
    """Make a specification of the object in SERVERLESS_RUNTIME, which matches the schema."""
    texts, lease = sent.get("SCHEDULING", {}), sent.get("LEASE")
    return Specification(
        name=sent.get("NAME", ""),
        functions={role: _function(sent[role]) for role in ROLES if role in sent},
        # An empty text means absent. Other whitespace is rejected like any control character.
        scheduling={n: texts[n] for n in EXPRESSIONS if texts.get(n, "").strip(" ")},
        device_info={
            name: value
            for name, value in sent.get("DEVICE_INFO", {}).items()
            if _is_device_info(name, value) and value != ""
        },
        lease_seconds=int(lease["TTL"]) if lease else None,  # JSON may say 60.0
        lifts_lease=sent.get("LEASE", ...) is None,
        digest=hashlib.sha256(json.dumps(sent, sort_keys=True).encode()).hexdigest(),
    )


def _function(sent: Mapping[str, Any]) -> Function:
    sizes = {name: int(sent[name]) for name in SIZES if name in sent}  # JSON may say 2.0
    return Function(sent.get("FLAVOUR", ""), sizes)


def _is_device_info(name: str, value: Any) -> bool:
    """Return whether DEVICE_INFO stores a member: a valid name with a string or a number."""
    is_plain = isinstance(value, str | int | float) and not isinstance(value, bool)
    return is_plain and DEVICE_INFO_NAME.fullmatch(name) is not None


def _max_length(path: str) -> int:
    return 128 if path == "NAME" or path.endswith(".FLAVOUR") else 4096


def _without_duplicates(pairs: Iterable[tuple[str, Any]]) -> Json:
    members: Json = {}
    for name, value in pairs:
        if name in members:
            raise ValueError(f"the member {_short(name)!r} appears twice in an object")
        members[name] = value
    return members


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not a number in JSON")


def _unknown(runtime: Mapping[str, Any]) -> Iterator[str]:
    """Yield the paths of unknown members."""
    for name, value in runtime.items():
        if name not in _KNOWN:
            yield name
        elif name in _KNOWN_IN:
            yield from (f"{name}.{member}" for member in value if member not in _KNOWN_IN[name])
        elif name == "DEVICE_INFO":
            yield from (f"{name}.{m}" for m, held in value.items() if not _is_device_info(m, held))


def _short(text: str) -> str:
    return text if len(text) <= SHOWN_CHARACTERS * 3 else f"{text[: SHOWN_CHARACTERS * 3]}…"
