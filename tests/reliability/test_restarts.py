"""Whenever OpenNebula's services are killed and started, nothing of a user stays alive.

Also on a real OpenNebula: python tests/reliability/restarts.py
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from provision_engine.sandbox import Sandbox, Timings
from tests.support.client import FAAS, Device
from tests.support.engine import engine_in_process, settings_for
from tests.support.installation import Target
from tests.support.opennebula import OpenNebula
from tests.support.users import USER
from tests.support.waiting import wait_until

from . import lanes, restarts

TIMEOUT_SECONDS = 8


@pytest.mark.parametrize("release", ["6.8.0", "7.4.0"])
def test_restarts_of_opennebula_leave_nothing(tmp_path: Path, release: str) -> None:
    aim = Target(releases=(release,), timings=restarts.SLOW_SANDBOX)
    outcome = restarts.run(aim, release, tmp_path, apart_seconds=2.0)
    lanes.check([outcome], restarts.report([outcome]))
    assert outcome.foreign, "oneflow deployed nothing as its own user"


@pytest.mark.parametrize(("down_seconds", "status"), [(0.0, 201), (4.5, 503)])
def test_a_create_during_a_restart_is_started_again_if_there_is_time(
    down_seconds: float, status: int
) -> None:
    with (
        Sandbox("7.4.0", timings=Timings(vms_visible_seconds=0.5)) as sandbox,
        engine_in_process(settings_for(sandbox, timeout=TIMEOUT_SECONDS)) as url,
        ThreadPoolExecutor(1) as pool,
    ):
        one = OpenNebula(sandbox.oned_url, sandbox.oneflow_url, USER)
        creating = pool.submit(Device(url).post, FAAS=FAAS)
        wait_until(lambda: [s["state"] for s in sandbox.store.services()] == [11])
        sandbox.kill_oneflow()
        time.sleep(down_seconds)
        sandbox.start_oneflow()
        response = creating.result()
        assert response.status == status, response.text
        made = {response.runtime["FAAS"]["VM_ID"]} if status == 201 else set()
        assert status == 201 or response.headers["Retry-After"]
        wait_until(lambda: one.vm_ids() == made)
        assert len(one.holdings()["runtimes"]) == len(one.holdings()["services"]) == len(made)
        owners = [vm.uid for vm in sandbox.store.live_vms() if vm.id not in made]
        assert owners == [1], "left to reconcile"
