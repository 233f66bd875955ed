"""Which document names are allowed. Source: scenarios documents, names, service-names."""

from __future__ import annotations

from provision_engine.sandbox import errors
from provision_engine.sandbox.errors import OneError

MAXIMUM_NAME_BYTES = 128
_REFUSED_BY_RENAME = frozenset("&|:\\\";/'#{}$<>")
_REFUSED_BY_XML = ("<", "&", "]]>")


def check_new_name(name: str) -> None:
    """0x2000 if an object cannot be created with that name: oned does not escape it in XML."""
    if len(name.encode()) > MAXIMUM_NAME_BYTES:
        raise OneError(errors.INTERNAL, "NAME is too long; max length is 128 chars.")
    if any(text in name for text in _REFUSED_BY_XML):
        raise OneError(errors.INTERNAL, "Error transforming the Document to XML.")


def check_flow_name(name: str) -> None:
    """0x2000 if oneflow cannot create a document of that name: it does not escape it either."""
    if "<" in name or "&" in name:
        reason = "Parse error: XML Template malformed."
        raise OneError(errors.INTERNAL, f"[one.document.allocate] {reason}")
    try:
        check_new_name(name)
    except OneError as error:
        raise OneError(error.code, f"[one.document.allocate] {error.message}") from None


def check_rename(name: str) -> None:
    """0x0800 if an object cannot be renamed to that name."""
    if not name:
        raise OneError(errors.ACTION, "Invalid NAME, it cannot be empty")
    if len(name.encode()) > MAXIMUM_NAME_BYTES:
        raise OneError(errors.ACTION, "Invalid NAME, max length is 128 chars")
    for character in name:
        if character in _REFUSED_BY_RENAME:
            raise OneError(errors.ACTION, f"Invalid NAME, char '{character}' is not allowed")
