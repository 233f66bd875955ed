"""PUT /serverless-runtimes/{id}."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from provision_engine.sandbox import Sandbox
from provision_engine.sandbox.sandbox import CallRecord
from tests.support.client import ROLES, states
from tests.support.opennebula import OpenNebula, calls_of
from tests.support.waiting import wait_until

from .device import Device, Json, data, small
from .settings import DISK_MB, FLAVOUR

BEYOND_ANY_HOST, BEYOND_ANY_HOST_MB = 100_000, 100_000_000


@pytest.fixture
def runtime(device: Device) -> Json:
    """A running function VM."""
    return device.create_running(FAAS=small(), SCHEDULING={"POLICY": "energy"})


@pytest.fixture
def pair(device: Device) -> Json:
    """A running function VM with its data VM."""
    return device.create_running(FAAS=small(), DAAS=data())


def size(opennebula: OpenNebula, vm_id: int) -> tuple[float, float, int, int]:
    """CPU, VCPU, MEMORY and the first disk's SIZE, as OpenNebula stores them."""
    template = opennebula.vm(vm_id)["TEMPLATE"]
    disks = template["DISK"]
    disk = disks[0] if isinstance(disks, list) else disks
    cpu, vcpu = float(template["CPU"]), float(template["VCPU"])
    return cpu, vcpu, int(template["MEMORY"]), int(disk["SIZE"])


def sizes(opennebula: OpenNebula, runtime: Json) -> list[tuple[float, float, int, int]]:
    return [size(opennebula, runtime[role]["VM_ID"]) for role in ROLES if role in runtime]


def writes(sandbox: Sandbox) -> list[str]:
    """The calls of oned since the last `clear_calls`, without reads and locks."""
    looks = (".info", ".infoset", ".version", ".lock", ".unlock")
    return [c.method for c in calls_of(sandbox) if not c.method.endswith(looks)]


BOTH = (1, 1, 128, DISK_MB)


@pytest.mark.parametrize(
    ("members", "faas", "daas"),
    [
        ({"FAAS": {"CPU": 2}}, (2, 2, 128, DISK_MB), BOTH),
        ({"FAAS": {"MEMORY": 256}}, (1, 1, 256, DISK_MB), BOTH),
        ({"FAAS": {"DISK_SIZE": DISK_MB + 1024}}, (1, 1, 128, DISK_MB + 1024), BOTH),
        ({"DAAS": {"CPU": 2}}, BOTH, (2, 2, 128, DISK_MB)),
        (
            {"FAAS": {"CPU": 2}, "DAAS": {"MEMORY": 256, "DISK_SIZE": DISK_MB + 100}},
            (2, 2, 128, DISK_MB),
            (1, 1, 256, DISK_MB + 100),
        ),
    ],
)
def test_the_sizes_that_are_sent_change_and_no_others(
    device: Device, pair: Json, members: Json, faas: Any, daas: Any
) -> None:
    """VCPU follows CPU, and the runtime is running when the update returns."""
    updated = device.update(pair["ID"], **members)
    assert all(updated[role] | sent == updated[role] for role, sent in members.items())
    assert states(updated) == {"RUNNING"}
    assert device.read(pair["ID"]) == updated
    assert sizes(device.one, pair) == [faas, daas]


@pytest.mark.parametrize(
    ("members", "attributes"),
    [
        (
            {"SCHEDULING": {"POLICY": "fast", "REQUIREMENTS": "free_cpu > 0"}},
            {"SCHED_RANK": "FAST", "SCHED_REQUIREMENTS": "FREE_CPU > 0"},
        ),
        (
            {"DEVICE_INFO": {"LATENCY_TO_PE": 1.25, "GEOGRAPHIC_LOCATION": "Brno", "SPEED": 3}},
            {
                "DEVICE_INFO": {
                    "LATENCY_TO_PE": "1.25",
                    "GEOGRAPHIC_LOCATION": "Brno",
                    "SPEED": "3",
                }
            },
        ),
    ],
    ids=["scheduling", "device info"],
)
def test_what_is_sent_reaches_both_vms_and_the_rest_of_their_templates_stays(
    device: Device, pair: Json, members: Json, attributes: Json
) -> None:
    before = [device.one.vm(pair[role]["VM_ID"])["USER_TEMPLATE"] for role in ROLES]
    assert device.update(pair["ID"], **members).items() >= members.items()
    after = [device.one.vm(pair[role]["VM_ID"])["USER_TEMPLATE"] for role in ROLES]
    assert after == [template | attributes for template in before]


