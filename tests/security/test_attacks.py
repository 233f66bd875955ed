"""The attacks on version 2.1.0, by their rows in the table of the security release.

Each was red there. The attacker is an ordinary user who writes documents through OpenNebula's own
API; none of these tests plants anything that he could not. Rows 1 to 6 are also cases of the
hostile matrix, with everything else that a document may claim.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from provision_engine.sandbox import Sandbox
from tests.conftest import Printed
from tests.contract.device import Device, Stage, raw_document
from tests.security.forgeries import dead_worker
from tests.support.client import RUNTIMES, Json, request
from tests.support.engine import engine_in_process, settings_for
from tests.support.installation import MovableClock
from tests.support.opennebula import (
    FLOW_TEMPLATE,
    RUNTIME,
    SERVICE,
    SERVICE_RUNS,
    OpenNebula,
    calls_of,
)
from tests.support.users import ADMINISTRATOR, OTHER, USER
from tests.support.waiting import wait_until

FAR_PAST, LATER_SECONDS = 1, 300.0
NO_ID = 2**31 - 2
MEGABYTE = 1_000_000
PUBLISHED, PRIVATE = (1, 1, 0, 1, 0, 0, 1, 0, 0), (1, 1, 0, 0, 0, 0, 0, 0, 0)
NATURE = {"FLAVOUR": "nature"}
Run = Callable[..., Printed]


@pytest.fixture
def clock() -> MovableClock:
    return MovableClock()


@pytest.fixture
def sandbox(clock: MovableClock) -> Iterator[Sandbox]:
    with Sandbox("7.4.0", clock=clock) as sandbox:
        yield sandbox


@pytest.fixture
def stage(sandbox: Sandbox, clock: MovableClock) -> Iterator[Stage]:
    stage = Stage(sandbox.oned_url, sandbox.oneflow_url, sandbox, clock)
    with engine_in_process(settings_for(sandbox, cache={"seconds": 0})) as stage.engine_url:
        yield stage


@pytest.fixture
def victim(stage: Stage) -> Device:
    return stage.device(USER)


@pytest.fixture
def attacker(stage: Stage) -> Device:
    return stage.device(OTHER)


@pytest.fixture
def runtime(victim: Device) -> Json:
    """A runtime of the victim that runs."""
    runtime = victim.create(FAAS=NATURE)
    victim.one.until_service_runs(runtime["SERVICE_ID"])
    return runtime


# ---- what the attacker writes --------------------------------------------------------------------


def plant(owner: Device, kind: int, body: Json | str, name: str = "forged", mode: Any = ()) -> int:
    """Write a document that everybody may read; its id."""
    text = body if isinstance(body, str) else json.dumps(body)
    number = raw_document(owner.one, name, text, kind)
    owner.one.call("document.chmod", number, *(mode or PUBLISHED))
    return number


def forged(phase: str, vm_id: int | None = None, **members: Any) -> Json:
    """The body of a runtime's document, written long ago."""
    engine = {"PHASE": phase, "CREATED_AT": FAR_PAST} | members.pop("ENGINE", {})
    function = {"FLAVOUR": "nature", "CPU": 1, "MEMORY": 128, "DISK_SIZE": 1024, "VM_ID": vm_id}
    return {"FAAS": function, "ENGINE": engine, **members}


def flow_template(vm_template_id: object, **members: Any) -> Json:
    role = {"name": "FAAS", "type": "vm", "cardinality": 1, "template_id": vm_template_id}
    return {"name": "x", "deployment": "straight", "roles": [role]} | members


def deep(start: str) -> str:
    return start + "[" * 100_000 + "]" * 100_000 + "}"


def lone_vm(owner: OpenNebula, service_id: object) -> int:
    """A VM that no engine made, and that claims to belong to a service."""
    number = int(owner.call("template.instantiate", 0, "lone", False, "", False))
    wait_until(lambda: owner.vm_state(number) == "RUNNING")
    claim = f'FLAVOURS="0"\nROLE_NAME="FAAS"\nSERVICE_ID="{service_id}"'
    owner.call("vm.update", number, claim, 1)
    return number


