"""The attacks on version 2.1.0, by their rows in the table of the security release.

Each was red there. The attacker is an ordinary user who writes documents through OpenNebula's own
API; none of these tests plants anything that he could not.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import pytest
import yaml
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from provision_engine import cli
from provision_engine.app import create_app
from provision_engine.cloud import template
from provision_engine.cloud.client import Backends, CloudClient, Credentials
from provision_engine.deadline import Deadline
from provision_engine.engine.actions import create
from provision_engine.engine.context import Context
from provision_engine.engine.memory import Memory
from provision_engine.engine.runtime.specification import Specification
from provision_engine.engine.safety import process
from provision_engine.errors import Locked
from provision_engine.sandbox import Sandbox
from tests.support.client import RUNTIMES, authorization, body_of
from tests.support.engine import configuration_for, settings_for
from tests.support.opennebula import FLOW_TEMPLATE, RUNTIME, SERVICE, OpenNebula
from tests.support.users import ADMINISTRATOR, OTHER, USER, User
from tests.support.waiting import wait_until

FAR_PAST, FAR = 1, 1_000_000
NO_ID = 2**31 - 2
STALE_SECONDS = 3.1
SETTINGS = {"timeout": 1.5, "lock": {"stale_seconds": STALE_SECONDS}, "cache": {"seconds": 0}}
MEGABYTE = 1_000_000
ESCAPES = "\x1b[2K\x1b]0;owned\x07\nE, all is well"
PUBLISHED, WRITABLE = "644", "666"
SERVICE_RUNS, FAILED_UNDEPLOYING = 2, 6
Json = dict[str, Any]


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox("7.4.0") as sandbox:
        yield sandbox


@pytest.fixture
def client(sandbox: Sandbox) -> FlaskClient:
    return create_app(configuration_for(sandbox, **SETTINGS)).test_client()


def as_user(sandbox: Sandbox, user: User) -> OpenNebula:
    return OpenNebula(sandbox.oned_url, sandbox.oneflow_url, user)


@pytest.fixture
def victim(sandbox: Sandbox) -> OpenNebula:
    return as_user(sandbox, USER)


@pytest.fixture
def attacker(sandbox: Sandbox) -> OpenNebula:
    return as_user(sandbox, OTHER)


@pytest.fixture
def runtime(sandbox: Sandbox, client: FlaskClient, victim: OpenNebula) -> Json:
    """A runtime of the victim that runs."""
    return made(client, victim)


def made(client: FlaskClient, owner: OpenNebula) -> Json:
    response = post(client, owner.user)
    assert response.status_code == 201, response.text
    runtime: Json = response.get_json()["SERVERLESS_RUNTIME"]
    wait_until(lambda: owner.service_state(runtime["SERVICE_ID"]) == SERVICE_RUNS)
    return runtime


def post(client: FlaskClient, user: User, flavour: str = "nature", **headers: str) -> TestResponse:
    body = body_of({"FAAS": {"FLAVOUR": flavour}})
    return client.post(RUNTIMES, data=body, headers=authorization(user) | headers)


def get(client: FlaskClient, user: User, path: str = "") -> TestResponse:
    return client.get(f"{RUNTIMES}{path}", headers=authorization(user))


def delete(client: FlaskClient, user: User, runtime_id: int) -> TestResponse:
    return client.delete(f"{RUNTIMES}/{runtime_id}", headers=authorization(user))


# ---- what the attacker writes --------------------------------------------------------------------


def plant(
    owner: OpenNebula, kind: int, body: Json | str, mode: str = PUBLISHED, name: str = "forged"
) -> int:
    """Write a document and set its permissions; its id."""
    text = body if isinstance(body, str) else json.dumps(body)
    number = int(owner.call("document.allocate", template.document(name, text), kind))
    bits = [int(bit) for digit in mode for bit in f"{int(digit):03b}"]
    owner.call("document.chmod", number, *bits)
    return number


def forged(phase: str, vm_id: int | None = None, **members: Any) -> Json:
    """The body of a runtime's document, written long ago."""
    engine = {"PHASE": phase, "CREATED_AT": FAR_PAST} | members.pop("ENGINE", {})
    function = {"FLAVOUR": "nature", "CPU": 1, "MEMORY": 128, "DISK_SIZE": 1024, "VM_ID": vm_id}
    return {"FAAS": function, "ENGINE": engine, **members}


