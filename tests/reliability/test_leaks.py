"""However and whenever a runtime is ended, nothing of it stays alive.

Every state and ending, also on a real OpenNebula: python tests/reliability/leak_matrix.py
"""

from __future__ import annotations

from pathlib import Path

from tests.support.installation import Target

from . import lanes
from .leak_endings import ENDINGS
from .leak_matrix import LANES, SLOW_SANDBOX, matrix, table
from .leak_states import STATES


def check(
    directory: Path, release: str, states: list[str], endings: list[str], runtime: str
) -> None:
    """Nothing is left of these endings, and each state was there in at least one of them."""
    aim = Target(releases=(release,), timings=SLOW_SANDBOX)
    outcomes = matrix(aim, states, endings, [runtime], directory, LANES)
    lanes.check(outcomes, table(outcomes))
    assert {o.case.state for o in outcomes if o.is_reached} == set(states)


def test_a_delete_leaves_nothing_in_any_state_of_the_vms(tmp_path: Path) -> None:
    check(tmp_path, "6.8.0", list(STATES), ["delete"], "FAAS-DAAS")


def test_no_ending_leaves_anything_where_a_vm_cannot_be_terminated_yet(tmp_path: Path) -> None:
    endings = [ending for ending in ENDINGS if ending != "reconcile-delete"]
    check(tmp_path, "7.4.0", ["BOOT", "HOTPLUG_RESIZE", "BOOT_FAILURE"], endings, "FAAS")


def test_what_an_engine_left_that_died_in_a_delete_is_reconciled(tmp_path: Path) -> None:
    check(tmp_path, "7.4.0", ["PENDING", "SUSPENDED"], ["reconcile-delete"], "FAAS")
