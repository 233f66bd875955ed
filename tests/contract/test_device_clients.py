"""What device clients in the field actually send, and what they cannot read."""

from __future__ import annotations

import base64

import pytest

from tests.support.users import User

from .device import PATH, Device, Json, small
from .settings import DISK_MB, FLAVOUR

PYTHON_DICT = "{'city': 'Madrid', \"at\": [40.4, -3.7], 'note': \"it's {here}\"}"
BY_C_CLIENT = {
    "NAME": "",
    "FAAS": {"FLAVOUR": FLAVOUR, "ENDPOINT": ""},
    "SCHEDULING": {"POLICY": "", "REQUIREMENTS": ""},
    "DEVICE_INFO": {"LATENCY_TO_PE": 0.361224, "GEOGRAPHIC_LOCATION": ""},
}


def test_empty_strings_mean_absent(device: Device) -> None:
    runtime = device.create(**BY_C_CLIENT)
    assert runtime["NAME"].startswith(f"{FLAVOUR}_")
    assert "SCHEDULING" not in runtime
    assert runtime["DEVICE_INFO"] == {"LATENCY_TO_PE": 0.361224}


def test_a_daas_with_an_empty_flavour_is_absent(device: Device) -> None:
    runtime = device.create(FAAS=small(), DAAS={"FLAVOUR": "", "CPU": 4, "ENDPOINT": ""})
    assert "DAAS" not in runtime
    assert device.one.service_vm_ids(runtime["SERVICE_ID"]) == [runtime["FAAS"]["VM_ID"]]


def test_a_daas_that_is_an_empty_object_is_a_400_that_names_it(device: Device) -> None:
    answer = device.post(FAAS=small(), DAAS={})
    assert answer.status == 400
    assert "DAAS" in answer.json["message"]


def test_the_text_of_a_python_dict_arrives_as_it_was_sent(device: Device) -> None:
    runtime = device.create(FAAS=small(), DEVICE_INFO={"GEOGRAPHIC_LOCATION": PYTHON_DICT})
    assert runtime["DEVICE_INFO"]["GEOGRAPHIC_LOCATION"] == PYTHON_DICT
    seen = device.one.vm(runtime["FAAS"]["VM_ID"])["USER_TEMPLATE"]["DEVICE_INFO"]
    assert seen["GEOGRAPHIC_LOCATION"] == PYTHON_DICT


@pytest.mark.parametrize("latency", [0.361224, 0, 3, 1e-7, 12345.678])
def test_the_latency_is_a_number_and_stays_one(device: Device, latency: float) -> None:
    runtime = device.create(FAAS=small(), DEVICE_INFO={"LATENCY_TO_PE": latency})
    assert runtime["DEVICE_INFO"] == {"LATENCY_TO_PE": latency}
    seen = device.one.vm(runtime["FAAS"]["VM_ID"])["USER_TEMPLATE"]["DEVICE_INFO"]
    assert float(seen["LATENCY_TO_PE"]) == latency


@pytest.mark.parametrize(
    "echoed",
    [
        {"ID": "851", "SERVICE_ID": "850"},
        {"ID": None, "SERVICE_ID": []},
        {"ID": -1, "SERVICE_ID": 1.5},
    ],
)
def test_members_set_by_the_engine_may_be_sent_in_any_type(device: Device, echoed: Json) -> None:
    sent = small(VM_ID="x", STATE=None, ENDPOINT=7, ERROR={"a": 1})
    runtime = device.create(FAAS=sent, **echoed)
    assert runtime["FAAS"]["STATE"] == "PENDING"
    assert device.update(runtime["ID"] if device.read_until(runtime["ID"], "RUNNING") else 0,
                         FAAS=sent, **echoed)["FAAS"]["STATE"] == "RUNNING"  # fmt: skip