def service(state: int, *vm_ids: int) -> Json:
    nodes = [{"deploy_id": vm_id} for vm_id in vm_ids]
    roles = [{"name": "FAAS", "state": state, "cardinality": 1, "nodes": nodes}]
    return {"name": "x", "state": state, "start_time": FAR_PAST, "roles": roles, "log": []}


def engine_made_name() -> str:
    return f"x_{uuid.uuid4()}"


def flow_template(vm_template_id: object, **members: Any) -> Json:
    role = {"name": "FAAS", "type": "vm", "cardinality": 1, "template_id": vm_template_id}
    return {"name": "x", "deployment": "straight", "roles": [role]} | members


# ---- commands ------------------------------------------------------------------------------------


class Printed:
    """What a command printed, and its exit code."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err


Run = Callable[..., Printed]


@pytest.fixture
def run(
    sandbox: Sandbox,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Run:
    """Calls a command as a user."""
    engine_conf, one_auth = tmp_path / "engine.conf", tmp_path / "one_auth"
    engine_conf.write_text(yaml.safe_dump(settings_for(sandbox, **SETTINGS)))
    monkeypatch.setenv("ONE_AUTH", str(one_auth))

    def run(command: str, *arguments: str, user: User = ADMINISTRATOR) -> Printed:
        one_auth.write_text(user.session)
        code = cli.main([command, "--config", str(engine_conf), *arguments])
        printed = capsys.readouterr()
        return Printed(code, printed.out, printed.err)

    return run


@pytest.fixture
def reconcile(run: Run) -> Callable[[User], Printed]:
    return lambda user: run("reconcile", "--apply", "--older-than", "0", user=user)


Reconcile = Callable[[User], Printed]


@pytest.fixture
def untouched(sandbox: Sandbox, victim: OpenNebula, runtime: Json) -> Iterator[None]:
    """The victim's runtime, and a VM that no engine made, are afterwards as they were."""
    lone = lone_vm(victim)

    def things() -> list[Any]:
        vms = [victim.call("vm.info", vm_id, False) for vm_id in (lone, runtime["FAAS"]["VM_ID"])]
        ids = runtime["ID"], runtime["SERVICE_ID"]
        return [*vms, *(victim.refusal("document.info", number, False) for number in ids)]

    before = things()
    yield
    assert things() == before


def lone_vm(owner: OpenNebula) -> int:
    """A VM that no engine made."""
    number = int(owner.call("template.instantiate", 0, "lone", False, "", False))
    wait_until(lambda: owner.vm_state(number) == "RUNNING")
    return number


# ---- 1: flow templates ---------------------------------------------------------------------------


def test_a_flavour_is_not_the_older_template_of_another_user(
    sandbox: Sandbox, client: FlaskClient, attacker: OpenNebula, victim: OpenNebula
) -> None:
    """Row 1: the attacker's START_SCRIPT ran in the victim's VM, with the victim's password."""
    script = 'CONTEXT=[START_SCRIPT="send $SR_AUTH"]\nCPU="1"\nMEMORY="128"'
    vm_template = int(attacker.call("template.allocate", f'NAME="mine"\n{script}'))
    attacker.call("template.chmod", vm_template, *[int(bit) for bit in "110100100"])
    plant(attacker, FLOW_TEMPLATE, flow_template(vm_template), name="late")
    published = sandbox.store.add_flow_template("late", [("FAAS", 0)])
    created = post(client, USER, "late")
    assert created.status_code == 201, created.text
    vm = victim.vm(created.get_json()["SERVERLESS_RUNTIME"]["FAAS"]["VM_ID"])
    assert vm["USER_TEMPLATE"]["FLAVOURS"] == str(published)
    assert "START_SCRIPT" not in vm["TEMPLATE"]["CONTEXT"]


def test_no_flavour_is_only_another_users(
    sandbox: Sandbox, client: FlaskClient, attacker: OpenNebula
) -> None:
    """Row 1, where no publisher has a template of that name."""
    plant(attacker, FLOW_TEMPLATE, flow_template(0), name="theirs")
    assert post(client, USER, "theirs").status_code == 422
    assert post(client, OTHER, "theirs").status_code == 201


