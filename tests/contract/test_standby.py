"""Standby runtimes, which are started before they are requested."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from provision_engine.sandbox import Sandbox

from .conftest import Stage
from .device import PATH, Device, Json, small
from .opennebula import OpenNebula, until
from .settings import ENGINE, FLAVOUR, USER

PLAIN = {"FAAS": {"FLAVOUR": FLAVOUR}}
"""A request without sizes: a standby has those of the VM template."""

pytestmark = pytest.mark.skipif(bool(ENGINE), reason="the engine has its own configuration")


@contextmanager
def engine(stage: Stage, count: int = 2, further: str = "") -> Iterator[Device]:
    """A device client of an engine with that many standbys; it leaves none behind."""
    text = f"{stage.configuration()}standby: {{flavours: {{{FLAVOUR}: {count}}}, seconds: 600}}\n"
    with stage.another_engine(text + further) as url:
        device = Device(url, USER)
        try:
            yield device
        finally:
            # The last create has requested what was missing, and nothing else requests more.
            assert until(lambda: len(standbys(device)) >= count)
            for runtime_id in [*device.made, *(s["ID"] for s in standbys(device))]:
                device.delete(runtime_id)


def standbys(device: Device) -> list[Json]:
    answer = device.request("GET", f"{PATH}?standby=true")
    runtimes = [entry["SERVERLESS_RUNTIME"] for entry in answer.json()]
    return [runtime for runtime in runtimes if runtime.get("PHASE") == "STANDBY"]


def ready(device: Device, count: int) -> list[Json]:
    """The standbys, once there are that many and all of them are running."""
    seen: list[Json] = []

    def look() -> bool:
        seen[:] = standbys(device)
        return len(seen) == count and all(s["FAAS"]["STATE"] == "RUNNING" for s in seen)

    assert until(look), seen
    return list(seen)


def test_a_create_takes_a_standby_with_its_address(stage: Stage, opennebula: OpenNebula) -> None:
    with engine(stage) as device:
        cold = device.create(**PLAIN)
        waiting = ready(device, 2)
        assert {cold["FAAS"]["VM_ID"]}.isdisjoint(s["FAAS"]["VM_ID"] for s in waiting)
        warm = device.create(
            NAME="lamp",
            FAAS={"FLAVOUR": FLAVOUR},
            SCHEDULING={"POLICY": "FREE_CPU"},
            DEVICE_INFO={"GEOGRAPHIC_LOCATION": "Madrid"},
        )
        assert warm["FAAS"]["STATE"] == "PENDING"
        assert warm["FAAS"]["ENDPOINT"]
        assert warm["FAAS"]["VM_ID"] in {s["FAAS"]["VM_ID"] for s in waiting}
        seen = device.read(warm["ID"])
        assert (seen["FAAS"]["STATE"], seen["NAME"]) == ("RUNNING", "lamp")
        assert "LEASE" not in seen
        attributes = opennebula.vm(warm["FAAS"]["VM_ID"])["USER_TEMPLATE"]
        assert attributes["SCHED_RANK"] == "FREE_CPU"
        assert attributes["DEVICE_INFO"] == {"GEOGRAPHIC_LOCATION": "Madrid"}
        assert "SCHED_ACTION" not in opennebula.vm(warm["FAAS"]["VM_ID"])["TEMPLATE"]
        ready(device, 2)


def test_standbys_are_listed_only_on_request(stage: Stage) -> None:
    with engine(stage, 1) as device:
        made = device.create(**PLAIN)
        (standby,) = ready(device, 1)
        answer = device.request("GET", PATH)
        assert [entry["SERVERLESS_RUNTIME"]["ID"] for entry in answer.json()] == [made["ID"]]
        assert standby["LEASE"]["TTL"] == 600
        assert device.put(standby["ID"], NAME="mine").status_code == 422


def test_requirements_rule_out_a_standby(stage: Stage) -> None:
    with engine(stage, 1) as device:
        device.create(**PLAIN)
        (standby,) = ready(device, 1)
        made = device.create(**PLAIN, SCHEDULING={"REQUIREMENTS": "FREE_CPU > 0"})
        assert made["FAAS"]["VM_ID"] != standby["FAAS"]["VM_ID"]


def test_a_standby_of_another_size_is_resized(stage: Stage) -> None:
    with engine(stage, 1) as device:
        device.create(**PLAIN)
        (standby,) = ready(device, 1)
        sizes = {"CPU": 2, "MEMORY": standby["FAAS"]["MEMORY"] * 2}
        warm = device.create(FAAS={"FLAVOUR": FLAVOUR} | sizes, LEASE={"TTL": 1000})
        assert warm["FAAS"]["VM_ID"] == standby["FAAS"]["VM_ID"]
        seen = device.read(warm["ID"])
        assert {name: seen["FAAS"][name] for name in sizes} == sizes
        assert seen["LEASE"]["TTL"] == 1000


def test_a_size_above_the_maximum_is_a_new_create(stage: Stage) -> None:
    with engine(stage, 1) as device:
        device.create(**PLAIN)
        (standby,) = ready(device, 1)
        made = device.create(FAAS={"FLAVOUR": FLAVOUR, "CPU": standby["FAAS"]["CPU"] * 2 + 1})
        assert made["FAAS"]["VM_ID"] != standby["FAAS"]["VM_ID"]


def test_a_broken_standby_is_never_handed_out(stage: Stage, opennebula: OpenNebula) -> None:
    with engine(stage, 1) as device:
        device.create(**PLAIN)
        (standby,) = ready(device, 1)
        opennebula.call("vm.action", "poweroff-hard", standby["FAAS"]["VM_ID"])
        assert until(lambda: opennebula.vm_state(standby["FAAS"]["VM_ID"]) == "POWEROFF")
        made = device.create(**PLAIN)
        assert made["FAAS"]["VM_ID"] != standby["FAAS"]["VM_ID"]
        assert until(lambda: opennebula.vm_state(standby["FAAS"]["VM_ID"]) == "DONE")


def test_a_standby_of_another_template_is_never_handed_out(stage: Stage, sandbox: Sandbox) -> None:
    with engine(stage, 1, "capacity: {memory: {default: 77}}\n") as device:
        sandbox.store.set_quota(USER.name, VMS=-1)
        device.create(**PLAIN)
        (standby,) = ready(device, 1)
        # Another engine with another configuration, whose VMs would differ.
        with engine(stage, 1, "context: {sr_auth: false}\n") as other:
            made = other.create(**PLAIN)
            assert made["FAAS"]["VM_ID"] != standby["FAAS"]["VM_ID"]
        # Its own standby has gone with the other engine's create, so that it orders another.
        device.create(**PLAIN)


def test_a_standby_is_handed_out_once(stage: Stage) -> None:
    with engine(stage, 2) as device, ThreadPoolExecutor(4) as pool:
        device.create(**PLAIN)
        ready(device, 2)
        made = list(pool.map(lambda _: device.create(**PLAIN), range(4)))
        assert len({runtime["FAAS"]["VM_ID"] for runtime in made}) == 4
        assert len({runtime["ID"] for runtime in made}) == 4


def test_a_key_creates_one_runtime_from_a_standby(stage: Stage) -> None:
    with engine(stage, 1) as device:
        device.create(**PLAIN)
        ready(device, 1)
        headers = {"Idempotency-Key": "standby-key"}
        body = {"SERVERLESS_RUNTIME": PLAIN}
        answers = [device.request("POST", PATH, body, headers=headers) for _ in range(2)]
        assert [answer.status_code for answer in answers] == [201, 200]
        first, second = (answer.json()["SERVERLESS_RUNTIME"] for answer in answers)
        device.made.append(first["ID"])
        assert (first["ID"], first["FAAS"]["VM_ID"]) == (second["ID"], second["FAAS"]["VM_ID"])


def test_without_configuration_there_are_no_standbys(
    device: Device, opennebula: OpenNebula
) -> None:
    made = device.create(FAAS=small())
    assert opennebula.ids(1337) == {made["ID"]}
