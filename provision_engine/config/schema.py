"""schemas/config.json: which keys exist, what they allow, and their defaults."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from provision_engine.config.model import Document

SCHEMAS = Path(__file__).parent.parent / "schemas"


def load_schema(name: str) -> Document:
    """Return one of the schemas that the program ships."""
    document: Document = json.loads((SCHEMAS / name).read_text(encoding="utf-8"))
    return document


@cache
def schema() -> Document:
    """Return the JSON schema of the configuration (draft 4 to 6)."""
    return load_schema("config.json")


def rules_at(path: tuple[str, ...]) -> Document:
    """Return what the schema says about one key, its references resolved."""
    rules = schema()
    for key in path:
        below = rules.get("properties", {}).get(key) or rules.get("items")
        rules = below or rules["additionalProperties"]
    for part in rules.get("allOf", ()):
        rules = {**schema()["definitions"][part["$ref"].rsplit("/", 1)[-1]], **rules}
    return rules


def leaves(rules: Document | None = None, path: tuple[str, ...] = ()) -> Iterator[str]:
    """Yield the dotted name of every key that holds a value."""
    rules = schema() if rules is None else rules
    if "properties" not in rules:
        yield ".".join(path)
    for key, below in rules.get("properties", {}).items():
        yield from leaves(below, (*path, key))
