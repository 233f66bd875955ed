"""Escapes untrusted text for logs, terminals and error messages."""

from __future__ import annotations

import re

# Changes of the writing direction are not control characters, but they reverse a line on a
# terminal.
_UNPRINTABLE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufeff]"
)


def one_line(text: str) -> str:
    """Return the text with every character that breaks or hides a line escaped visibly."""
    if text.isprintable():
        return text
    return _UNPRINTABLE.sub(lambda found: found[0].encode("unicode_escape").decode(), text)
