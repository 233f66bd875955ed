"""POST /serverless-runtimes."""

from __future__ import annotations

import dataclasses
import re
from concurrent.futures import ThreadPoolExecutor

import pytest

from provision_engine.sandbox import Sandbox

from .conftest import MAPPED, QUICK, Stage
from .device import PATH, Device, data, small
from .opennebula import OpenNebula, until
from .settings import ADMIN, DATA_FLAVOUR, DENIED_FLAVOUR, DISK_MB, ENGINE, FAILING_FLAVOUR, FLAVOUR


def test_a_new_runtime_is_pending_and_has_a_vm(
    device: Device,
) -> None:
    answer = device.post(FAAS=small())
    assert answer.status_code == 201
    runtime = answer.json()["SERVERLESS_RUNTIME"]
    assert runtime["FAAS"]["STATE"] == "PENDING"
    assert runtime["FAAS"]["FLAVOUR"] == FLAVOUR
    assert type(runtime["FAAS"]["VM_ID"]) is int
    assert "DAAS" not in runtime
    assert answer.headers["Location"].endswith(f"{PATH}/{runtime['ID']}")


def test_a_runtime_becomes_running_and_gets_an_endpoint(device: Device) -> None:
    runtime = device.create_running(FAAS=small())
    assert runtime["FAAS"]["STATE"] == "RUNNING"
    assert re.fullmatch(r"[0-9a-fA-F.:]+", runtime["FAAS"]["ENDPOINT"])


def test_a_data_vm_is_created_beside_the_function_vm(
    device: Device, opennebula: OpenNebula
) -> None:
    born = device.create(FAAS=small(CPU=2), DAAS=data(MEMORY=192))
    assert born["DAAS"]["STATE"] == born["FAAS"]["STATE"] == "PENDING"
    runtime = device.read_until(born["ID"], "RUNNING")
    assert (runtime["FAAS"]["FLAVOUR"], runtime["DAAS"]["FLAVOUR"]) == (FLAVOUR, DATA_FLAVOUR)
    assert runtime["FAAS"]["VM_ID"] != runtime["DAAS"]["VM_ID"]
    faas = opennebula.vm(runtime["FAAS"]["VM_ID"])
    daas = opennebula.vm(runtime["DAAS"]["VM_ID"])
    assert faas["USER_TEMPLATE"]["ROLE_NAME"] == "FAAS"
    assert daas["USER_TEMPLATE"]["ROLE_NAME"] == "DAAS"
    assert (faas["TEMPLATE"]["CPU"], daas["TEMPLATE"]["CPU"]) == ("2", "1")
    assert (faas["TEMPLATE"]["MEMORY"], daas["TEMPLATE"]["MEMORY"]) == ("128", "192")


def test_a_flavour_is_found_by_the_mapping_of_the_configuration(
    device: Device, opennebula: OpenNebula
) -> None:
    if ENGINE:
        pytest.skip("the running engine has its own configuration")
    runtime = device.create(FAAS=small(FLAVOUR=MAPPED))
    assert runtime["FAAS"]["FLAVOUR"] == MAPPED
    vm = opennebula.vm(runtime["FAAS"]["VM_ID"])
    assert int(vm["USER_TEMPLATE"]["FLAVOURS"]) == opennebula.flow_template_id(FLAVOUR)


def test_a_runtime_has_the_requested_name(device: Device, opennebula: OpenNebula) -> None:
    runtime = device.create(NAME='lamp <7> & "é" 漢', FAAS=small())
    assert runtime["NAME"] == 'lamp <7> & "é" 漢'
    assert device.read(runtime["ID"])["NAME"] == runtime["NAME"]
    # OpenNebula refuses some of these characters in the name of a document.
    assert opennebula.document(runtime["ID"]).findtext("NAME") == "lamp _7_ _ _é_ 漢"


@pytest.mark.parametrize("name", ["x" * 128, "漢" * 128, " with blanks ", "]] >", "a\\b"])
def test_any_name_of_up_to_128_characters_comes_back_as_it_was_sent(
    device: Device, name: str
) -> None:
    runtime = device.create(NAME=name, FAAS=small())
    assert runtime["NAME"] == name
    assert device.read(runtime["ID"])["NAME"] == name


def test_two_runtimes_may_have_the_same_name(device: Device) -> None:
    first, second = (device.create(NAME="twin", FAAS=small()) for _ in range(2))
    assert first["ID"] != second["ID"]
    assert first["NAME"] == second["NAME"] == "twin"


