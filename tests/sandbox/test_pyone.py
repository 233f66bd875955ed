"""pyone, the usual Python client, understands every response."""

from __future__ import annotations

from typing import Any

import pyone
import pytest

from provision_engine.sandbox import Sandbox

from .client import Caller, contents, pass_time, vm_of


def _server(sandbox: Sandbox, session: str = "devuser:devpass") -> Any:
    return pyone.OneServer(sandbox.oned_url, session=session)


def test_a_vm_in_each_phase_of_its_lifecycle(sandbox: Sandbox) -> None:
    one = _server(sandbox)
    release = sandbox.world.store.release.version
    lease = {"ACTION": "terminate-hard", "TIME": "+30"}
    service = Caller(sandbox).instantiate(
        roles=[{"name": "FAAS", **contents(release, CPU="2", SCHED_ACTION=lease)}]
    )
    pass_time(sandbox, 1)
    vm = vm_of(sandbox, service)
    seen = []
    for _ in range(4):
        found = one.vm.info(vm)
        seen.append((found.STATE, found.LCM_STATE))
        pass_time(sandbox, 1)
    assert seen == [(1, 0), (3, 1), (3, 2), (3, 3)]
    found = one.vm.info(vm)
    assert found.TEMPLATE["NIC"]["IP"] == "10.0.0.1"
    assert found.TEMPLATE["CPU"] == "2"
    assert found.USER_TEMPLATE["ROLE_NAME"] == "FAAS"
    assert found.HISTORY_RECORDS.HISTORY[-1].HOSTNAME.startswith("host")
    one.vm.resize(vm, "CPU=3", True)
    assert one.vm.info(vm).LCM_STATE == 66
    pass_time(sandbox, 60)
    assert one.vm.info(vm).STATE == 6


def test_lists(sandbox: Sandbox) -> None:
    one = _server(sandbox)
    sandbox.store.populate(users=0, runtimes=3, flow_templates=0)
    one = _server(sandbox, "oneadmin:opennebula")
    assert len(one.vmpool.info(-2, -1, -1, -1).VM) == 3
    assert len(one.vmpool.infoextended(-2, -1, -1, -1).VM) == 3
    assert len(one.vmpool.infoset("0,2", True).VM) == 2
    assert len(one.documentpool.info(-2, -1, -1, 1337).DOCUMENT) == 3
    assert len(one.templatepool.info(-2, -1, -1).VMTEMPLATE) == 3
    assert one.user.info(-1).NAME == "oneadmin"
    assert one.template.info(0, True).TEMPLATE["DISK"]["IMAGE_ID"] == "0"


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda one: one.document.info(99999), pyone.OneNoExistsException),
        (lambda one: one.template.info(2), pyone.OneAuthorizationException),
        (lambda one: one.document.allocate("A=[", 1337), pyone.OneInternalException),
        (lambda one: one.document.lock(0, 3, False), pyone.OneException),
        (lambda one: one.documentpool.info(-9, -1, -1, 1), pyone.OneApiException),
    ],
)
def test_errors(sandbox: Sandbox, call: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        call(_server(sandbox))


def test_wrong_password(sandbox: Sandbox) -> None:
    with pytest.raises(pyone.OneAuthenticationException):
        _server(sandbox, "devuser:wrong").document.info(0)
