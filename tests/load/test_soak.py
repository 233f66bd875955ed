"""A short race of many clients on several engines. The long one: soak.py --minutes 10."""

from __future__ import annotations

from tests.support.programs import program

from .soak import NOTHING, report, soak

SECONDS, CHAOS_SECONDS = 10.0, 3.0


def test_no_duplicate_and_no_lost_update_behind_haproxy() -> None:
    program("haproxy")
    race(is_behind_haproxy=True)


def test_no_duplicate_and_no_lost_update_with_clients_that_take_turns() -> None:
    race(is_behind_haproxy=False)


def race(is_behind_haproxy: bool) -> None:
    findings = soak(SECONDS, chaos_seconds=CHAOS_SECONDS, is_behind_haproxy=is_behind_haproxy)
    told = report(findings, SECONDS)
    print(told)
    assert findings.wrong == [], told
    assert findings.kills >= 1
    assert findings.restarts >= 1
    assert findings.left == NOTHING
    statuses = {status for _, status in findings.responses}
    assert {200, 201, 204, 423} <= statuses, told  # the clients did meet
