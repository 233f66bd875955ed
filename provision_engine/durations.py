"""Durations in the form that people write and read: 90s, 10m, 2h, 1d."""

from __future__ import annotations

import re

UNIT_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_FORM = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)([smhd]?)", re.ASCII)


def parse(text: str) -> float:
    """Return the seconds in 600, 600s, 10m, 1.5h or 1d.

    Raises ValueError; its text can stand after the name of an option.
    """
    found = _FORM.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is not a duration such as 90, 90s, 10m, 2h or 1d")
    return float(found[1]) * UNIT_SECONDS[found[2] or "s"]


def shown(seconds: float) -> str:
    """Return a duration in its largest unit that it fills at least twice: 45s, 12m, 3h, 9d."""
    unit = next((unit for unit in "dhm" if seconds >= 2 * UNIT_SECONDS[unit]), "s")
    return f"{int(seconds // UNIT_SECONDS[unit])}{unit}"