@pytest.mark.parametrize("members", [{}, {"NAME": ""}])
def test_a_runtime_without_a_name_is_named_after_its_flavours(
    device: Device, members: dict
) -> None:
    runtime = device.create(FAAS=small(), DAAS=data(), **members)
    assert re.fullmatch(rf"{FLAVOUR}-{DATA_FLAVOUR}_[0-9a-f-]{{36}}", runtime["NAME"])


def test_only_faas_and_its_flavour_are_required(device: Device) -> None:
    runtime = device.create(FAAS={"FLAVOUR": FLAVOUR})
    assert runtime["FAAS"]["CPU"] >= 1
    assert runtime["FAAS"]["MEMORY"] >= 1


def test_missing_sizes_come_from_the_vm_template(device: Device, sandbox: Sandbox) -> None:
    """CPU 1 and MEMORY 128 are the VM template's; DISK_SIZE, which it lacks, engine.conf's."""
    faas = device.create(FAAS={"FLAVOUR": FLAVOUR})["FAAS"]
    assert (faas["CPU"], faas["MEMORY"], faas["DISK_SIZE"]) == (1, 128, 1024)


def test_scheduling_and_device_info_come_back_as_they_were_sent(device: Device) -> None:
    sent = {
        "SCHEDULING": {"POLICY": "energy", "REQUIREMENTS": "FREE_CPU > 10"},
        "DEVICE_INFO": {
            "LATENCY_TO_PE": 0.36,
            "GEOGRAPHIC_LOCATION": "Madrid",
            "BATTERY": 80,
            "OWNER_1": "é",
        },
    }
    born = device.create(FAAS=small(), **sent)
    seen = device.read(born["ID"])
    for name, value in sent.items():
        assert born[name] == seen[name] == value


def test_an_unknown_flavour_is_rejected_with_faas_and_daas_as_sent(device: Device) -> None:
    faas, daas = {"FLAVOUR": "no such", "CPU": 1}, {"FLAVOUR": "thing", "X": [1]}
    answer = device.post(FAAS=faas, DAAS=daas)
    assert answer.status_code == 422
    assert answer.json()["message"] == {"FAAS": faas, "DAAS": daas}


def test_a_flavour_whose_vm_template_the_user_may_not_use_is_forbidden(device: Device) -> None:
    assert device.post(FAAS=small(FLAVOUR=DENIED_FLAVOUR)).status_code == 403


def test_a_flavour_whose_vm_template_is_missing_starts_nothing(
    device: Device, opennebula: OpenNebula
) -> None:
    """oneflow 7 would neither deploy such a service nor give up."""
    before = opennebula.holdings()
    answer = device.post(FAAS=small(FLAVOUR=FAILING_FLAVOUR))
    assert answer.status_code == 500
    assert answer.json()["message"] == "Role FAAS: VM template 999 does not exist"
    assert opennebula.holdings() == before


def test_a_failed_deployment_is_reported_with_its_log_and_leaves_nothing(
    device: Device, opennebula: OpenNebula, sandbox: Sandbox
) -> None:
    before = opennebula.holdings()
    sandbox.store.add_flow_template("third role", [("FAAS", 0), ("DAAS", 1), ("OTHER", 2)])
    answer = device.post(FAAS=small(FLAVOUR="third role"))
    assert answer.status_code == 500
    log = answer.json()["message"]
    assert any("Not authorized to perform USE TEMPLATE" in e["message"] for e in log)
    assert all({"timestamp", "severity", "message"} <= entry.keys() for entry in log)
    assert until(lambda: opennebula.holdings() == before)


@pytest.mark.parametrize("limits", [{"VMS": 0}, {"MEMORY": 64}, {"CPU": 1}])
def test_an_exhausted_quota_is_a_lack_of_capacity_and_leaves_nothing(
    device: Device, sandbox: Sandbox, stage: Stage, limits: dict
) -> None:
    before = stage.opennebula.holdings()
    sandbox.store.set_quota(stage.opennebula.user.name, **limits)
    answer = device.post(FAAS=small(CPU=2))
    assert answer.status_code == 422
    assert "quota" in answer.text
    assert until(lambda: stage.opennebula.holdings() == before)


def test_a_quota_that_allows_only_one_of_two_vms_leaves_nothing(
    device: Device, sandbox: Sandbox, stage: Stage
) -> None:
    before = stage.opennebula.holdings()
    sandbox.store.set_quota(stage.opennebula.user.name, VMS=1)
    assert device.post(FAAS=small(), DAAS=data()).status_code == 422
    assert until(lambda: stage.opennebula.holdings() == before)


