"""oneflow's services, from creation to deletion, in both dialects."""

from __future__ import annotations

from typing import Any

import pytest

from provision_engine.sandbox import Sandbox
from provision_engine.sandbox.service_body import ServiceState
from provision_engine.sandbox.services import CAN_UNDEPLOY

from .client import Caller, contents, pass_time, state, vm_of

S = ServiceState


def _running(sandbox: Sandbox, **merge: Any) -> int:
    service = Caller(sandbox).instantiate(**merge)
    pass_time(sandbox, 5)
    assert state(sandbox, service) == S.RUNNING
    return service


def _log(sandbox: Sandbox, service: int) -> list[str]:
    body = sandbox.store.service(service)
    assert body is not None
    return [entry["message"] for entry in body.get("log", [])]


def _release(sandbox: Sandbox) -> str:
    return sandbox.world.store.release.version


def test_from_creation_to_deletion(sandbox: Sandbox) -> None:
    service = Caller(sandbox).instantiate(name="x")
    seen = []
    for _ in range(6):
        seen.append(state(sandbox, service))
        pass_time(sandbox, 1)
    assert seen == [
        S.DEPLOYING_NETS, S.DEPLOYING, S.DEPLOYING, S.DEPLOYING, S.DEPLOYING, S.RUNNING,
    ]  # fmt: skip
    assert Caller(sandbox).flow("DELETE", f"/service/{service}") == (204, "")
    seen = []
    for _ in range(5):
        seen.append(state(sandbox, service))
        pass_time(sandbox, 1)
    assert seen == [S.UNDEPLOYING, S.UNDEPLOYING, S.UNDEPLOYING, S.UNDEPLOYING_NETS, None]
    assert sandbox.store.count() == {"runtimes": 0, "services": 0, "vms": 0}


@pytest.mark.parametrize("here", sorted(set(S) - {S.DONE, S.UNKNOWN}))
def test_delete_and_recover_with_delete(sandbox: Sandbox, here: ServiceState) -> None:
    service = _running(sandbox)
    number = sandbox.world.store.documents.get(service)
    found = sandbox.world.services.get(number)
    found.body["state"] = int(here)
    found.save()
    status, text = Caller(sandbox).flow("DELETE", f"/service/{service}")
    if here in CAN_UNDEPLOY:
        assert status == 204
        return
    assert (status, text) == (500, f"Service cannot be undeployed in state: {here.name}")
    assert Caller(sandbox).act(service, "recover", delete=True)[0] == 204
    pass_time(sandbox, 5)
    assert sandbox.store.count() == {"runtimes": 0, "services": 0, "vms": 0}


def test_a_pending_vm_keeps_a_service_deploying(sandbox: Sandbox) -> None:
    wanted = contents(_release(sandbox), SCHED_REQUIREMENTS="ENERGY=50")
    service = Caller(sandbox).instantiate(roles=[{"name": "FAAS", **wanted}])
    pass_time(sandbox, 1000)
    assert state(sandbox, service) == S.DEPLOYING
    assert Caller(sandbox).act(service, "recover", delete=True)[0] == 204
    pass_time(sandbox, 3)
    assert sandbox.store.count()["vms"] == 0


@pytest.mark.parametrize(
    ("template", "why"),
    [
        ("FAILED_DEPLOY", "Error getting virtual machine template [999]."),
        ("DenyVMTemplate", "Not authorized to perform USE TEMPLATE [2]."),
    ],
)
def test_failed_deploys(sandbox: Sandbox, template: str, why: str) -> None:
    service = Caller(sandbox).instantiate(template)
    pass_time(sandbox, 1)
    assert state(sandbox, service) == S.FAILED_DEPLOYING
    assert _log(sandbox, service)[1].endswith(why)
    assert Caller(sandbox).act(service, "recover")[0] == 204
    pass_time(sandbox, 1)
    assert _log(sandbox, service)[-1] == "New state: FAILED_DEPLOYING"


def test_a_second_role_that_fails_leaves_the_first_ones_vm(sandbox: Sandbox) -> None:
    sandbox.store.set_quota("devuser", VMS=1)
    service = Caller(sandbox).instantiate("Function-Data")
    pass_time(sandbox, 1)
    assert state(sandbox, service) == S.FAILED_DEPLOYING
    assert "VMS quota" in _log(sandbox, service)[1]
    assert len(sandbox.store.live_vms()) == 1
    Caller(sandbox).act(service, "recover", delete=True)
    pass_time(sandbox, 5)
    assert sandbox.store.count() == {"runtimes": 0, "services": 0, "vms": 0}


