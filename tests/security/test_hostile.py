"""The short form of the hostile matrix: each object, each content and each of the permissions once.

All of it, also on a real OpenNebula: python -m tests.security.hostile_matrix
"""

from __future__ import annotations

import itertools

import pytest

from provision_engine.engine.safety.ownership import Holdings
from tests.reliability.lanes import check
from tests.security.hostile_matrix import KINDS, Case, matrix, table
from tests.security.scene import MODES
from tests.support.installation import Target

LANES = 3
WRITABLE = "666"
HARMFUL = ("VM", "service", "RUNNING", "whole", "future", "victim's service")
"""With each kind of object the content that would do most harm, writable for everybody."""


def chosen(release: str) -> list[Case]:
    """Every second kind with its worst content, and the other contents in turn."""
    harmful = [
        Case(release, kind, next(c for c in HARMFUL if c in contents), WRITABLE)
        for kind, contents in KINDS.items()
        if set(HARMFUL) & set(contents)
    ]
    contents = {content: kind for kind, known in KINDS.items() for content in known}
    others = set(contents) - set(HARMFUL)
    kinds = itertools.cycle(["DELETING", "READY", "REPLACING", "CREATING", "of Ruby"])
    modes = itertools.cycle(MODES)
    further = [
        Case(
            release,
            kind if content in KINDS[kind := next(kinds)] else contents[content],
            content,
            next(modes),
        )
        for content in sorted(others)
    ]
    return harmful + further


@pytest.mark.parametrize("release", ["6.8.0", "7.4.0"])
def test_nothing_that_one_user_writes_touches_another(release: str) -> None:
    """Half of the cases on each release."""
    half = chosen(release)[release == "7.4.0" :: 2]
    outcomes = matrix(Target(releases=(release,)), half, LANES)
    check(outcomes, table(outcomes))
    assert all(outcome.steps > 20 for outcome in outcomes)


def test_the_matrix_notices_a_vm_of_another_user(monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine that believes what a document names."""
    monkeypatch.setattr(Holdings, "owned", lambda _, vms: {vm.id: vm for vm in vms})
    case = Case("7.4.0", "DELETING", "VM", WRITABLE)
    (outcome,) = matrix(Target(releases=("7.4.0",)), [case], 1)
    assert outcome.wrong
    assert "VM" in outcome.wrong[0]