@pytest.mark.parametrize(
    "members",
    [
        {},
        {"FAAS": {"FLAVOUR": ""}},
        {"FAAS": {"FLAVOUR": FLAVOUR}},
        {"NAME": ""},
        {"SCHEDULING": {}, "DEVICE_INFO": {}},
        {"DAAS": {"FLAVOUR": ""}},
        {"FAAS": {"VM_ID": 1, "STATE": "ERROR", "ENDPOINT": "", "ERROR": "none"}},
    ],
)
def test_empty_and_equal_values_change_and_write_nothing(
    device: Device, runtime: Json, members: Json
) -> None:
    device.sandbox.clear_calls()
    assert device.update(runtime["ID"], **(members or runtime)) == runtime
    assert writes(device.sandbox) == []


@pytest.mark.parametrize(
    ("quota", "members", "word"),
    [
        ({}, {"FAAS": {"FLAVOUR": "other", "CPU": 2}}, "FLAVOUR"),
        ({}, {"FAAS": {"CPU": 2}, "DAAS": {"FLAVOUR": "other"}}, "FLAVOUR"),
        ({}, {"FAAS": {"CPU": 2, "DISK_SIZE": DISK_MB - 1}}, "DISK_SIZE"),
        ({}, {"FAAS": {"CPU": 2}, "DAAS": {"DISK_SIZE": DISK_MB - 1}}, "DISK_SIZE"),
        ({}, {"FAAS": {"DISK_SIZE": DISK_MB + 1}, "DAAS": {"DISK_SIZE": 1}}, "DISK_SIZE"),
        ({}, {"FAAS": {"CPU": BEYOND_ANY_HOST, "DISK_SIZE": DISK_MB + 10}}, ""),
        ({}, {"FAAS": {"MEMORY": BEYOND_ANY_HOST_MB, "DISK_SIZE": DISK_MB + 10}}, ""),
        ({"CPU": 2}, {"FAAS": {"CPU": 2}, "DAAS": {"CPU": 2}}, "quota"),
        ({"CPU": 3}, {"FAAS": {"CPU": 2}, "DAAS": {"CPU": 2}}, "quota"),
        ({"MEMORY": 300}, {"FAAS": {"MEMORY": 192}, "DAAS": {"MEMORY": 192}}, "quota"),
    ],
)
def test_what_is_impossible_is_refused_and_nothing_is_done(
    device: Device, pair: Json, quota: Json, members: Json, word: str
) -> None:
    if quota:
        device.limit(**quota)
    answer = device.put(pair["ID"], NAME="never", **members)
    assert answer.status == 422
    assert word.lower() in answer.text.lower()
    assert device.read(pair["ID"]) == pair
    assert sizes(device.one, pair) == [BOTH, BOTH]


def test_capacity_can_shrink(device: Device, runtime: Json) -> None:
    device.update(runtime["ID"], FAAS={"CPU": 2, "MEMORY": 256})
    updated = device.update(runtime["ID"], FAAS={"CPU": 1, "MEMORY": 128})
    assert (updated["FAAS"]["CPU"], updated["FAAS"]["MEMORY"]) == (1, 128)


def test_a_part_of_scheduling_that_is_not_sent_stays(device: Device, runtime: Json) -> None:
    device.update(runtime["ID"], SCHEDULING={"REQUIREMENTS": "FREE_CPU > 0", "POLICY": ""})
    assert device.read(runtime["ID"])["SCHEDULING"] == {
        "POLICY": "energy",
        "REQUIREMENTS": "FREE_CPU > 0",
    }


def test_a_refused_flag_for_rescheduling_is_not_an_error(device: Device, runtime: Json) -> None:
    """The owner of a VM may not set it, unless an administrator."""
    device.sandbox.clear_calls()
    assert device.put(runtime["ID"], SCHEDULING={"POLICY": "other"}).status == 200
    assert "one.vm.action" in [call.method for call in device.sandbox.calls]


def test_the_vm_is_not_flagged_for_rescheduling_when_scheduling_stays(
    device: Device, runtime: Json
) -> None:
    device.sandbox.clear_calls()
    device.update(runtime["ID"], SCHEDULING={"POLICY": "energy"}, DEVICE_INFO={"LATENCY_TO_PE": 1})
    assert "one.vm.action" not in [call.method for call in device.sandbox.calls]


