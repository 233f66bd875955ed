"""PUT /serverless-runtimes/{id}."""

from __future__ import annotations

import json
import math
from concurrent.futures import ThreadPoolExecutor

import pytest

from provision_engine.sandbox import Sandbox
from tests.support.opennebula import OpenNebula, calls_of
from tests.support.waiting import wait_until

from .device import Device, data, small
from .settings import DATA_FLAVOUR, DISK_MB, FLAVOUR

Json = dict

BEYOND_ANY_HOST, BEYOND_ANY_HOST_MB = 100_000, 100_000_000
ROLES = ("FAAS", "DAAS")


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
    return (
        float(template["CPU"]),
        float(template["VCPU"]),
        int(template["MEMORY"]),
        int(disk["SIZE"]),
    )


def sizes(opennebula: OpenNebula, runtime: Json) -> list[tuple[float, float, int, int]]:
    return [size(opennebula, runtime[role]["VM_ID"]) for role in ROLES if role in runtime]


def writes(sandbox: Sandbox) -> list[str]:
    """The calls of oned since the last `clear_calls`, without reads and locks."""
    looks = (".info", ".infoset", ".version", ".lock", ".unlock")
    return [c.method for c in calls_of(sandbox) if not c.method.endswith(looks)]


@pytest.mark.parametrize(
    ("asked", "place", "value"),
    [
        ({"CPU": 2}, 0, 2),
        ({"MEMORY": 256}, 2, 256),
        ({"DISK_SIZE": DISK_MB + 1024}, 3, DISK_MB + 1024),
    ],
)
def test_one_size_changes_and_the_others_stay(
    device: Device, runtime: Json, asked: Json, place: int, value: int
) -> None:
    before = size(device.one, runtime["FAAS"]["VM_ID"])
    updated = device.update(runtime["ID"], FAAS=asked)
    assert updated["FAAS"] | asked == updated["FAAS"]
    after = size(device.one, runtime["FAAS"]["VM_ID"])
    assert after[place] == value
    kept = [n for n in range(4) if n != place and not (place == 0 and n == 1)]
    assert [after[n] for n in kept] == [before[n] for n in kept]


def test_vcpu_follows_cpu(device: Device, runtime: Json) -> None:
    device.update(runtime["ID"], FAAS={"CPU": 2})
    assert size(device.one, runtime["FAAS"]["VM_ID"])[:2] == (2, 2)


def test_capacity_can_shrink(device: Device, runtime: Json) -> None:
    device.update(runtime["ID"], FAAS={"CPU": 2, "MEMORY": 256})
    updated = device.update(runtime["ID"], FAAS={"CPU": 1, "MEMORY": 128})
    assert (updated["FAAS"]["CPU"], updated["FAAS"]["MEMORY"]) == (1, 128)


def test_the_runtime_is_running_when_the_update_returns(device: Device, runtime: Json) -> None:
    updated = device.update(
        runtime["ID"], FAAS={"CPU": 2, "MEMORY": 256, "DISK_SIZE": DISK_MB + 512}
    )
    assert updated["FAAS"]["STATE"] == "RUNNING"
    assert device.read(runtime["ID"]) == updated


def test_function_and_data_vm_change_together(device: Device, pair: Json) -> None:
    device.update(pair["ID"], FAAS={"CPU": 2}, DAAS={"MEMORY": 256, "DISK_SIZE": DISK_MB + 100})
    assert sizes(device.one, pair) == [(2, 2, 128, DISK_MB), (1, 1, 256, DISK_MB + 100)]


def test_the_data_vm_changes_alone(device: Device, pair: Json) -> None:
    device.update(pair["ID"], DAAS={"CPU": 2})
    assert [s[0] for s in sizes(device.one, pair)] == [1, 2]


def test_scheduling_reaches_the_vms_in_upper_case(device: Device, pair: Json) -> None:
    sent = {"POLICY": "fast", "REQUIREMENTS": "free_cpu > 0"}
    assert device.update(pair["ID"], SCHEDULING=sent)["SCHEDULING"] == sent
    for role in ROLES:
        seen = device.one.vm(pair[role]["VM_ID"])["USER_TEMPLATE"]
        assert seen["SCHED_RANK"] == "FAST"
        assert seen["SCHED_REQUIREMENTS"] == "FREE_CPU > 0"


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


