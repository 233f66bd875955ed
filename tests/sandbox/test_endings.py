"""VMs and services that do not end at once: transient states, scheduled terminations."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from provision_engine.sandbox import ManualClock, Sandbox
from provision_engine.sandbox.services import S

from .client import SLOW_STEPS, Caller, contents, pass_time, state, vm_of

RELEASES = ("6.8.0", "7.4.0")
SETTLED_SECONDS = 10
SLOW_SECONDS = 60.0


@pytest.fixture(params=RELEASES)
def sandbox(request: pytest.FixtureRequest) -> Iterator[Sandbox]:
    with Sandbox(request.param, timings=SLOW_STEPS, clock=ManualClock()) as sandbox:
        yield sandbox


def _running(sandbox: Sandbox, template: str = "Function") -> int:
    service = Caller(sandbox).instantiate(template)
    pass_time(sandbox, SETTLED_SECONDS)
    assert state(sandbox, service) == S.RUNNING
    return service


def _order(sandbox: Sandbox, seconds: int = 0) -> str:
    at = sandbox.world.store.agenda.seconds() + seconds
    return f'SCHED_ACTION=[ACTION="terminate-hard",TIME="{at}"]'


@pytest.mark.parametrize("where", ["PROLOG", "BOOT"])
def test_a_service_disappears_before_its_starting_vm_ends(sandbox: Sandbox, where: str) -> None:
    sandbox.faults.drivers.set(where.lower(), slow_seconds=SLOW_SECONDS)
    caller = Caller(sandbox)
    service = caller.instantiate()
    pass_time(sandbox, SETTLED_SECONDS)
    vm = vm_of(sandbox, service)
    assert sandbox.store.living_vms() == {vm: where}
    assert f"wrong state {where}" in caller.refused("vm.action", "terminate-hard", vm)[1]
    assert caller.flow("DELETE", f"/service/{service}")[0] == 500
    assert caller.act(service, "recover", delete=True)[0] == 500
    assert state(sandbox, service) == S.FAILED_UNDEPLOYING
    assert sandbox.store.orphaned_vms() == []
    assert caller.act(service, "recover", delete=True)[0] == 204
    assert state(sandbox, service) is None
    assert sandbox.store.orphaned_vms() == [vm]
    pass_time(sandbox, SLOW_SECONDS + SETTLED_SECONDS)
    assert sandbox.store.living_vms() == {vm: "RUNNING"}


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


def test_after_the_first_role_that_fails_the_others_are_not_ended(sandbox: Sandbox) -> None:
    sandbox.faults.drivers.set("boot", slow_seconds=SLOW_SECONDS)
    caller = Caller(sandbox)
    service = caller.instantiate("Function-Data")
    pass_time(sandbox, SETTLED_SECONDS)
    answers = [caller.act(service, "recover", delete=True) for _ in range(3)]
    assert [status for status, _ in answers] == [500, 500, 204]
    assert ["role FAAS" in answers[0][1], "role DAAS" in answers[1][1]] == [True, True]
    assert len(sandbox.store.orphaned_vms()) == 2


def test_a_second_delete_removes_a_service_whose_vm_still_shuts_down(sandbox: Sandbox) -> None:
    sandbox.faults.drivers.set("shutdown", slow_seconds=SLOW_SECONDS)
    caller, service = Caller(sandbox), _running(sandbox)
    assert caller.flow("DELETE", f"/service/{service}")[0] == 204
    assert state(sandbox, service) == S.UNDEPLOYING
    assert caller.flow("DELETE", f"/service/{service}")[0] == 204
    assert state(sandbox, service) is None
    assert list(sandbox.store.living_vms().values()) == ["SHUTDOWN"]


def test_a_scheduled_termination_is_retried_until_it_succeeds(sandbox: Sandbox) -> None:
    sandbox.faults.drivers.set("boot", slow_seconds=30)
    sandbox.timings = replace(SLOW_STEPS, action_retry_seconds=20)
    caller = Caller(sandbox)
    service = caller.instantiate()
    pass_time(sandbox, SETTLED_SECONDS)
    vm = vm_of(sandbox, service)
    order = caller.good("vm.schedadd", vm, _order(sandbox))
    pass_time(sandbox, 1)
    shown = caller.good("vm.info", vm, False)
    assert f"<ID>{order}</ID><PARENT_ID>{vm}<" in shown
    assert "Could not terminate VM 0, wrong state BOOT.</MESSAGE>" in shown
    pass_time(sandbox, 28)
    assert sandbox.store.living_vms() == {vm: "RUNNING"}
    pass_time(sandbox, 20)
    assert sandbox.store.living_vms() == {}


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


def test_ids_of_scheduled_actions_are_global(sandbox: Sandbox) -> None:
    caller = Caller(sandbox)
    vms = [vm_of(sandbox, _running(sandbox)) for _ in range(2)]
    first, second = (caller.good("vm.schedadd", vm, _order(sandbox, 99)) for vm in vms)
    assert second == first + 1


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


def test_an_owner_cannot_recover_a_vm_that_failed_to_boot(sandbox: Sandbox) -> None:
    sandbox.faults.drivers.set("boot", fails=True)
    caller = Caller(sandbox)
    service = caller.instantiate()
    pass_time(sandbox, 4)
    sandbox.faults.drivers.reset("boot")
    assert caller.act(service, "recover")[0] == 204
    pass_time(sandbox, SETTLED_SECONDS)
    assert list(sandbox.store.living_vms().values()) == ["BOOT_FAILURE"]
    assert state(sandbox, service) == S.WARNING
    assert caller.act(service, "recover")[0] == 500


def test_a_service_with_a_failed_shutdown_stays_with_its_running_vm(sandbox: Sandbox) -> None:
    caller, service = Caller(sandbox), _running(sandbox)
    sandbox.faults.drivers.set("shutdown", fails=True)
    assert caller.flow("DELETE", f"/service/{service}")[0] == 204
    pass_time(sandbox, SETTLED_SECONDS)
    assert list(sandbox.store.living_vms().values()) == ["RUNNING"]
    assert state(sandbox, service) == S.UNDEPLOYING


def test_a_vm_that_is_done_leaves_its_service_without_vms(sandbox: Sandbox) -> None:
    service = _running(sandbox)
    Caller(sandbox).good("vm.action", "terminate-hard", vm_of(sandbox, service))
    pass_time(sandbox, SETTLED_SECONDS)
    body = sandbox.store.service(service)
    assert body is not None
    assert (body["state"], body["roles"][0]["nodes"]) == (S.RUNNING, [])


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


def test_a_missing_vm_template_with_contents(sandbox: Sandbox) -> None:
    release = sandbox.world.store.release.version
    service = Caller(sandbox).instantiate(
        "FAILED_DEPLOY", roles=[{"name": "FAAS", **contents(release, CPU="1")}]
    )
    pass_time(sandbox, SLOW_SECONDS)
    body = sandbox.store.service(service)
    assert body is not None
    if release.startswith("7"):
        assert body["state"] == S.DEPLOYING_NETS
        assert [entry["severity"] for entry in body["log"]] == ["I"]
    else:
        assert body["state"] == S.FAILED_DEPLOYING


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


def test_a_requirement_that_does_not_parse_waits_alone(sandbox: Sandbox) -> None:
    bad, good = _pending(sandbox, SCHED_REQUIREMENTS="A B ("), _pending(sandbox)
    pass_time(sandbox, SLOW_SECONDS)
    assert sandbox.store.vm_state(vm_of(sandbox, good)) == "RUNNING"
    shown = sandbox.store.vm_xml(vm_of(sandbox, bad))
    assert "Error in SCHED_REQUIREMENTS: " in shown


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
