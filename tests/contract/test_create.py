"""POST /serverless-runtimes."""

from __future__ import annotations

import re

import pytest

from tests.support.waiting import wait_until

from .device import MAPPED, PATH, Device, data, small
from .settings import ADMIN, DATA_FLAVOUR, DENIED_FLAVOUR, ENGINE, FAILING_FLAVOUR, FLAVOUR


def test_a_new_runtime_is_pending_and_has_a_vm(device: Device) -> None:
    answer = device.post(FAAS=small())
    assert answer.status == 201
    runtime = answer.runtime
    assert runtime["FAAS"]["STATE"] == "PENDING"
    assert runtime["FAAS"]["FLAVOUR"] == FLAVOUR
    assert type(runtime["FAAS"]["VM_ID"]) is int
    assert "DAAS" not in runtime
    assert answer.headers["Location"].endswith(f"{PATH}/{runtime['ID']}")


def test_a_data_vm_is_created_beside_the_function_vm(device: Device) -> None:
    born = device.create(FAAS=small(CPU=2), DAAS=data(MEMORY=192))
    assert born["DAAS"]["STATE"] == born["FAAS"]["STATE"] == "PENDING"
    runtime = device.read_until(born["ID"], "RUNNING")
    assert (runtime["FAAS"]["FLAVOUR"], runtime["DAAS"]["FLAVOUR"]) == (FLAVOUR, DATA_FLAVOUR)
    assert runtime["FAAS"]["VM_ID"] != runtime["DAAS"]["VM_ID"]
    faas = device.one.vm(runtime["FAAS"]["VM_ID"])
    daas = device.one.vm(runtime["DAAS"]["VM_ID"])
    assert faas["USER_TEMPLATE"]["ROLE_NAME"] == "FAAS"
    assert daas["USER_TEMPLATE"]["ROLE_NAME"] == "DAAS"
    assert (faas["TEMPLATE"]["CPU"], daas["TEMPLATE"]["CPU"]) == ("2", "1")
    assert (faas["TEMPLATE"]["MEMORY"], daas["TEMPLATE"]["MEMORY"]) == ("128", "192")


def test_a_flavour_is_found_by_the_mapping_of_the_configuration(device: Device) -> None:
    if ENGINE:
        pytest.skip("the running engine has its own configuration")
    runtime = device.create(FAAS=small(FLAVOUR=MAPPED))
    assert runtime["FAAS"]["FLAVOUR"] == MAPPED
    vm = device.one.vm(runtime["FAAS"]["VM_ID"])
    assert int(vm["USER_TEMPLATE"]["FLAVOURS"]) == device.one.flow_template_id(FLAVOUR)


def test_a_runtime_has_the_requested_name(device: Device) -> None:
    runtime = device.create(NAME='lamp <7> & "é" 漢', FAAS=small())
    assert runtime["NAME"] == 'lamp <7> & "é" 漢'
    assert device.read(runtime["ID"])["NAME"] == runtime["NAME"]
    # OpenNebula refuses some of these characters in the name of a document.
    assert device.one.document(runtime["ID"]).findtext("NAME") == "lamp _7_ _ _é_ 漢"


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


def test_missing_sizes_come_from_the_vm_template(device: Device) -> None:
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
    assert answer.status == 422
    assert answer.json["message"] == {"FAAS": faas, "DAAS": daas}


def test_a_flavour_whose_vm_template_the_user_may_not_use_is_forbidden(device: Device) -> None:
    assert device.post(FAAS=small(FLAVOUR=DENIED_FLAVOUR)).status == 403


def test_a_flavour_whose_vm_template_is_missing_starts_nothing(device: Device) -> None:
    """oneflow 7 would neither deploy such a service nor give up."""
    before = device.one.holdings()
    answer = device.post(FAAS=small(FLAVOUR=FAILING_FLAVOUR))
    assert answer.status == 500
    assert answer.json["message"] == "Role FAAS: VM template 999 does not exist"
    assert device.one.holdings() == before


def test_a_failed_deployment_is_reported_with_its_log_and_leaves_nothing(device: Device) -> None:
    before = device.one.holdings()
    device.sandbox.store.add_flow_template("third role", [("FAAS", 0), ("DAAS", 1), ("OTHER", 2)])
    answer = device.post(FAAS=small(FLAVOUR="third role"))
    assert answer.status == 500
    log = answer.json["message"]
    assert any("Not authorized to perform USE TEMPLATE" in e["message"] for e in log)
    assert all({"timestamp", "severity", "message"} <= entry.keys() for entry in log)
    wait_until(lambda: device.one.holdings() == before)


def test_a_user_who_may_use_no_flow_template_at_all_is_forbidden(device: Device) -> None:
    admin = device.stage.seen_by(ADMIN)
    ids = device.sandbox.store.flow_templates().values()
    for flow_template_id in ids:
        admin.call("document.chmod", flow_template_id, 1, 1, 0, 0, 0, 0, 0, 0, 0)
    try:
        answer = device.post(FAAS=small())
    finally:
        for flow_template_id in ids:
            admin.call("document.chmod", flow_template_id, 1, 1, 0, 1, 0, 0, 1, 0, 0)
    assert answer.status == 403


def test_the_service_and_the_document_belong_to_the_caller(device: Device) -> None:
    runtime = device.create()
    assert device.one.document(runtime["ID"]).findtext("TYPE") == "1337"
    assert device.one.document(runtime["SERVICE_ID"]).findtext("TYPE") == "100"
    for number in (runtime["ID"], runtime["SERVICE_ID"]):
        assert device.one.document(number).findtext("UNAME") == device.one.user.name


def test_a_service_whose_vms_do_not_appear_in_time_is_a_504_and_leaves_nothing(
    device: Device,
) -> None:
    before = device.one.holdings()
    device.slow_down(vms_visible_seconds=3600.0)
    # Of four seconds one is kept for the undoing, which a busy machine may need.
    with device.another_engine(timeout=4) as hurried:
        answer = hurried.post(FAAS=small())
    assert answer.status == 504
    wait_until(lambda: device.one.holdings() == before)


def test_a_flow_template_removed_meanwhile_is_reported_with_faas_and_daas_as_sent(
    device: Device,
) -> None:
    """Also if the engine still has it in its cache."""
    made = device.sandbox.store.add_flow_template("shortlived", [("FAAS", 0)])
    sent = {"FLAVOUR": "shortlived", "CPU": 1}
    with device.another_engine(cache={"seconds": 60}) as local:
        local.delete(local.create(FAAS=sent)["ID"], "?wait=60")
        before = device.one.holdings() | {"services": set()}
        wait_until(lambda: device.one.holdings() == before)
        device.stage.seen_by(ADMIN).call("document.delete", made)
        answers = [local.post(FAAS=sent) for _ in range(2)]
    assert [answer.status for answer in answers] == [422, 422]
    assert device.one.holdings() == before
    assert [answer.json["message"] for answer in answers] == [{"FAAS": sent}] * 2