def test_the_name_changes(device: Device, runtime: Json) -> None:
    assert device.update(runtime["ID"], NAME="lantern é")["NAME"] == "lantern é"
    assert device.read(runtime["ID"])["NAME"] == "lantern é"
    assert device.one.document(runtime["ID"]).findtext("NAME") == "lantern é"


@pytest.mark.parametrize("name", ["漢" * 128, " blank", "lantern"])
def test_a_name_can_change_to_one_opennebula_cannot_store_and_back(
    device: Device, runtime: Json, name: str
) -> None:
    device.update(runtime["ID"], NAME=name)
    assert device.read(runtime["ID"])["NAME"] == name
    device.update(runtime["ID"], NAME="plain")
    assert device.read(runtime["ID"])["NAME"] == "plain"


@pytest.mark.parametrize("is_slow", [False, True])
def test_the_function_vm_is_resized_back_if_the_data_vm_cannot_be_resized(
    device: Device, pair: Json, is_slow: bool
) -> None:
    """Even if it is still in HOTPLUG_RESIZE when the data VM's resize is refused."""
    if is_slow:
        device.slow_down(resize_seconds=0.5)
    answer = device.put(pair["ID"], FAAS={"CPU": 2}, DAAS={"CPU": BEYOND_ANY_HOST})
    assert answer.status == 422
    wait_until(lambda: sizes(device.one, pair) == [BOTH, BOTH])
    # Only SINCE may have changed: on 7.x a resize is an event of a VM's history.
    seen = device.read_until(pair["ID"], "RUNNING")
    for role in ROLES:
        assert seen[role] | {"SINCE": pair[role].get("SINCE")} == pair[role]


def test_the_vms_are_resized_back_if_a_disk_cannot_grow(device: Device, runtime: Json) -> None:
    device.sandbox.faults.set("oned", "error", method="one.vm.diskresize")
    answer = device.put(runtime["ID"], FAAS={"CPU": 2, "DISK_SIZE": DISK_MB + 10})
    assert answer.status == 502
    device.sandbox.faults.clear()
    wait_until(lambda: sizes(device.one, runtime) == [BOTH])


def test_a_failed_resize_is_reported_and_the_size_stays(device: Device, runtime: Json) -> None:
    device.sandbox.faults.drivers.set("resize", fails=True)
    answer = device.put(runtime["ID"], FAAS={"CPU": 2})
    assert answer.status == 500
    assert "FAAS keeps its size" in answer.json["message"]
    device.sandbox.faults.clear()
    assert device.read_until(runtime["ID"], "RUNNING")["FAAS"]["CPU"] == 1


def test_memory_is_given_back_where_the_cpu_is_refused_and_a_repetition_does_both(
    device: Device, runtime: Json
) -> None:
    resizes: list[CallRecord] = []

    def refuse_the_second(call: CallRecord, moment: str) -> None:
        if call.method == "one.vm.resize" and moment == "before":
            resizes.append(call)
            device.sandbox.faults.drivers.set("resize", fails=len(resizes) == 2)

    device.sandbox.on_call = refuse_the_second
    answer = device.put(runtime["ID"], FAAS={"CPU": 2, "MEMORY": 256})
    device.sandbox.on_call = None
    device.sandbox.faults.clear()
    assert answer.status == 500
    assert len(resizes) == 3  # memory, cores, and memory back
    function = device.read_until(runtime["ID"], "RUNNING")["FAAS"]
    assert (function["CPU"], function["MEMORY"]) == (1, 128)
    function = device.update(runtime["ID"], FAAS={"CPU": 2, "MEMORY": 256})["FAAS"]
    assert (function["CPU"], function["MEMORY"]) == (2, 256)


def test_an_update_during_another_change_is_locked(device: Device, runtime: Json) -> None:
    device.slow_down(resize_seconds=1.0)
    device.one.call("vm.resize", runtime["FAAS"]["VM_ID"], "CPU=2\nVCPU=2", True)
    assert device.read(runtime["ID"])["FAAS"]["STATE"] == "UPDATING"
    answer = device.put(runtime["ID"], NAME="new")
    assert answer.status == 423
    assert int(answer.headers["Retry-After"]) >= 1


def test_updates_of_device_info_cannot_make_a_runtime_too_long_for_a_device(
    device: Device, runtime: Json
) -> None:
    """No runtime is longer than 30,000 bytes; the device checks this for every response."""
    first, second = ({f"{name}{n}": "x" * 4000 for n in range(4)} for name in "AB")
    assert device.put(runtime["ID"], DEVICE_INFO=first).status == 200
    refused = device.put(runtime["ID"], DEVICE_INFO=second)
    assert refused.status == 400
    assert "more than 20000" in refused.json["message"]
    assert device.read(runtime["ID"])["DEVICE_INFO"].keys() >= first.keys()
    assert not device.read(runtime["ID"])["DEVICE_INFO"].keys() & second.keys()


