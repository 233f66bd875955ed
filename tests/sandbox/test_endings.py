"""VMs and services that do not end at once: transient states, scheduled terminations."""

from __future__ import annotations

import pytest

from provision_engine.sandbox import Sandbox
from provision_engine.sandbox.services import S

from .client import Caller, contents, pass_time, state, vm_of

RELEASES = ("6.8.0", "7.4.0")
SETTLED_SECONDS = 10
SLOW_SECONDS = 60.0


def _running(sandbox: Sandbox, template: str = "Function") -> int:
    service = Caller(sandbox).instantiate(template)
    pass_time(sandbox, SETTLED_SECONDS)
    assert state(sandbox, service) == S.RUNNING
    return service


def _order(sandbox: Sandbox, seconds: int = 0) -> str:
    at = sandbox.world.store.agenda.seconds() + seconds
    return f'SCHED_ACTION=[ACTION="terminate-hard",TIME="{at}"]'


@pytest.mark.parametrize("where", ["HOTPLUG_RESIZE", "DISK_RESIZE", "SAVE_SUSPEND"])
def test_a_running_service_disappears_before_its_busy_vm_ends(sandbox: Sandbox, where: str) -> None:
    caller, service = Caller(sandbox), _running(sandbox)
    vm = vm_of(sandbox, service)
    sandbox.store.put_vm(vm, where, stays=True)
    status, text = caller.flow("DELETE", f"/service/{service}")
    assert (status, text) == (
        500, "Error undeploying role FAAS: Error undeploying nodes for role `FAAS`",
    )  # fmt: skip
    assert caller.act(service, "recover", delete=True)[0] == 204
    assert (state(sandbox, service), sandbox.store.orphaned_vms()) == (None, [vm])


def test_a_scheduled_action_for_a_vm_that_is_done(sandbox: Sandbox) -> None:
    caller, service = Caller(sandbox), _running(sandbox)
    vm = vm_of(sandbox, service)
    sandbox.store.put_vm(vm, "DONE")
    answer = caller.one("vm.schedadd", vm, _order(sandbox))
    assert answer[0] is sandbox.world.store.release.version.startswith("6")


def test_of_two_leases_the_earlier_one_counts(sandbox: Sandbox) -> None:
    caller, service = Caller(sandbox), _running(sandbox)
    vm = vm_of(sandbox, service)
    first = caller.good("vm.schedadd", vm, _order(sandbox, 100))
    second = caller.good("vm.schedadd", vm, _order(sandbox, 500))
    pool = caller.good("vmpool.infoset", str(vm), True)
    assert f"<SCHED_ACTIONS><ID>{first}</ID><ID>{second}</ID></SCHED_ACTIONS>" in pool
    assert "<SCHED_ACTION>" not in pool
    assert caller.good("vm.info", vm, False).count("<SCHED_ACTION>") == 2
    pass_time(sandbox, 100 + SETTLED_SECONDS)
    assert sandbox.store.living_vms() == {}


@pytest.mark.parametrize(
    ("where", "becomes"),
    [
        ("SUSPENDED", S.RUNNING), ("STOPPED", S.RUNNING), ("UNDEPLOYED", S.RUNNING),
        ("POWEROFF", S.WARNING), ("UNKNOWN", S.WARNING), ("BOOT_FAILURE", S.WARNING),
    ],
)  # fmt: skip
def test_how_a_service_follows_its_vm(sandbox: Sandbox, where: str, becomes: S) -> None:
    caller, service = Caller(sandbox), _running(sandbox)
    sandbox.store.put_vm(vm_of(sandbox, service), where)
    pass_time(sandbox, SETTLED_SECONDS)
    assert state(sandbox, service) == becomes
    status, text = caller.act(service, "recover")
    assert (status, text) == (500, f"Service cannot be recovered in state: {becomes.name}")
    assert caller.flow("DELETE", f"/service/{service}")[0] == 204
    pass_time(sandbox, SETTLED_SECONDS)
    assert sandbox.store.count() == {"runtimes": 0, "services": 0, "vms": 0}


def test_a_service_replaces_a_vm_that_ended(sandbox: Sandbox) -> None:
    service = _running(sandbox)
    caller, vm = Caller(sandbox), vm_of(sandbox, service)
    caller.good("vm.action", "terminate-hard", vm)
    pass_time(sandbox, sandbox.timings.autoscale_seconds + 3)
    assert state(sandbox, service) == S.SCALING
    assert caller.flow("DELETE", f"/service/{service}")[0] == 500
    pass_time(sandbox, 3 * SETTLED_SECONDS)
    assert state(sandbox, service) == S.RUNNING
    assert sandbox.store.living_vms() == {vm + 1: "RUNNING"}
    assert f"<NAME>FAAS_1_(service_{service})</NAME>" in sandbox.store.vm_xml(vm + 1)


def _pending(sandbox: Sandbox, **attributes: str) -> int:
    release = sandbox.world.store.release.version
    role = {"name": "FAAS", **contents(release, **attributes)}
    return Caller(sandbox).instantiate(roles=[role] if attributes else [])


def test_a_rank_that_stops_the_scheduler(sandbox: Sandbox) -> None:
    stops = sandbox.world.store.release.version.startswith("7")
    bad, good = _pending(sandbox, SCHED_RANK="a,b;c=d"), _pending(sandbox)
    pass_time(sandbox, SLOW_SECONDS)
    wanted = "PENDING" if stops else "RUNNING"
    assert list(sandbox.store.living_vms().values()) == [wanted, wanted]
    Caller(sandbox).act(bad, "recover", delete=True)
    pass_time(sandbox, SLOW_SECONDS)
    assert sandbox.store.vm_state(vm_of(sandbox, good)) == "RUNNING"


def test_calls_record_their_sizes(sandbox: Sandbox) -> None:
    caller = Caller(sandbox)
    caller.good("document.allocate", "NAME=a", 1337)
    answer = caller.good("documentpool.info", -3, -1, -1, 1337)
    (made, listed) = sandbox.calls
    assert made.request_bytes > len("NAME=a")
    assert listed.response_bytes > len(answer)


def test_a_range_of_a_large_pool_has_a_small_response(sandbox: Sandbox) -> None:
    sandbox.store.populate(users=1, runtimes=500, flow_templates=0)
    ids = [document.id for document in sandbox.store.documents()]
    caller = Caller(sandbox, session="user0:pass0")
    caller.good("documentpool.info", -3, ids[-10], -1, 1337)
    caller.good("documentpool.info", -3, 0, -10, 1337)
    caller.good("documentpool.info", -3, -1, -1, 1337)
    by_range, by_page, whole = (call.response_bytes for call in sandbox.calls)
    assert by_range == by_page
    assert by_range * 40 < whole