def reconcile(stage: Stage, run: Run, *arguments: str) -> Printed:
    """The administrator's command, some time later."""
    assert stage.clock is not None
    stage.clock.ahead_seconds += LATER_SECONDS
    return run("reconcile", "--older-than", "0", *arguments, user=ADMINISTRATOR)


# ---- 1: flow templates ---------------------------------------------------------------------------


def test_no_flavour_is_only_another_users(victim: Device, attacker: Device) -> None:
    """Row 1, where no publisher has a template of that name."""
    plant(attacker, FLOW_TEMPLATE, flow_template(0), "theirs")
    assert victim.post(FAAS={"FLAVOUR": "theirs"}).status == 422
    assert attacker.post(FAAS={"FLAVOUR": "theirs"}).status == 201


def test_whose_a_flavour_is_can_be_seen(victim: Device) -> None:
    """Row 1: no output named the owner."""
    flavours = victim.request("GET", "/flavours").json
    assert {flavour.get("OWNER") for flavour in flavours} == {ADMINISTRATOR.name}


# ---- 2 to 5: documents that name what is another user's ------------------------------------------


def test_nothing_is_shown_of_a_vm_that_is_somebody_elses(
    stage: Stage, attacker: Device, runtime: Json
) -> None:
    """Rows 2 to 4: where the attacker may read the VM, and to an administrator."""
    number = plant(attacker, RUNTIME, forged("READY", runtime["FAAS"]["VM_ID"]))
    port, path = stage.device().port, f"{RUNTIMES}/{number}"
    function = request(port, "GET", path, user=ADMINISTRATOR).runtime["FAAS"]
    assert (function["STATE"], function["ENDPOINT"]) == ("ERROR", "")
    steps = request(port, "GET", f"{path}/timeline", user=ADMINISTRATOR).json["STEPS"]
    assert [step["STEP"] for step in steps] == ["ASKED"]


def test_nobody_else_inherits_a_standby(
    stage: Stage, attacker: Device, victim: Device, runtime: Json, run: Run
) -> None:
    """Row 5: an engine died while it handed the standby over; the service lived on for nobody."""
    taken = {"PHASE": "TAKEN", "CREATED_AT": FAR_PAST}
    members = {"FAAS": {"VM_ID": runtime["FAAS"]["VM_ID"]}, "SERVICE_ID": runtime["SERVICE_ID"]}
    victim.one.write(runtime["ID"], members | {"ENGINE": taken})
    plant(attacker, RUNTIME, forged("READY", SERVICE_ID=runtime["SERVICE_ID"]))
    assert reconcile(stage, run, "--apply").code == 0
    wait_until(lambda: not victim.one.vm_ids() and not victim.one.ids(SERVICE))


# ---- 7: floods -----------------------------------------------------------------------------------


def bytes_read(device: Device) -> int:
    calls = [call for call in calls_of(device.sandbox) if call.user == device.user.name]
    return sum(call.response_bytes for call in calls)


def test_a_flood_of_published_flow_templates_costs_a_create_nothing(
    attacker: Device, victim: Device
) -> None:
    """Row 7: each create read all of them, and timed out."""
    victim.create(FAAS=NATURE)
    usual = bytes_read(victim)
    for _ in range(4):
        plant(attacker, FLOW_TEMPLATE, flow_template(0, x="x" * MEGABYTE))
    victim.sandbox.clear_calls()
    victim.create(FAAS=NATURE)
    assert bytes_read(victim) < 2 * usual + 100_000


def test_a_flood_of_published_services_costs_a_delete_nothing(
    attacker: Device, victim: Device
) -> None:
    """Row 7: an unfinished runtime could not be deleted any more."""
    engine = {"SERVICE_NAME": f"x_{uuid.uuid4()}", "WORKER": dead_worker()}
    number = plant(victim, RUNTIME, forged("CREATING", ENGINE=engine), mode=PRIVATE)
    for _ in range(4):
        plant(attacker, SERVICE, {"state": SERVICE_RUNS, "roles": [], "x": "x" * MEGABYTE})
    victim.sandbox.clear_calls()
    assert victim.get(number).status == 404
    assert victim.one.ids(RUNTIME) == set()
    assert bytes_read(victim) < 100_000