def test_a_vm_in_trouble_turns_its_service_to_warning_and_back(sandbox: Sandbox) -> None:
    service = _running(sandbox)
    vm = vm_of(sandbox, service)
    Caller(sandbox).good("vm.action", "poweroff", vm)
    pass_time(sandbox, 2)
    assert state(sandbox, service) == S.WARNING
    Caller(sandbox).good("vm.action", "resume", vm)
    pass_time(sandbox, 2)
    assert state(sandbox, service) == S.RUNNING
    assert Caller(sandbox).act(service, "recover")[1].endswith("in state: RUNNING")


def test_a_resize_does_not_affect_the_service(sandbox: Sandbox) -> None:
    service = _running(sandbox)
    Caller(sandbox).good("vm.resize", vm_of(sandbox, service), "CPU=2", True)
    pass_time(sandbox, 5)
    assert "New state: WARNING" not in _log(sandbox, service)


def test_boot_failure_and_what_recover_does(sandbox: Sandbox) -> None:
    sandbox.faults.drivers.set("boot", fails=True)
    service = Caller(sandbox).instantiate()
    pass_time(sandbox, 6)
    assert state(sandbox, service) == S.FAILED_DEPLOYING
    sandbox.faults.clear()
    assert Caller(sandbox).act(service, "recover") == (204, "")
    assert "Retry failed for VM" in _log(sandbox, service)[-3]
    assert state(sandbox, service) == S.WARNING
    assert Caller(sandbox).flow("DELETE", f"/service/{service}")[0] == 204


def test_an_admins_recover_retries(sandbox: Sandbox) -> None:
    sandbox.faults.drivers.set("boot", fails=True)
    service = Caller(sandbox).instantiate()
    pass_time(sandbox, 6)
    sandbox.faults.clear()
    assert Caller(sandbox, "oneadmin").act(service, "recover") == (204, "")
    pass_time(sandbox, 2)
    assert state(sandbox, service) == S.RUNNING


def test_the_ready_gate(sandbox: Sandbox) -> None:
    service = Caller(sandbox).instantiate(ready_status_gate=True)
    pass_time(sandbox, 60)
    assert state(sandbox, service) == S.DEPLOYING
    sandbox.store.set_user_template(vm_of(sandbox, service), 'READY="YES"')
    pass_time(sandbox, 1)
    assert state(sandbox, service) == S.RUNNING


@pytest.mark.parametrize(("automatic", "left"), [(True, None), (False, S.RUNNING)])
def test_automatic_deletion(sandbox: Sandbox, automatic: bool, left: int | None) -> None:
    service = _running(sandbox, automatic_deletion=automatic)
    Caller(sandbox).good("vm.action", "terminate-hard", vm_of(sandbox, service))
    pass_time(sandbox, 5)
    assert state(sandbox, service) == left


def test_parents_come_first(sandbox: Sandbox) -> None:
    number = sandbox.store.add_flow_template("family", [("DAAS", 1), ("FAAS", 0)])
    document = sandbox.world.store.documents.get(number)
    text = document.template.text("BODY") or ""
    text = text.replace('{"name":"FAAS",', '{"name":"FAAS","parents":["DAAS"],')
    document.template.set("BODY", text)
    service = Caller(sandbox).instantiate("family")
    pass_time(sandbox, 3)
    assert len(sandbox.store.live_vms()) == 1
    pass_time(sandbox, 10)
    assert len(sandbox.store.live_vms()) == 2
    assert state(sandbox, service) == S.RUNNING


def test_merging_of_roles(sandbox: Sandbox) -> None:
    """6.x merges roles by position, 7.x by name."""
    release = _release(sandbox)
    roles = [
        {"name": "DAAS", **contents(release, CPU="3")},
        {"name": "FAAS", **contents(release, CPU="2")},
    ]
    service = Caller(sandbox).instantiate("Function-Data", roles=roles)
    pass_time(sandbox, 2)
    body = sandbox.store.service(service)
    assert body is not None
    names = [role["name"] for role in body["roles"]]
    cpus = [sandbox.store.vm(vm_of(sandbox, service, i)).cpu for i in (0, 1)]
    is_six = release.startswith("6")
    assert (names, cpus) == ((["DAAS", "FAAS"], [3, 2]) if is_six else (["FAAS", "DAAS"], [2, 3]))