def test_whose_a_flavour_is_can_be_seen(client: FlaskClient) -> None:
    """Row 1: no output named the owner."""
    flavours = client.get("/flavours", headers=authorization(USER)).get_json()
    assert {flavour.get("OWNER") for flavour in flavours} == {ADMINISTRATOR.name}


# ---- 2, 3, 4: documents and services that name what is another user's ---------------------------


@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize("mode", ["600", PUBLISHED, WRITABLE])
def test_an_administrator_ends_nothing_that_a_document_of_another_user_names(
    client: FlaskClient, attacker: OpenNebula, runtime: Json, reconcile: Reconcile, mode: str
) -> None:
    """Row 2: a GET, and the timer's reconcile, ended the VM of a third user."""
    number = plant(attacker, RUNTIME, forged("DELETING", runtime["FAAS"]["VM_ID"]), mode)
    get(client, ADMINISTRATOR, f"/{number}")
    get(client, ADMINISTRATOR)
    assert reconcile(ADMINISTRATOR).code == 0


@pytest.mark.usefixtures("untouched")
def test_reconcile_ends_no_vm_that_no_engine_made(
    attacker: OpenNebula, victim: OpenNebula, runtime: Json, reconcile: Reconcile
) -> None:
    """Row 2."""
    for vm_id in victim.vm_ids() - {runtime["FAAS"]["VM_ID"]}:
        plant(attacker, RUNTIME, forged("DELETING", vm_id))
    assert reconcile(ADMINISTRATOR).code == 0


@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize("state", [SERVICE_RUNS, FAILED_UNDEPLOYING])
def test_reconcile_ends_no_vm_that_a_forged_service_names(
    attacker: OpenNebula, runtime: Json, reconcile: Reconcile, state: int
) -> None:
    """Row 3: oneflow ends the VMs in ``nodes`` with the rights of whoever asks it."""
    forgery = service(state, runtime["FAAS"]["VM_ID"])
    number = plant(attacker, SERVICE, forgery, "600", engine_made_name())
    assert reconcile(ADMINISTRATOR).code == 0
    assert attacker.refusal("document.info", number, False)  # but the forgery is gone


@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize("user", [ADMINISTRATOR, USER])
def test_no_delete_ends_a_vm_that_a_forged_service_names(
    client: FlaskClient, attacker: OpenNebula, runtime: Json, user: User
) -> None:
    """Row 3, by a DELETE of whoever may: oneflow used the rights of the caller."""
    forgery = service(SERVICE_RUNS, runtime["FAAS"]["VM_ID"])
    number = plant(attacker, SERVICE, forgery, WRITABLE)
    document = plant(attacker, RUNTIME, forged("READY", SERVICE_ID=number), WRITABLE)
    assert delete(client, user, document).status_code == 204
    assert attacker.ids(RUNTIME) == set()


@pytest.mark.usefixtures("untouched")
def test_reconcile_removes_no_foreign_vm_with_an_own_service_that_failed(
    attacker: OpenNebula, runtime: Json, reconcile: Reconcile
) -> None:
    """Row 3."""
    number = plant(attacker, SERVICE, service(FAILED_UNDEPLOYING), "600")
    plant(attacker, RUNTIME, forged("READY", runtime["FAAS"]["VM_ID"], SERVICE_ID=number), "600")
    assert reconcile(ADMINISTRATOR).code == 0


@pytest.mark.usefixtures("untouched")
def test_reconcile_ends_no_foreign_service_of_a_replacement(
    attacker: OpenNebula, runtime: Json, reconcile: Reconcile
) -> None:
    """Row 3."""
    plant(attacker, RUNTIME, forged("REPLACING", SERVICE_ID=runtime["SERVICE_ID"]))
    assert reconcile(ADMINISTRATOR).code == 0


def test_reconcile_ends_no_service_because_of_its_name(
    client: FlaskClient, attacker: OpenNebula, victim: OpenNebula, reconcile: Reconcile
) -> None:
    """Row 3: a service of oneflow that no engine made, whose name can be guessed."""
    plant(attacker, RUNTIME, forged("DELETING", ENGINE={"SERVICE_NAME": "web"}))
    service_id = victim.start_service(victim.flow_template_id("nature"), "web")
    wait_until(lambda: victim.service_state(service_id) == SERVICE_RUNS)
    vm_ids = victim.service_vm_ids(service_id)
    assert reconcile(ADMINISTRATOR).code == 0
    assert victim.service_state(service_id) == SERVICE_RUNS
    assert victim.vm_states(vm_ids) == {"RUNNING"}


