"""A oneflow that is killed and started again, as seen on live 6.8.0 and 7.4.0."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from provision_engine.sandbox import Sandbox, Timings
from tests.support.opennebula import OpenNebula
from tests.support.users import USER
from tests.support.waiting import wait_until

DEPLOYING_NETS = 11
SERVERADMIN, DEVUSER = 1, 2


@pytest.fixture(params=["6.8.0", "7.4.0"])
def sandbox(request: pytest.FixtureRequest) -> Iterator[Sandbox]:
    with Sandbox(request.param, timings=Timings(vms_visible_seconds=0.2)) as sandbox:
        yield sandbox


def start(sandbox: Sandbox) -> tuple[OpenNebula, int]:
    one = OpenNebula(sandbox.oned_url, sandbox.oneflow_url, USER)
    return one, one.start_service(one.flow_template_id("nature-s3"), "a service")


def owners(sandbox: Sandbox) -> list[int]:
    return [vm.uid for vm in sandbox.store.live_vms()]


def test_what_it_was_deploying_it_deploys_once_more_as_its_own_user(sandbox: Sandbox) -> None:
    one, service_id = start(sandbox)
    wait_until(lambda: one.service_state(service_id) == DEPLOYING_NETS)
    sandbox.kill_oneflow()
    assert owners(sandbox) == [DEVUSER, DEVUSER]
    assert [role["nodes"] for role in one.body_of(service_id)["roles"]] == [[], []]
    sandbox.start_oneflow()
    assert owners(sandbox) == [DEVUSER, DEVUSER, SERVERADMIN, SERVERADMIN]
    one.until_service_runs(service_id)
    named = one.service_vm_ids(service_id)
    assert [one.refusal("vm.info", vm_id, False) for vm_id in named] == [0x0200, 0x0200]
    lost = {vm.id for vm in sandbox.store.live_vms()} - set(named)
    service_ids = {one.vm(vm_id)["USER_TEMPLATE"]["SERVICE_ID"] for vm_id in lost}
    assert (lost, service_ids) == (one.vm_ids(), {str(service_id)})


def test_a_service_that_runs_keeps_its_vms(sandbox: Sandbox) -> None:
    one, service_id = start(sandbox)
    one.until_service_runs(service_id)
    before = one.service_vm_ids(service_id)
    sandbox.kill_oneflow()
    sandbox.start_oneflow()
    assert one.service_vm_ids(service_id) == before
    assert owners(sandbox) == [DEVUSER, DEVUSER]
    assert one.flow("DELETE", f"/service/{service_id}").status_code == 204
    wait_until(lambda: one.service_state(service_id) == -1)
    assert owners(sandbox) == []
