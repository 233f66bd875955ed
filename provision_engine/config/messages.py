"""Error messages for a configuration: one line that names the key and what is allowed."""

from __future__ import annotations

import difflib
import json
import re
from pathlib import Path
from typing import Any

import jsonschema

from provision_engine.config.model import Document
from provision_engine.config.schema import leaves, rules_at
from provision_engine.errors import OperatorError
from provision_engine.text import one_line

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
    """The configuration cannot be used; the text is one line that names the key or the line."""


def reason(error: jsonschema.ValidationError) -> str:
    """Return what a violation of the schema means for the person who wrote the file."""
    path = tuple(str(key) for key in error.absolute_path)
    name = ".".join(path)
    if error.validator == "additionalProperties":
        return _unknown_key(path, error)
    if error.validator == "dependencies":
        return f"{name}: certificate and key must be given together"
    return f"{name or 'the file'} is {shown(error.instance)}: must be {_allowed(rules_at(path))}"


def _unknown_key(path: tuple[str, ...], error: jsonschema.ValidationError) -> str:
    known = list(rules_at(path)["properties"])
    given: Any = error.instance
    unknown = next(key for key in given if key not in known)
    here = [".".join((*path, key)) for key in known]
    name = ".".join((*path, unknown))
    elsewhere = next((leaf for leaf in leaves() if leaf.split(".")[-1] == unknown), None)
    near = _nearest(name, here) or elsewhere or _nearest(name, list(leaves()))
    hint = f"did you mean {near}?" if near else f"allowed are {', '.join(here)}"
    return f"{name} is unknown: {hint}"


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