@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize("phase", ["DELETING", "READY", "CREATING", "REPLACING", "TAKEN"])
def test_the_victims_own_requests_end_nothing_that_a_writable_document_names(
    client: FlaskClient, attacker: OpenNebula, runtime: Json, phase: str
) -> None:
    """Row 4: the document was published with mode 666, and the victim read it."""
    over = {"LEASE_ENDS_AT": FAR_PAST, "LEASE_RENEWED": True}
    body = forged(phase, runtime["FAAS"]["VM_ID"], LEASE={"TTL": 1}, ENGINE=over)
    number = plant(attacker, RUNTIME, body, WRITABLE)
    get(client, USER, f"/{number}")
    get(client, USER, f"/{number}/timeline")
    get(client, USER)


def test_nothing_is_shown_of_a_vm_that_is_somebody_elses(
    client: FlaskClient, attacker: OpenNebula, runtime: Json
) -> None:
    """Rows 2 to 4: where the attacker may read the VM, and to an administrator."""
    number = plant(attacker, RUNTIME, forged("READY", runtime["FAAS"]["VM_ID"]))
    function = get(client, ADMINISTRATOR, f"/{number}").get_json()["SERVERLESS_RUNTIME"]["FAAS"]
    assert (function["STATE"], function["ENDPOINT"]) == ("ERROR", "")
    steps = get(client, ADMINISTRATOR, f"/{number}/timeline").get_json()["STEPS"]
    assert [step["STEP"] for step in steps] == ["ASKED"]


# ---- 5: standbys ---------------------------------------------------------------------------------


def test_nobody_else_inherits_a_standby(
    attacker: OpenNebula, victim: OpenNebula, runtime: Json, reconcile: Reconcile
) -> None:
    """Row 5: an engine died while it handed the standby over; the service lived on for nobody."""
    taken = {"PHASE": "TAKEN", "CREATED_AT": FAR_PAST}
    members = {"FAAS": {"VM_ID": runtime["FAAS"]["VM_ID"]}, "SERVICE_ID": runtime["SERVICE_ID"]}
    text = json.dumps(members | {"ENGINE": taken})
    victim.call("document.update", runtime["ID"], template.document_body(text), 0)
    plant(attacker, RUNTIME, forged("READY", SERVICE_ID=runtime["SERVICE_ID"]))
    assert reconcile(ADMINISTRATOR).code == 0
    wait_until(lambda: not victim.vm_ids() and not victim.ids(SERVICE))


# ---- 6: tickets ----------------------------------------------------------------------------------


def test_no_ticket_of_another_user_keeps_a_lock(
    client: FlaskClient, attacker: OpenNebula, victim: OpenNebula, runtime: Json
) -> None:
    """Row 6: with CREATED_AT in the future, the owner's requests were 423 for ever."""
    victim.call("document.lock", runtime["ID"], 3, True)
    since = victim.document(runtime["ID"]).findtext("LOCK/TIME")
    engine = {"PHASE": "DELETING", "CREATED_AT": int(time.time()) + FAR}
    name = f"takeover-{runtime['ID']}-{since}"
    plant(attacker, RUNTIME, {"ENGINE": engine}, WRITABLE, name)
    wait_until(lambda: int(time.time()) > int(since or 0) + STALE_SECONDS + 1)
    assert delete(client, USER, runtime["ID"]).status_code == 204


# ---- 7: floods -----------------------------------------------------------------------------------


def bytes_read(sandbox: Sandbox, user: User) -> int:
    calls = [call for call in sandbox.calls if call.user == user.name]
    return sum(call.response_bytes for call in calls)


def test_a_flood_of_published_flow_templates_costs_a_create_nothing(
    sandbox: Sandbox, client: FlaskClient, attacker: OpenNebula
) -> None:
    """Row 7: each create read all of them, and timed out."""
    assert post(client, USER).status_code == 201
    usual = bytes_read(sandbox, USER)
    for _ in range(4):
        plant(attacker, FLOW_TEMPLATE, flow_template(0, x="x" * MEGABYTE))
    sandbox.clear_calls()
    assert post(client, USER).status_code == 201
    assert bytes_read(sandbox, USER) < 2 * usual + 100_000


