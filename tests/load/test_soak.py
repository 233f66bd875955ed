"""A short race of many clients on several engines. The long one: soak.py --minutes 10."""

from __future__ import annotations

import shutil

import pytest

from .soak import report, soak

SECONDS, CHAOS_SECONDS = 20.0, 5.0
HAS_HAPROXY = shutil.which("haproxy", path="/usr/sbin:/usr/bin:/usr/local/sbin") is not None


def race() -> None:
    findings = soak(SECONDS, chaos_seconds=CHAOS_SECONDS)
    told = report(findings, SECONDS)
    print(told)
    assert findings.wrong == [], told
    assert findings.kills >= 1
    assert findings.restarts >= 1
    assert findings.left == {"runtimes": 0, "services": 0, "vms": 0}
    statuses = {status for _, status in findings.answers}
    assert {200, 201, 204, 423} <= statuses, told  # the clients did meet


@pytest.mark.skipif(not HAS_HAPROXY, reason="haproxy is not installed (Debian package haproxy)")
def test_no_duplicate_and_no_lost_update_behind_haproxy() -> None:
    race()


@pytest.mark.skipif(HAS_HAPROXY, reason="haproxy is installed, and stands before the engines")
def test_no_duplicate_and_no_lost_update_with_clients_that_take_turns() -> None:
    race()