def test_device_info_reaches_the_vms(device: Device, pair: Json) -> None:
    sent = {"LATENCY_TO_PE": 1.25, "GEOGRAPHIC_LOCATION": "Brno", "SPEED": 3}
    assert device.update(pair["ID"], DEVICE_INFO=sent)["DEVICE_INFO"] == sent
    for role in ROLES:
        seen = device.one.vm(pair[role]["VM_ID"])["USER_TEMPLATE"]["DEVICE_INFO"]
        assert seen == {"LATENCY_TO_PE": "1.25", "GEOGRAPHIC_LOCATION": "Brno", "SPEED": "3"}


def test_the_rest_of_the_user_template_stays(device: Device, runtime: Json) -> None:
    before = device.one.vm(runtime["FAAS"]["VM_ID"])["USER_TEMPLATE"]
    device.update(runtime["ID"], DEVICE_INFO={"LATENCY_TO_PE": 2})
    after = device.one.vm(runtime["FAAS"]["VM_ID"])["USER_TEMPLATE"]
    assert after == before | {"DEVICE_INFO": {"LATENCY_TO_PE": "2"}}


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


def test_an_update_without_a_difference_writes_nothing(device: Device, runtime: Json) -> None:
    device.sandbox.clear_calls()
    assert device.update(runtime["ID"], **runtime) == runtime
    assert writes(device.sandbox) == []


@pytest.mark.parametrize(
    "members",
    [
        {"FAAS": {"FLAVOUR": ""}},
        {"FAAS": {"FLAVOUR": FLAVOUR}},
        {"NAME": ""},
        {"SCHEDULING": {}, "DEVICE_INFO": {}},
        {"DAAS": {"FLAVOUR": ""}},
        {"FAAS": {"VM_ID": 1, "STATE": "ERROR", "ENDPOINT": "", "ERROR": "none"}},
    ],
)
def test_empty_values_change_nothing(device: Device, runtime: Json, members: Json) -> None:
    device.sandbox.clear_calls()
    assert device.update(runtime["ID"], **members) == runtime
    assert writes(device.sandbox) == []


@pytest.mark.parametrize(
    "members",
    [
        {"FAAS": {"FLAVOUR": "other", "CPU": 2}},
        {"FAAS": {"CPU": 2}, "DAAS": {"FLAVOUR": DATA_FLAVOUR}},
    ],
)
def test_another_flavour_is_refused_and_nothing_is_done(
    device: Device, runtime: Json, members: Json
) -> None:
    assert device.put(runtime["ID"], **members).status == 422
    assert device.read(runtime["ID"]) == runtime
    assert sizes(device.one, runtime) == [(1, 1, 128, DISK_MB)]


@pytest.mark.parametrize(
    "members",
    [
        {"FAAS": {"CPU": 2, "DISK_SIZE": DISK_MB - 1}},
        {"FAAS": {"CPU": 2}, "DAAS": {"DISK_SIZE": DISK_MB - 1}},
        {"FAAS": {"DISK_SIZE": DISK_MB + 1}, "DAAS": {"DISK_SIZE": 1}, "NAME": "new"},
    ],
)
def test_a_disk_that_would_shrink_is_refused_and_nothing_is_done(
    device: Device, pair: Json, members: Json
) -> None:
    answer = device.put(pair["ID"], **members)
    assert answer.status == 422
    assert "DISK_SIZE" in answer.text
    assert device.read(pair["ID"]) == pair
    assert sizes(device.one, pair) == [(1, 1, 128, DISK_MB)] * 2


@pytest.mark.parametrize(
    ("what", "amount"), [("CPU", BEYOND_ANY_HOST), ("MEMORY", BEYOND_ANY_HOST_MB)]
)
def test_capacity_beyond_the_host_is_refused_and_nothing_is_done(
    device: Device, runtime: Json, what: str, amount: int
) -> None:
    asked = {what: amount, "DISK_SIZE": DISK_MB + 10}
    assert device.put(runtime["ID"], FAAS=asked, NAME="new").status == 422
    assert device.read(runtime["ID"]) == runtime
    assert sizes(device.one, runtime) == [(1, 1, 128, DISK_MB)]