def test_a_flood_of_published_services_costs_a_delete_nothing(
    sandbox: Sandbox, client: FlaskClient, attacker: OpenNebula, victim: OpenNebula
) -> None:
    """Row 7: an unfinished runtime could not be deleted any more."""
    body = forged("CREATING", ENGINE={"SERVICE_NAME": engine_made_name(), "WORKER": gone()})
    number = plant(victim, RUNTIME, body, "600")
    for _ in range(4):
        plant(attacker, SERVICE, service(SERVICE_RUNS) | {"x": "x" * MEGABYTE})
    sandbox.clear_calls()
    assert get(client, USER, f"/{number}").status_code == 404
    assert victim.ids(RUNTIME) == set()
    assert bytes_read(sandbox, USER) < 100_000


def gone() -> str:
    """A process of this host that has ended."""
    return f"{process.identity().split()[0]} 4194999 1"


# ---- 8: broken flow templates --------------------------------------------------------------------

BROKEN: dict[str, Json | str] = {
    "roles 5": {"roles": 5},
    "roles null": {"roles": None},
    "a role 5": {"roles": [5]},
    "depth": '{"roles":' + "[" * 100_000 + "]" * 100_000 + "}",
    "digits": flow_template("7" * 5_000),
    "superscript": flow_template("²"),
    "2^70": flow_template(2**70),
    "null": "null",
}


def test_broken_flow_templates_hide_no_flavour(
    sandbox: Sandbox, client: FlaskClient, attacker: OpenNebula, run: Run
) -> None:
    """Row 8: ``/flavours``, and with it the page's login, and ``check`` failed for everybody."""

    def flavours(user: User) -> set[str]:
        response = client.get("/flavours", headers=authorization(user))
        assert response.status_code == 200, response.text
        return {entry["FLAVOURS"] for entry in response.get_json() if entry["DEPLOYABLE"]}

    before = flavours(USER)
    for name, body in BROKEN.items():
        plant(attacker, FLOW_TEMPLATE, body, name=name)
    assert flavours(USER) == before != set()
    assert flavours(OTHER) == before
    assert run("check", "nature", user=USER).code == 0


def test_a_broken_flow_template_of_a_publisher_is_a_finding(
    sandbox: Sandbox, client: FlaskClient, run: Run
) -> None:
    """Row 8: one broken entry, which is named, and nothing else."""
    plant(as_user(sandbox, ADMINISTRATOR), FLOW_TEMPLATE, {"roles": 5}, name="broken")
    shown = client.get("/flavours", headers=authorization(USER)).get_json()
    assert {f["FLAVOURS"]: f["DEPLOYABLE"] for f in shown}.items() >= {
        "broken": False,
        "nature": True,
    }.items()
    assert run("check", "nature", user=USER).code == 0


# ---- 9: what stops reconcile ---------------------------------------------------------------------


def _many_vms(attacker: OpenNebula) -> None:
    mentioned = [{"VM_ID": number} for number in range(50_000)]
    plant(attacker, RUNTIME, {"ENGINE": {"PHASE": "LATER"}, "FUNCTIONS": mentioned})


def claim_of(service_id: object) -> str:
    """The user template of a VM that an engine made for a service."""
    return f'FLAVOURS="0"\nROLE_NAME="FAAS"\nSERVICE_ID="{service_id}"'


def _claim(attacker: OpenNebula, service_id: str) -> None:
    attacker.call("vm.update", lone_vm(attacker), claim_of(service_id), 1)


STOPPERS: dict[str, Callable[[OpenNebula], object]] = {
    "depth": lambda one: plant(one, RUNTIME, '{"ENGINE":' + "[" * 100_000 + "]" * 100_000 + "}"),
    "time": lambda one: plant(one, RUNTIME, forged("DELETING", ENGINE={"CREATED_AT": 10**400})),
    "service id": lambda one: plant(one, RUNTIME, forged("READY", SERVICE_ID=2**70)),
    "service": lambda one: plant(one, SERVICE, "5", name=engine_made_name()),
    "VM": lambda one: _claim(one, "abc"),
    "VM of 5000 digits": lambda one: _claim(one, "7" * 5_000),
    "mentions": _many_vms,
}


