"""The Python client against the engine, on both dialects."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
import requests

from provision_engine import __version__, client
from provision_engine.client import Client, Function
from provision_engine.sandbox import Sandbox
from tests.support.opennebula import OpenNebula
from tests.support.waiting import wait_until

from .device import NO_HOST, Device, Stage
from .settings import DATA_FLAVOUR, DISK_MB, FLAVOUR, USER

FAAS = Function(FLAVOUR, cpu=1, memory_mb=128, disk_size_mb=DISK_MB)
DAAS = Function(DATA_FLAVOUR, cpu=1, memory_mb=128, disk_size_mb=DISK_MB)


@pytest.fixture
def api(stage: Stage, device: Device) -> Iterator[Client]:
    """A client; what it leaves is deleted by the device."""
    with Client(stage.engine_url, USER.name, USER.password) as made:
        yield made
        device.made += [runtime.id for runtime in made.list_runtimes()]


def test_a_lifecycle(api: Client) -> None:
    born = api.create_runtime(FAAS, DAAS, name="lamp", lease_seconds=1000)
    assert (born.state, born.name, born.lease_seconds) == ("PENDING", "lamp", 1000)
    runtime = api.wait_until_running(born.id)
    assert runtime.faas.endpoint
    assert runtime.daas is not None
    assert runtime.daas.flavour == DATA_FLAVOUR
    assert runtime.expires is not None
    assert list(api.list_runtimes(name="lamp")) == [replace(api.get_runtime(born.id), etag="")]
    updated = api.update_runtime(
        born.id, faas=Function(cpu=2), device_info={"ROOM": "hall"}, if_match=runtime.etag
    )
    assert (updated.faas.cpu, updated.device_info) == (2, {"ROOM": "hall"})
    with pytest.raises(client.Changed):
        api.update_runtime(born.id, name="late", if_match=runtime.etag)
    assert api.recover_runtime(born.id) == updated
    api.delete_runtime(born.id, if_match=updated.etag)
    with pytest.raises(client.NotFound) as raised:
        api.get_runtime(born.id)
    assert raised.value.request_id


def test_a_create_can_wait_and_be_repeated(api: Client) -> None:
    made = api.create_runtime(FAAS, key="a key", wait_seconds=60)
    assert made.state == "RUNNING"
    assert api.create_runtime(FAAS, key="a key").id == made.id
    with pytest.raises(client.Conflict):
        api.create_runtime(DAAS, key="a key")


def test_a_lost_response_creates_no_second_runtime(
    api: Client, opennebula: OpenNebula, stage: Stage, sandbox: Sandbox
) -> None:
    """The engine's first response is lost: the client repeats the request by itself."""
    before = opennebula.holdings()
    lost = []

    def lose(answer: object, *_arguments: object, **_named: object) -> None:
        if not lost:
            lost.append(answer)
            raise requests.exceptions.ConnectionError("Connection reset by peer")

    api.session.hooks["response"].append(lose)
    made = api.create_runtime(FAAS)
    assert len(lost) == 1
    after = opennebula.holdings()
    assert after["runtimes"] - before["runtimes"] == {made.id}
    assert len(after["VMs"] - before["VMs"]) == 1


def test_a_list_follows_all_pages(api: Client) -> None:
    made = [api.create_runtime(FAAS).id for _ in range(3)]
    assert [runtime.id for runtime in api.list_runtimes(page_size=2)] == made
    assert [runtime.id for runtime in api.list_runtimes(flavour="nothing")] == []


def test_a_dry_run_shows_what_a_create_would_do(api: Client, opennebula: OpenNebula) -> None:
    before = opennebula.holdings()
    plan = api.dry_run(FAAS, requirements="free_cpu > 1")
    assert plan["ROLES"]["FAAS"]["ATTRIBUTES"]["SCHED_REQUIREMENTS"] == "FREE_CPU > 1"
    with pytest.raises(client.Unprocessable):
        api.dry_run(Function("nobody-has-this"))
    assert opennebula.holdings() == before


def test_the_reason_for_not_running_is_shown(api: Client, sandbox: Sandbox) -> None:
    made = api.create_runtime(FAAS, requirements=NO_HOST)
    wait_until(lambda: "no host satisfies" in api.get_runtime(made.id).reason)
    with pytest.raises(client.StillWaiting, match="no host satisfies"):
        api.wait_until_running(made.id, 0.2)
    with pytest.raises(client.Locked):
        api.update_runtime(made.id, faas=Function(cpu=2))


def test_a_failure_is_reported(api: Client, sandbox: Sandbox) -> None:
    sandbox.faults.drivers.set("boot", fails=True)
    made = api.create_runtime(FAAS)
    with pytest.raises(client.RuntimeFailed, match="failed to boot"):
        api.wait_until_running(made.id)


def test_requests_without_a_login(stage: Stage) -> None:
    with Client(stage.engine_url) as anonymous:
        assert anonymous.version() == __version__
        assert anonymous.schema()["title"] == "Serverless runtime"
        assert anonymous.config()["port"]
        with pytest.raises(client.Unauthorized):
            list(anonymous.list_runtimes())
