"""The sandbox responds as the real OpenNebula did: every recorded call, by scenario."""

from __future__ import annotations

import pytest

from . import replay
from .environments import Environment

LEAST_EQUAL_SHARE = 0.98
STORIES = {release: list(replay.stories(release)) for release in replay.RELEASES}


@pytest.mark.parametrize(
    ("environment", "calls"),
    [
        pytest.param(environment, calls, id=f"{release}-{environment.name}")
        for release, stories in STORIES.items()
        for environment, calls in stories
    ],
)
def test_each_recorded_call_is_answered_as_then(
    environment: Environment, calls: list[replay.Call]
) -> None:
    assert {call["scenario"] for call in calls} == set(environment.scenarios)
    differences = replay.replay(environment, calls)
    assert not differences, "\n".join(differences)


@pytest.mark.parametrize("release", replay.RELEASES)
def test_nearly_all_calls_of_a_release_are_compared_and_equal(release: str) -> None:
    """Each of them stands in a story; those that are left out or known to differ are few."""
    recorded = [call for call in replay.recorded(release) if call["backend"] != replay.DRIVER]
    stories = STORIES[release]
    told = [call for _, calls in stories for call in calls if call["backend"] != replay.DRIVER]
    assert len(told) == len(recorded) > 1000
    known = sum(len(environment.differences) for environment, _ in stories)
    pages = sum(replay.is_page(call) for call in recorded)
    assert (len(recorded) - known - pages) / len(recorded) >= LEAST_EQUAL_SHARE


def test_a_wrong_response_is_detected() -> None:
    """The comparison detects another value, another time, and another order of members."""
    assert replay.differ("<CPU>1</CPU>", "<CPU>2</CPU>")
    assert replay.differ("at 1795484881", "at 1795484891")
    assert replay.differ('{"a": 1, "b": 2}', '{"b": 2, "a": 1}')
    assert replay.differ("at 1795484881", "at 1795484882") is None
