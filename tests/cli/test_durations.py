"""How durations are written and shown."""

from __future__ import annotations

import click
import pytest

from provision_engine.cli import options, show


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("0", 0), ("600", 600), ("90s", 90), ("10m", 600), ("1.5h", 5400), ("1d", 86_400)],
)
def test_a_duration_is_read(text: str, seconds: float) -> None:
    assert options.duration_seconds(text) == seconds


@pytest.mark.parametrize("text", ["", "m", "-1", "1w", "1 h", "1h30m", "1,5h", "inf", "1e3", "٣"])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter, match="is not a duration such as"):
        options.duration_seconds(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (59.9, "59s"), (119, "119s"), (120, "2m"), (7200, "2h"), (200_000, "2d")],
)
def test_a_duration_is_shown_in_its_largest_unit(seconds: float, text: str) -> None:
    assert show.duration(seconds) == text