def test_sizes_are_integers_even_if_opennebula_has_fractions(device: Device, runtime: Json) -> None:
    device.one.call("vm.resize", runtime["FAAS"]["VM_ID"], "CPU=1.5", False)
    seen = device.read_until(runtime["ID"], "RUNNING")["FAAS"]["CPU"]
    assert seen == int(device.one.vm(runtime["FAAS"]["VM_ID"])["TEMPLATE"]["VCPU"])


@pytest.mark.parametrize("members", [{"NAME": "new"}, {"FAAS": {"CPU": 1}}, {"FAAS": {"CPU": 2}}])
def test_an_update_of_a_runtime_whose_vm_is_gone_says_so(
    device: Device, runtime: Json, members: Json
) -> None:
    device.sandbox.store.put_vm(runtime["FAAS"]["VM_ID"], "DONE")
    assert device.put(runtime["ID"], **members).status == 500
    assert device.read(runtime["ID"])["NAME"] == runtime["NAME"]


def test_concurrent_updates_are_done_or_locked(device: Device, runtime: Json) -> None:
    with ThreadPoolExecutor(6) as threads:
        answers = list(
            threads.map(
                lambda n: device.put(runtime["ID"], NAME=f"name {n}", FAAS={"MEMORY": 128 + n}),
                range(6),
            )
        )
    statuses = [answer.status for answer in answers]
    assert set(statuses) <= {200, 423}
    assert 200 in statuses
    seen = device.read_until(runtime["ID"], "RUNNING")
    number = int(seen["NAME"].removeprefix("name "))
    assert statuses[number] == 200
    assert seen["FAAS"]["MEMORY"] == 128 + number


def test_an_update_that_exceeds_the_timeout_is_a_504_and_unlocks(
    device: Device, runtime: Json
) -> None:
    device.slow_down(resize_seconds=3.0)
    with device.another_engine(timeout=1) as hurried:
        answer = hurried.put(runtime["ID"], FAAS={"CPU": 2})
    assert answer.status == 504
    assert device.one.document(runtime["ID"]).find("LOCK") is None


def test_sizes_are_stored_in_the_document_for_other_engines(device: Device, runtime: Json) -> None:
    device.update(runtime["ID"], FAAS={"CPU": 2, "MEMORY": 200})
    body = device.one.body_of(runtime["ID"])
    assert (body["FAAS"]["CPU"], body["FAAS"]["MEMORY"]) == (2, 200)
    assert (body["FAAS"]["VM_ID"], body["SERVICE_ID"]) == (
        runtime["FAAS"]["VM_ID"],
        runtime["SERVICE_ID"],
    )


def test_requirements_of_a_waiting_runtime_can_be_changed(device: Device) -> None:
    waits = {"REQUIREMENTS": 'NAME = "no such host"'}
    runtime = device.create(FAAS=small(), SCHEDULING=waits)
    assert device.put(runtime["ID"], FAAS={"CPU": 2}).status == 423
    answer = device.put(runtime["ID"], SCHEDULING={"REQUIREMENTS": "FREE_CPU > 0"})
    assert answer.status == 200, answer.text
    assert device.read_until(runtime["ID"], "RUNNING")["SCHEDULING"] == {
        "REQUIREMENTS": "FREE_CPU > 0"
    }


def test_an_update_that_fails_after_the_resize_leaves_the_sizes_that_the_vm_has(
    device: Device,
) -> None:
    runtime = device.create_running()
    device.sandbox.faults.set("oned", "error", method="one.vm.update", times=1)
    sizes = {"CPU": runtime["FAAS"]["CPU"] + 1}
    answer = device.put(runtime["ID"], FAAS=sizes, DEVICE_INFO={"GEOGRAPHIC_LOCATION": "Rome"})
    assert answer.status == 502
    stored = device.one.body_of(runtime["ID"])
    assert stored["FAAS"]["CPU"] == device.read(runtime["ID"])["FAAS"]["CPU"] == sizes["CPU"]
    assert "GEOGRAPHIC_LOCATION" not in stored["DEVICE_INFO"]
    assert stored["ENGINE"]["PHASE"] == "READY"