@pytest.mark.parametrize("is_slow", [False, True])
def test_the_function_vm_is_resized_back_if_the_data_vm_cannot_be_resized(
    device: Device, pair: Json, is_slow: bool
) -> None:
    """Even if it is still in HOTPLUG_RESIZE when the data VM's resize is refused."""
    if is_slow:
        device.slow_down(resize_seconds=0.5)
    answer = device.put(pair["ID"], FAAS={"CPU": 2}, DAAS={"CPU": BEYOND_ANY_HOST})
    assert answer.status == 422
    wait_until(lambda: sizes(device.one, pair) == [(1, 1, 128, DISK_MB)] * 2)
    # Only SINCE may have changed: on 7.x a resize is an event of a VM's history.
    seen = device.read_until(pair["ID"], "RUNNING")
    for role in ROLES:
        assert seen[role] | {"SINCE": pair[role].get("SINCE")} == pair[role]


def test_the_vms_are_resized_back_if_a_disk_cannot_grow(device: Device, runtime: Json) -> None:
    device.sandbox.faults.set("oned", "error", method="one.vm.diskresize")
    answer = device.put(runtime["ID"], FAAS={"CPU": 2, "DISK_SIZE": DISK_MB + 10})
    assert answer.status == 502
    device.sandbox.faults.clear()
    wait_until(lambda: sizes(device.one, runtime) == [(1, 1, 128, DISK_MB)])


@pytest.mark.parametrize(
    ("limits", "members"),
    [
        ({"CPU": 2}, {"FAAS": {"CPU": 2}, "DAAS": {"CPU": 2}}),
        ({"MEMORY": 300}, {"FAAS": {"MEMORY": 192}, "DAAS": {"MEMORY": 192}}),
        ({"CPU": 3}, {"FAAS": {"CPU": 2}, "DAAS": {"CPU": 2}}),
    ],
)
def test_beyond_the_quota_is_refused_and_nothing_is_done(
    device: Device, pair: Json, limits: Json, members: Json
) -> None:
    device.limit(**limits)
    device.sandbox.clear_calls()
    answer = device.put(pair["ID"], **members)
    assert answer.status == 422
    assert "quota" in answer.text.lower()
    assert writes(device.sandbox) == []
    assert sizes(device.one, pair) == [(1, 1, 128, DISK_MB)] * 2


def test_a_failed_resize_is_reported_and_the_size_stays(device: Device, runtime: Json) -> None:
    device.sandbox.faults.drivers.set("resize", fails=True)
    answer = device.put(runtime["ID"], FAAS={"CPU": 2})
    assert answer.status == 500
    assert "FAAS keeps its size" in answer.json["message"]
    device.sandbox.faults.clear()
    assert device.read_until(runtime["ID"], "RUNNING")["FAAS"]["CPU"] == 1


def test_an_update_during_another_change_is_locked(device: Device, runtime: Json) -> None:
    device.slow_down(resize_seconds=1.0)
    device.one.call("vm.resize", runtime["FAAS"]["VM_ID"], "CPU=2\nVCPU=2", True)
    assert device.read(runtime["ID"])["FAAS"]["STATE"] == "UPDATING"
    answer = device.put(runtime["ID"], NAME="new")
    assert answer.status == 423
    assert int(answer.headers["Retry-After"]) >= 1


def test_an_update_before_the_vm_runs_is_locked(device: Device) -> None:
    device.slow_down(boot_seconds=1.0)
    runtime = device.create()
    answer = device.put(runtime["ID"], FAAS={"CPU": 2})
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
    assert seen == math.ceil(1.5)


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
    body = json.loads(device.one.document(runtime["ID"]).findtext("TEMPLATE/BODY") or "")
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
    stored = json.loads(device.one.document(runtime["ID"]).findtext("TEMPLATE/BODY") or "")
    assert stored["FAAS"]["CPU"] == device.read(runtime["ID"])["FAAS"]["CPU"] == sizes["CPU"]
    assert "GEOGRAPHIC_LOCATION" not in stored["DEVICE_INFO"]
    assert stored["ENGINE"]["PHASE"] == "READY"