def test_templates_of_the_other_dialect(sandbox: Sandbox) -> None:
    """6.8 refuses those of 7.x, which converts those of 6.8."""
    is_six = _release(sandbox).startswith("6")
    key = "template_id" if is_six else "vm_template"
    body = {"name": "foreign", "roles": [{"name": "FAAS", key: 0, "cardinality": 1}]}
    status, answer = Caller(sandbox).flow("POST", "/service_template", body)
    if is_six:
        assert (status, answer) == (400, "KEY: 'vm_template' is required;")
        return
    service = Caller(sandbox).instantiate("foreign")
    pass_time(sandbox, 5)
    assert (status, state(sandbox, service)) == (201, S.RUNNING)


def test_service_templates_over_rest(sandbox: Sandbox) -> None:
    caller, key = Caller(sandbox), sandbox.world.store.release.role_template_key
    body = {"name": "mine", "roles": [{"name": "FAAS", "type": "vm", key: 0, "cardinality": 2}]}
    status, answer = caller.flow("POST", "/service_template", body)
    number = answer["DOCUMENT"]["ID"]
    assert (status, answer["DOCUMENT"]["TYPE"]) == (201, "101")
    assert Caller(sandbox, "other").flow("GET", f"/service_template/{number}")[0] == 401
    path = f"/service_template/{number}"
    chmod = {"action": {"perform": "chmod", "params": {"octet": "644"}}}
    assert caller.flow("POST", f"{path}/action", chmod)[0] == 204
    assert Caller(sandbox, "other").flow("GET", path)[0] == 200
    service = caller.instantiate("mine")
    pass_time(sandbox, 2)
    assert len(sandbox.store.live_vms()) == 2
    assert caller.act(service, "rename", name="other name")[0] == 204
    changed = caller.flow("PUT", path, body | {"description": "changed"})[1]
    assert changed["DOCUMENT"]["TEMPLATE"]["BODY"]["description"] == "changed"
    assert caller.flow("DELETE", path)[0] == 204
    assert caller.flow("GET", path)[0] == 404


@pytest.mark.parametrize(
    "merge",
    [{"roles": [1]}, {"roles": {"a": 1}}, {"roles": [{"name": "FAAS", "cardinality": "x"}]}],
)
def test_an_invalid_request_is_a_500_and_leaves_nothing(
    sandbox: Sandbox, merge: dict[str, Any]
) -> None:
    number = sandbox.store.flow_templates()["Function"]
    action = {"action": {"perform": "instantiate", "params": {"merge_template": merge}}}
    status, _ = Caller(sandbox).flow("POST", f"/service_template/{number}/action", action)
    assert status == 500
    assert sandbox.store.services() == []


def test_a_document_of_another_type_is_not_a_service(sandbox: Sandbox) -> None:
    number = Caller(sandbox).good("document.allocate", "A=1", 1337)
    status, text = Caller(sandbox).flow("GET", f"/service/{number}")
    assert (status, text) == (500, f"[DocumentInfo] Error getting document [{number}].")


def test_the_body_is_the_same_through_both_services(sandbox: Sandbox) -> None:
    service = _running(sandbox)
    shown = Caller(sandbox).flow("GET", f"/service/{service}")[1]["DOCUMENT"]["TEMPLATE"]["BODY"]
    assert shown | {"id": service} == sandbox.store.service(service)
    text = Caller(sandbox).good("document.info", service, False)
    assert f'"state":{S.RUNNING.value},"start_time"' in text


@pytest.mark.parametrize(
    "body",
    [
        "", "{", "[]", "[" * 5000, '{"roles": 5}', '{"roles": [{}], "state": 2}',
        '{"roles": [{"nodes": [{"deploy_id": 0}], "state": 1}], "state": 1, "log": 5}',
        '{"roles": [{"nodes": [5, {}], "cardinality": "x", "state": 2}], "state": 2}',
        '{"state": ' + "9" * 5000 + "}",
    ],
)  # fmt: skip
def test_a_broken_body_harms_no_other_service(sandbox: Sandbox, body: str) -> None:
    """What a user writes into a service while its VM boots makes no other call fail."""
    mine = Caller(sandbox).instantiate()
    pass_time(sandbox, 2)
    text = f"<T><BODY><![CDATA[{body}]]></BODY></T>"
    Caller(sandbox).good("document.update", mine, text, 0)
    service = Caller(sandbox, "other").instantiate()
    pass_time(sandbox, 6)
    assert state(sandbox, service) == S.RUNNING
    assert len(sandbox.store.services()) == 2