def test_a_put_of_the_whole_runtime_with_an_empty_flavour_changes_only_what_differs(
    device: Device,
) -> None:
    """One client sends back everything that it has read, plus the new capacity."""
    runtime = device.create_running(FAAS=small(), DEVICE_INFO={"LATENCY_TO_PE": 0.5})
    sent = runtime | {"ID": str(runtime["ID"])}
    sent["FAAS"] = runtime["FAAS"] | {"FLAVOUR": "", "ENDPOINT": "", "CPU": 2, "STATE": "ERROR"}
    updated = device.update(runtime["ID"], **sent)
    assert updated["FAAS"]["CPU"] == 2
    since = {"SINCE": runtime["FAAS"]["SINCE"]}  # a resize is an event of the VM's history
    assert updated["FAAS"] | {"CPU": 1} | since == runtime["FAAS"]


def test_a_put_with_the_default_capacities_of_a_small_vm(device: Device) -> None:
    runtime = device.create_running(FAAS=small())
    sent = {"FLAVOUR": "", "CPU": 1, "MEMORY": 128, "DISK_SIZE": DISK_MB, "ENDPOINT": ""}
    updated = device.update(
        runtime["ID"],
        NAME="",
        FAAS=sent,
        SCHEDULING={"POLICY": "", "REQUIREMENTS": ""},
        DEVICE_INFO={"LATENCY_TO_PE": 0.25, "GEOGRAPHIC_LOCATION": ""},
    )
    assert updated == runtime | {"DEVICE_INFO": {"LATENCY_TO_PE": 0.25}}


def test_unknown_members_are_ignored(device: Device) -> None:
    runtime = device.create(
        FAAS=small(GPU=1, SSH="x"),
        SCHEDULING={"POLICY": "a", "MORE": "b"},
        DEVICE_INFO={"lower": "x", "LIST": [1], "FLAG": True, "KEPT": "yes"},
        FURTHER={"A": 1},
    )
    assert runtime["DEVICE_INFO"] == {"KEPT": "yes"}
    assert runtime["SCHEDULING"] == {"POLICY": "a"}
    assert not {"GPU", "SSH"} & runtime["FAAS"].keys()
    seen = device.one.vm(runtime["FAAS"]["VM_ID"])["USER_TEMPLATE"]
    assert seen["DEVICE_INFO"] == {"KEPT": "yes"}


@pytest.mark.parametrize(
    "headers", [{}, {"Content-Type": "text/plain"}, {"Content-Type": "application/json"}]
)
def test_a_body_is_json_whatever_its_content_type_says(device: Device, headers: Json) -> None:
    body = b'{"SERVERLESS_RUNTIME": {"FAAS": {"FLAVOUR": "%s"}}}' % FLAVOUR.encode()
    answer = device.request("POST", PATH, body, headers=headers)
    assert answer.status == 201
    device.made.append(answer.runtime["ID"])


def test_a_body_in_utf_8_with_a_byte_order_mark_is_read(device: Device) -> None:
    body = '\ufeff{"SERVERLESS_RUNTIME": {"FAAS": {"FLAVOUR": "%s"}, "NAME": "é"}}' % FLAVOUR  # noqa: UP031
    answer = device.request("POST", PATH, body.encode())
    assert answer.status == 201
    device.made.append(answer.runtime["ID"])
    assert answer.runtime["NAME"] == "é"


def test_a_password_with_colons_and_letters_beyond_ascii_logs_in(device: Device) -> None:
    for name, password in (("kolon", "a:b::c:"), ("jürgen", "pässwörd"), ("li", "漢字")):
        if name not in device.sandbox.world.store.users_by_name:
            device.sandbox.store.add_user(name, password)
        assert device.request(
            "GET", f"{PATH}/999999", user=User(name, password)
        ).status == 404  # fmt: skip


def test_a_password_in_latin_1_logs_in(device: Device) -> None:
    if "latin" not in device.sandbox.world.store.users_by_name:
        device.sandbox.store.add_user("latin", "pässwörd")
    token = base64.b64encode("latin:pässwörd".encode("latin-1")).decode()
    login = {"Authorization": f"Basic {token}"}
    assert device.request("GET", f"{PATH}/999999", user=None, headers=login).status == 404
