"""What a document may be called. Source: scenarios documents and names."""

from __future__ import annotations

from provision_engine.sandbox import errors
from provision_engine.sandbox.errors import OneError

MAXIMUM_NAME_BYTES = 128
_REFUSED_BY_RENAME = frozenset("&|:\\\";/'#{}$<>")
_REFUSED_BY_XML = ("<", "&", "]]>")


def check_new_name(name: str) -> None:
    """0x2000 if an object cannot be made with that name: it goes into XML without escapes."""
    if len(name.encode()) > MAXIMUM_NAME_BYTES:
        raise OneError(errors.INTERNAL, "NAME is too long; max length is 128 chars.")
    if any(text in name for text in _REFUSED_BY_XML):
        raise OneError(errors.INTERNAL, "Error transforming the Document to XML.")


def check_rename(name: str) -> None:
    """0x0800 if an object cannot be given that name."""
    if not name:
        raise OneError(errors.ACTION, "Invalid NAME, it cannot be empty")
    if len(name.encode()) > MAXIMUM_NAME_BYTES:
        raise OneError(errors.ACTION, "Invalid NAME, max length is 128 chars")
    for character in name:
        if character in _REFUSED_BY_RENAME:
            raise OneError(errors.ACTION, f"Invalid NAME, char '{character}' is not allowed")