def test_nothing_that_one_user_writes_stops_reconcile(
    attacker: OpenNebula, victim: OpenNebula, reconcile: Reconcile
) -> None:
    """Row 9: it exited with 1, stopped midway, or overlooked the lost VMs of others."""
    lost = lone_vm(victim)
    victim.call("vm.update", lost, claim_of(NO_ID), 1)
    for stop in STOPPERS.values():
        stop(attacker)
    time.sleep(STALE_SECONDS)  # a VM is found when it is older than any request
    wait_until(lambda: reconcile(ADMINISTRATOR).code == 0 and not victim.vm_ids())


# ---- 10: keys ------------------------------------------------------------------------------------


class Slots:
    """Which slots a request took."""

    def __init__(self) -> None:
        self.taken: list[str] = []

    def slot(self, name: str) -> Callable[[], AbstractContextManager[object]]:
        return lambda: nullcontext(self.taken.append(name))


def test_who_waits_for_a_key_occupies_no_slot_for_changes(
    sandbox: Sandbox, attacker: OpenNebula
) -> None:
    """Row 10: a forged CREATING document and as many keyed POSTs as there are slots."""
    configuration = configuration_for(sandbox, **SETTINGS)
    cloud = CloudClient(Backends(configuration), Credentials(*OTHER), Deadline(1.5))
    context = Context(cloud, configuration, Memory())
    engine = {"KEY": "k", "DIGEST": "d", "CREATED_AT": int(time.time())}
    plant(attacker, RUNTIME, forged("CREATING", ENGINE=engine), "600")
    slots, wanted = Slots(), Specification(digest="d")
    change, wait = slots.slot("change"), slots.slot("wait")
    with pytest.raises(Locked):
        create.create_runtime(context, wanted, "k", change_slot=change, wait_slot=wait)
    assert slots.taken == ["wait"]


# ---- 15: terminals -------------------------------------------------------------------------------


def test_reconcile_shows_no_control_characters(
    attacker: OpenNebula, run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    """Row 15: its output said what the attacker wanted."""
    for body in (
        forged(ESCAPES),
        forged("READY", ENGINE={"NAME": ESCAPES, "SERVICE_NAME": ESCAPES}),
        forged("DELETING", ENGINE={"WORKER": ESCAPES, "NAME": ESCAPES}),
        {"ENGINE": [ESCAPES]},
        {"ENGINE": {"PHASE": [ESCAPES]}},
    ):
        plant(attacker, RUNTIME, body)
    for arguments in ((), ("--apply",)):
        printed = run("reconcile", "--older-than", "0", *arguments)
        assert printed.code == 0, printed.err
        for text in (printed.out, printed.err, *(r.getMessage() for r in caplog.records)):
            assert all(c.isprintable() or c == "\n" for c in text), repr(text)
        assert "\nE, all is well" not in printed.out + printed.err


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
    '{"FAAS":' + "[" * 100_000 + "]" * 100_000 + "}",
]


def test_own_broken_documents_hide_no_runtime(
    client: FlaskClient, victim: OpenNebula, runtime: Json
) -> None:
    """Row 16: the owner's list was 500."""
    for body in OWN_BROKEN:
        plant(victim, RUNTIME, body, "600")
    response = get(client, USER)
    assert response.status_code == 200, response.text
    shown = [entry["SERVERLESS_RUNTIME"]["ID"] for entry in response.get_json()]
    assert runtime["ID"] in shown


def test_one_user_leaves_standbys_to_others(
    sandbox: Sandbox, attacker: OpenNebula, victim: OpenNebula
) -> None:
    """Row 16: who created two flavours first had all standbys of ``standby.max``."""
    kept = {"flavours": {"nature": 4, "Function": 4}, "max": 4}
    server = {"workers": 1}
    app = create_app(configuration_for(sandbox, standby=kept, server=server, timeout=30))
    for user, flavour in ((OTHER, "nature"), (OTHER, "Function"), (USER, "nature")):
        with post(app.test_client(), user, flavour) as response:
            assert response.status_code == 201, response.text
    backends = app.extensions["backends"]
    backends.background.submit(lambda: None).result(60)  # the last in the queue
    phases = [[r.phase for r in one.runtimes()].count("STANDBY") for one in (attacker, victim)]
    assert phases == [3, 1]