def test_a_user_who_may_use_no_flow_template_at_all_is_forbidden(
    stage: Stage, device: Device, sandbox: Sandbox
) -> None:
    admin = stage.seen_by(ADMIN)
    ids = sandbox.store.flow_templates().values()
    for flow_template_id in ids:
        admin.call("document.chmod", flow_template_id, 1, 1, 0, 0, 0, 0, 0, 0, 0)
    try:
        answer = device.post(FAAS=small())
    finally:
        for flow_template_id in ids:
            admin.call("document.chmod", flow_template_id, 1, 1, 0, 1, 0, 0, 1, 0, 0)
    assert answer.status_code == 403


def test_the_first_disk_has_the_requested_size(device: Device, opennebula: OpenNebula) -> None:
    runtime = device.create(FAAS=small())
    assert runtime["FAAS"]["DISK_SIZE"] == DISK_MB
    disk = opennebula.vm(runtime["FAAS"]["VM_ID"])["TEMPLATE"]["DISK"]
    assert (disk[0] if isinstance(disk, list) else disk)["SIZE"] == str(DISK_MB)


def test_the_service_and_the_document_belong_to_the_caller(
    device: Device, opennebula: OpenNebula
) -> None:
    runtime = device.create()
    assert opennebula.document(runtime["ID"]).findtext("TYPE") == "1337"
    assert opennebula.document(runtime["SERVICE_ID"]).findtext("TYPE") == "100"
    for number in (runtime["ID"], runtime["SERVICE_ID"]):
        assert opennebula.document(number).findtext("UNAME") == opennebula.user.name


def test_runtimes_created_at_the_same_time_are_distinct(device: Device) -> None:
    with ThreadPoolExecutor(6) as threads:
        made = list(threads.map(lambda _: device.create(FAAS=small()), range(6)))
    for key in ("ID", "SERVICE_ID", "NAME"):
        assert len({runtime[key] for runtime in made}) == 6
    assert len({runtime["FAAS"]["VM_ID"] for runtime in made}) == 6


def test_a_service_whose_vms_do_not_appear_in_time_is_a_504_and_leaves_nothing(
    device: Device, stage: Stage, sandbox: Sandbox, opennebula: OpenNebula
) -> None:
    before = opennebula.holdings()
    sandbox.timings = dataclasses.replace(QUICK, vms_visible_seconds=3600.0)
    # Of four seconds one is kept for the undoing, which a busy machine may need.
    with stage.another_engine("timeout: 4\ncache: {seconds: 0}\n") as url:
        answer = Device(url, device.user).post(FAAS=small())
    assert answer.status_code == 504
    until(lambda: opennebula.holdings() == before)
    assert opennebula.holdings() == before


def test_a_flow_template_removed_meanwhile_is_reported_with_faas_and_daas_as_sent(
    device: Device, stage: Stage, sandbox: Sandbox, opennebula: OpenNebula
) -> None:
    """Also if the engine still has it in its cache."""
    made = sandbox.store.add_flow_template("shortlived", [("FAAS", 0)])
    sent = {"FLAVOUR": "shortlived", "CPU": 1}
    with stage.another_engine("timeout: 10\ncache: {seconds: 60}\n") as url:
        local = Device(url, device.user)
        local.request("DELETE", f"{PATH}/{local.create(FAAS=sent)['ID']}?wait=60")
        before = opennebula.holdings() | {"services": set()}
        assert until(lambda: opennebula.holdings() == before)
        stage.seen_by(ADMIN).call("document.delete", made)
        answers = [local.post(FAAS=sent) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [422, 422]
    assert opennebula.holdings() == before
    assert [answer.json()["message"] for answer in answers] == [{"FAAS": sent}] * 2


def test_a_restarted_backend_fails_no_request(device: Device, sandbox: Sandbox) -> None:
    """The engine's idle connections are dead then."""
    runtime = device.create_running()
    sandbox.restart()
    assert device.update(runtime["ID"], FAAS={"CPU": 2})["FAAS"]["CPU"] == 2
    sandbox.restart()
    second = device.create_running()
    sandbox.restart()
    assert device.delete(second["ID"]).status_code == 204
    sandbox.restart()
    assert device.read(runtime["ID"])["FAAS"]["CPU"] == 2
