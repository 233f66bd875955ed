"""Checked values of what users may have written: the JSON of documents, the texts of templates."""

from __future__ import annotations

import json
from typing import Any

from provision_engine.errors import BadGateway

LARGEST_NUMBER = 2**31 - 1
LARGEST_TIME = 2**32 - 1
MAX_TEXT = 4096
MAX_DEPTH = 32
MAX_BODY_CHARACTERS = 4 * 2**20


def parse_body(text: str) -> dict[str, Any]:
    """Return the JSON object in a document's body. Raises BadGateway if it is not a sane one."""
    if len(text) > MAX_BODY_CHARACTERS:
        raise BadGateway(f"it is longer than {MAX_BODY_CHARACTERS} characters")
    try:
        body = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadGateway(f"it is not JSON: {str(error)[:200]}") from error
    if not isinstance(body, dict):
        raise BadGateway("it is not a JSON object")
    # Few brackets cannot be nested deeply: most bodies need no second look.
    if text.count("[") + text.count("{") > MAX_DEPTH and _is_too_deep(body):
        raise BadGateway(f"it is nested more than {MAX_DEPTH} levels deep")
    return body


def integer(value: object, largest: int = LARGEST_NUMBER) -> int | None:
    """Return an integer from 0 to ``largest``, also from text; None for anything else."""
    if isinstance(value, str):
        # Not str.isdigit alone: it accepts superscripts, which int does not.
        value = int(value) if value.isascii() and value.isdigit() and len(value) <= 10 else None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    is_valid = isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= largest
    return value if is_valid else None  # type: ignore[return-value]


def unix_time(value: object) -> int | None:
    """Return a Unix time, also from text; None for anything else."""
    return integer(value, LARGEST_TIME)


def text(value: object, max_characters: int = MAX_TEXT) -> str:
    """Return a text, cut to a length, that any encoding can hold; empty for anything else."""
    if not isinstance(value, str):
        return ""
    # JSON may hold half of a surrogate pair.
    return value[:max_characters].encode(errors="replace").decode()


def mapping(value: object) -> dict[str, Any]:
    """Return a JSON object; an empty one for anything else."""
    return value if isinstance(value, dict) else {}


def objects(value: object) -> list[dict[str, Any]]:
    """Return the objects in a JSON array; none for anything else."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _is_too_deep(body: object) -> bool:
    level = [body]
    for _ in range(MAX_DEPTH):
        level = [
            below
            for value in level
            if isinstance(value, dict | list)
            for below in (value.values() if isinstance(value, dict) else value)
        ]
    return any(isinstance(value, dict | list) for value in level)
