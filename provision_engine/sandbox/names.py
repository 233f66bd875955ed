"""Which document names are allowed. Source: scenarios documents, names, service-names."""

from __future__ import annotations

from collections.abc import Set as AbstractSet

from provision_engine.sandbox import errors
from provision_engine.sandbox.errors import OneError

MAXIMUM_NAME_BYTES = 128
_REFUSED_BY_RENAME = frozenset("&|:\\\";/'#{}$<>")
_BLANKS = frozenset(" \t\n\v\f\r")
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
    check_name(name, errors.ACTION)


def check_user_name(name: str) -> None:
    """0x2000 if a user cannot have that name."""
    check_name(name, errors.INTERNAL, _REFUSED_BY_RENAME | _BLANKS, ".")


def check_group_name(name: str, may_hold_blanks: bool) -> None:
    """0x2000 if a group cannot have that name."""
    refused = _REFUSED_BY_RENAME if may_hold_blanks else _REFUSED_BY_RENAME | _BLANKS
    check_name(name, errors.INTERNAL, refused)


def check_name(
    name: str, code: int, refused: AbstractSet[str] = _REFUSED_BY_RENAME, end: str = ""
) -> None:
    """An error with that code if a name is empty, too long, or has a character of `refused`."""
    if not name:
        raise OneError(code, f"Invalid NAME, it cannot be empty{end}")
    for character in name:
        if character in refused:
            raise OneError(code, f"Invalid NAME, char '{character}' is not allowed{end}")
    if len(name.encode()) > MAXIMUM_NAME_BYTES:
        raise OneError(code, f"Invalid NAME, max length is 128 chars{end}")