# ---- 8: broken flow templates --------------------------------------------------------------------

BROKEN: dict[str, Json | str] = {
    "roles 5": {"roles": 5},
    "roles null": {"roles": None},
    "a role 5": {"roles": [5]},
    "depth": deep('{"roles":'),
    "digits": flow_template("7" * 5_000),
    "superscript": flow_template("²"),
    "2^70": flow_template(2**70),
    "null": "null",
}


def flavours(device: Device) -> dict[str, bool]:
    """Whether each one can be deployed."""
    shown = device.request("GET", "/flavours").json
    return {flavour["FLAVOURS"]: flavour["DEPLOYABLE"] for flavour in shown}


def test_broken_flow_templates_hide_no_flavour(attacker: Device, victim: Device, run: Run) -> None:
    """Row 8: ``/flavours``, and with it the page's login, and ``check`` failed for everybody."""
    before = {name for name, is_deployable in flavours(victim).items() if is_deployable}
    for name, body in BROKEN.items():
        plant(attacker, FLOW_TEMPLATE, body, name)
    for device in (victim, attacker):
        assert {name for name, is_deployable in flavours(device).items() if is_deployable} == before
    assert "nature" in before
    assert run("check", "nature").code == 0


def test_a_broken_flow_template_of_a_publisher_is_a_finding(
    stage: Stage, victim: Device, run: Run
) -> None:
    """Row 8: one broken entry, which is named, and nothing else."""
    plant(stage.device(ADMINISTRATOR), FLOW_TEMPLATE, {"roles": 5}, "broken")
    assert flavours(victim).items() >= {"broken": False, "nature": True}.items()
    assert run("check", "nature").code == 0


# ---- 9: what stops reconcile ---------------------------------------------------------------------


def test_lost_vms_are_found_whatever_others_write(
    stage: Stage, attacker: Device, victim: Device, run: Run
) -> None:
    """Row 9: reconcile stopped midway, or overlooked the lost VMs of others."""
    lone_vm(victim.one, NO_ID)
    plant(attacker, RUNTIME, deep('{"ENGINE":'))
    plant(attacker, SERVICE, "5", f"x_{uuid.uuid4()}")
    lone_vm(attacker.one, "abc")
    wait_until(lambda: reconcile(stage, run, "--apply").code == 0 and not victim.one.vm_ids())


# ---- 16: smaller ones ----------------------------------------------------------------------------

OWN_BROKEN: list[Json | str] = [
    "{broken",
    "5",
    {"FAAS": 5},
    {"FAAS": {"VM_ID": []}, "ENGINE": []},
    forged("READY", 2**70, SERVICE_ID=2**70, LEASE={"TTL": 10**400}),
    forged("READY", ENGINE={"CREATED_AT": 10**400, "LEASE_ENDS_AT": 10**400}),
    forged("READY", DEVICE_INFO={"A": "\ud800"}),
    forged("READY", SCHEDULING=5, DEVICE_INFO=[1]),
    deep('{"FAAS":'),
]


def test_own_broken_documents_hide_no_runtime(victim: Device, runtime: Json) -> None:
    """Row 16: the owner's list was 500."""
    for body in OWN_BROKEN:
        plant(victim, RUNTIME, body, mode=PRIVATE)
    assert runtime["ID"] in [shown["ID"] for shown in victim.list()]


def test_one_user_leaves_standbys_to_others(stage: Stage, attacker: Device, victim: Device) -> None:
    """Row 16: who created two flavours first had all standbys of ``standby.max``."""
    kept = {"flavours": {"nature": 4, "Function": 4}, "max": 4}

    def standbys(device: Device) -> int:
        return [runtime.phase for runtime in device.one.runtimes()].count("STANDBY")

    with engine_in_process(settings_for(stage, standby=kept, server={"workers": 1})) as url:
        for device, flavour in ((attacker, "nature"), (attacker, "Function"), (victim, "nature")):
            stage.device(device.user, url).create(FAAS={"FLAVOUR": flavour})
        wait_until(lambda: (standbys(attacker), standbys(victim)) == (3, 1))
