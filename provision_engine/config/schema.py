"""schemas/config.json: which keys exist, their defaults, and what a violation of it means."""

from __future__ import annotations

import difflib
import json
import math
import re
from collections.abc import Iterator
from functools import cache
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import jsonschema

from provision_engine.config.model import Document
from provision_engine.errors import OperatorError
from provision_engine.text import one_line

SCHEMAS = Path(__file__).parent.parent / "schemas"

_SHOWN_CHARACTERS = 80
_CREDENTIALS = re.compile(r"//.*@")
_NAMES_OF_TYPES = {
    "integer": "an integer",
    "number": "a number",
    "boolean": "true or false",
    "object": "a mapping (keys and values)",
    "string": "a string",
}


class ConfigurationError(OperatorError):
    """The configuration cannot be used; each argument is one line that names a key or a line."""


def load_schema(name: str) -> Document:
    """Return one of the schemas that the program ships."""
    document: Document = json.loads((SCHEMAS / name).read_text(encoding="utf-8"))
    return document


@cache
def schema() -> Document:
    """Return the JSON schema of the configuration (draft 4 to 6)."""
    return load_schema("config.json")


@cache
def leaves() -> dict[str, Document]:
    """Return the rules of every key that holds a value, by its dotted name."""
    return dict(_leaves(schema(), ""))


def _leaves(rules: Document, path: str) -> Iterator[tuple[str, Document]]:
    for key, below in rules["properties"].items():
        if "properties" in below:
            yield from _leaves(below, f"{path}{key}.")
            continue
        for part in below.get("allOf", ()):
            below = schema()["definitions"][part["$ref"].rpartition("/")[2]] | below
        yield f"{path}{key}", below


# ---- violations ------------------------------------------------------------------------


def _is_finite(_checker: object, value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


# Draft 4 and not a later one: in draft 4, 2.0 is not an integer.
_Validator: Any = jsonschema.validators.extend(  # type: ignore[no-untyped-call]
    jsonschema.Draft4Validator,
    type_checker=jsonschema.Draft4Validator.TYPE_CHECKER.redefine("number", _is_finite),
)
_FORMATS = jsonschema.FormatChecker(())
_FORMATS.checks("network", raises=ValueError)(lambda text: ip_network(text) is not None)


def violations(document: Document) -> dict[str, str]:
    """Return what is wrong with a document, for the person who wrote the file, by dotted name."""
    errors = _Validator(schema(), format_checker=_FORMATS).iter_errors(document)
    found: dict[str, str] = {}
    for error in sorted(errors, key=lambda error: [str(key) for key in error.absolute_path]):
        name = ".".join(str(key) for key in error.absolute_path)
        if error.validator == "additionalProperties":
            found |= _unknown_keys(f"{name}." if name else "", error.schema, error.instance)
        elif error.validator == "dependencies":
            found[name] = f"{name}: certificate and key must be given together"
        else:
            allowed = _allowed(error.schema)
            text = f"{name or 'the file'} is {shown(error.instance)}: must be {allowed}"
            found.setdefault(name, text)
    return found


def _unknown_keys(path: str, rules: Document, given: Document) -> Iterator[tuple[str, str]]:
    here = [f"{path}{key}" for key in rules["properties"]]
    for unknown in (key for key in given if key not in rules["properties"]):
        name = f"{path}{unknown}"
        elsewhere = next((leaf for leaf in leaves() if leaf.rpartition(".")[2] == unknown), None)
        near = _nearest(name, here) or elsewhere or _nearest(name, list(leaves()))
        hint = f"did you mean {near}?" if near else f"allowed are {', '.join(here)}"
        yield name, f"{name} is unknown: {hint}"


def _nearest(name: str, candidates: list[str]) -> str | None:
    return next(iter(difflib.get_close_matches(name, candidates, n=1, cutoff=0.7)), None)


def _allowed(rules: Document) -> str:
    if "enum" in rules:
        return " or ".join(rules["enum"])
    if "title" in rules:
        return str(rules["title"])
    kinds = rules["type"] if isinstance(rules["type"], list) else [rules["type"]]
    name = _NAMES_OF_TYPES[kinds[0]]
    if "minimum" in rules:
        return f"{name} from {rules['minimum']} to {rules['maximum']}"
    return name


def shown(value: object) -> str:
    """Return a value for an error message: short, on one line, without the credentials of a URL."""
    if isinstance(value, Path):
        return one_line(str(value))
    try:
        text = json.dumps(value, default=str, ensure_ascii=False)
    except (ValueError, TypeError, RecursionError):  # YAML can nest a list in itself
        text = "…"
    text = _CREDENTIALS.sub("//***@", one_line(text))
    return text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "…"
