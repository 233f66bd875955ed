"""Standby runtimes, which are started before they are requested."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest

from tests.support.client import states
from tests.support.waiting import wait_until

from .device import Device, Json, ids, small
from .settings import ENGINE, FLAVOUR

PLAIN = {"FAAS": {"FLAVOUR": FLAVOUR}}
"""A request without sizes: a standby has those of the VM template."""

pytestmark = pytest.mark.skipif(bool(ENGINE), reason="the engine has its own configuration")


@contextmanager
def engine(device: Device, count: int = 1, **further: Any) -> Iterator[Device]:
    """A device client of an engine with that many standbys; it leaves none behind."""
    kept = {"flavours": {FLAVOUR: count}, "seconds": 600}
    with device.another_engine(standby=kept, **further) as other:
        try:
            yield other
        finally:
            # The last create has requested what was missing, and nothing else requests more.
            wait_until(lambda: len(standbys(other)) >= count)
            for runtime_id in [*other.made, *(s["ID"] for s in standbys(other))]:
                other.delete(runtime_id)


def standbys(device: Device) -> list[Json]:
    return [runtime for runtime in device.list(standby="true") if runtime.get("PHASE") == "STANDBY"]


def ready(device: Device, count: int = 1) -> list[Json]:
    """The standbys, once there are that many and all of them are running."""

    def look() -> list[Json] | None:
        seen = standbys(device)
        are_running = len(seen) == count and all(states(s) == {"RUNNING"} for s in seen)
        return seen if are_running else None

    found: list[Json] = wait_until(look)
    return found


@pytest.fixture
def warm(device: Device) -> Iterator[Device]:
    """The client of an engine that keeps one standby."""
    with engine(device) as warm:
        yield warm


@pytest.fixture
def standby(warm: Device) -> Json:
    """The standby, which was ordered by a first create and runs."""
    warm.create(**PLAIN)
    (standby,) = ready(warm)
    return standby


def vm_of(runtime: Json) -> int:
    return int(runtime["FAAS"]["VM_ID"])


def test_a_create_takes_a_standby_with_its_address(device: Device) -> None:
    with engine(device, 2) as warm:
        cold = warm.create(**PLAIN)
        waiting = {vm_of(runtime) for runtime in ready(warm, 2)}
        assert vm_of(cold) not in waiting
        placed = {"DEVICE_INFO": {"GEOGRAPHIC_LOCATION": "Madrid"}}
        made = warm.create(**PLAIN, NAME="lamp", SCHEDULING={"POLICY": "FREE_CPU"}, **placed)
        assert made["FAAS"]["STATE"] == "PENDING"
        assert made["FAAS"]["ENDPOINT"]
        assert vm_of(made) in waiting
        seen = warm.read(made["ID"])
        assert (seen["FAAS"]["STATE"], seen["NAME"]) == ("RUNNING", "lamp")
        assert "LEASE" not in seen
        vm = warm.one.vm(vm_of(made))
        assert vm["USER_TEMPLATE"]["SCHED_RANK"] == "FREE_CPU"
        assert vm["USER_TEMPLATE"]["DEVICE_INFO"] == {"GEOGRAPHIC_LOCATION": "Madrid"}
        assert "SCHED_ACTION" not in vm["TEMPLATE"]
        ready(warm, 2)


def test_standbys_are_listed_only_on_request(warm: Device) -> None:
    made = warm.create(**PLAIN)
    (standby,) = ready(warm)
    assert ids(warm.list()) == [made["ID"]]
    assert standby["LEASE"]["TTL"] == 600
    assert warm.put(standby["ID"], NAME="mine").status == 422


@pytest.mark.parametrize(
    "members",
    [{"SCHEDULING": {"REQUIREMENTS": "FREE_CPU > 0"}}, {"FAAS": {"FLAVOUR": FLAVOUR, "CPU": 3}}],
    ids=["requirements", "more than it can grow to"],
)
def test_what_a_standby_cannot_become_is_a_new_create(
    warm: Device, standby: Json, members: Json
) -> None:
    assert standby["FAAS"]["CPU"] == 1
    assert vm_of(warm.create(**PLAIN | members)) != vm_of(standby)


def test_a_standby_of_another_size_is_resized(warm: Device, standby: Json) -> None:
    sizes = {"CPU": 2, "MEMORY": standby["FAAS"]["MEMORY"] * 2}
    made = warm.create(FAAS={"FLAVOUR": FLAVOUR} | sizes, LEASE={"TTL": 1000})
    assert vm_of(made) == vm_of(standby)
    seen = warm.read(made["ID"])
    assert {name: seen["FAAS"][name] for name in sizes} == sizes
    assert seen["LEASE"]["TTL"] == 1000


def test_a_broken_standby_is_never_handed_out(warm: Device, standby: Json) -> None:
    broken = vm_of(standby)
    warm.one.call("vm.action", "poweroff-hard", broken)
    wait_until(lambda: warm.one.vm_state(broken) == "POWEROFF")
    assert vm_of(warm.create(**PLAIN)) != broken
    wait_until(lambda: warm.one.vm_state(broken) == "DONE")


def test_a_standby_of_another_template_is_never_handed_out(
    device: Device, warm: Device, standby: Json
) -> None:
    """That is, of another engine with another configuration, whose VMs would differ."""
    with engine(device, context={"sr_auth": False}) as other:
        assert vm_of(other.create(**PLAIN)) != vm_of(standby)
    # Its own standby has gone with the other engine's create, so that it orders another.
    warm.create(**PLAIN)


def test_a_standby_is_handed_out_once(device: Device) -> None:
    with engine(device, 2) as warm, ThreadPoolExecutor(4) as pool:
        warm.create(**PLAIN)
        ready(warm, 2)
        made = list(pool.map(lambda _: warm.create(**PLAIN), range(4)))
        assert len({vm_of(runtime) for runtime in made}) == len({*ids(made)}) == 4


def test_a_key_creates_one_runtime_from_a_standby(warm: Device, standby: Json) -> None:
    key = {"Idempotency-Key": "standby-key"}
    answers = [warm.post(headers=key, **PLAIN) for _ in range(2)]
    assert [answer.status for answer in answers] == [201, 200]
    first, second = (answer.runtime for answer in answers)
    assert (first["ID"], vm_of(first)) == (second["ID"], vm_of(second))


def test_without_configuration_there_are_no_standbys(device: Device) -> None:
    made = device.create(FAAS=small())
    assert device.one.ids(1337) == {made["ID"]}
