"""The sandbox responds as the real OpenNebula did: every recorded call, by scenario."""

from __future__ import annotations

from collections import defaultdict

import pytest

from . import replay
from .environments import Environment

LEAST_EQUAL_SHARE = 0.98
_STORIES = [
    pytest.param(environment, calls, id=f"{release}-{environment.name}")
    for release in replay.RELEASES
    for environment, calls in replay.stories(release)
]
FIGURES: dict[str, list[replay.Result]] = defaultdict(list)
"""The results of each release's scenarios; conftest.py prints them at the end."""


@pytest.mark.parametrize(("environment", "calls"), _STORIES)
def test_story(environment: Environment, calls: list[replay.Call]) -> None:
    results = replay.replay(environment, calls)
    FIGURES[environment.release] += results
    assert [r.scenario for r in results if not r.total] == []
    differences = [text for result in results for text in result.differences]
    assert not differences, "\n".join(differences)


@pytest.mark.parametrize("release", replay.RELEASES)
def test_share(release: str) -> None:
    """At least 98 % of all calls of a release are compared and equal."""
    done = {result.scenario for result in FIGURES[release]}
    for environment, calls in replay.stories(release):
        # Only some stories were selected, or another worker has them.
        if environment.scenarios[0] not in done:
            FIGURES[release] += replay.replay(environment, calls)
    results = FIGURES[release]
    print("\n".join(lines(release, results)))
    total = sum(call["backend"] != replay.DRIVER for call in replay.recorded(release))
    assert sum(r.total for r in results) == total
    assert sum(r.equal for r in results) / total >= LEAST_EQUAL_SHARE


def test_a_wrong_response_is_detected() -> None:
    """The comparison detects another value, another time, and another order of members."""
    assert replay._differ("<CPU>1</CPU>", "<CPU>2</CPU>")
    assert replay._differ("at 1795484881", "at 1795484891")
    assert replay._differ('{"a": 1, "b": 2}', '{"b": 2, "a": 1}')
    assert replay._differ("at 1795484881", "at 1795484882") is None


def lines(release: str, results: list[replay.Result]) -> list[str]:
    """The results of a release: a line for each scenario and one for all."""
    shown = [
        f"{release}  {r.scenario:<40} {r.equal:>4} of {r.total:>4} equal"
        + (f", {r.left_out} left out" if r.left_out else "")
        + (f", {r.expected_differences} known to differ" if r.expected_differences else "")
        for r in results
    ]
    equal, total = sum(r.equal for r in results), sum(r.total for r in results)
    share = 100 * equal / max(1, total)
    return [*shown, f"{release}  all: {equal} of {total} calls equal ({share:.1f} %)"]
