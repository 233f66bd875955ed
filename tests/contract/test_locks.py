"""One change of a runtime at a time, and locks that dead engines left."""

from __future__ import annotations

import pytest

from provision_engine.sandbox import Sandbox
from tests.support.opennebula import RUNTIME, OpenNebula

from .device import Device


def lock_since(sandbox: Sandbox, opennebula: OpenNebula, runtime_id: int, age_seconds: int) -> None:
    """Locks a runtime like an engine that died that many seconds ago."""
    opennebula.call("document.lock", runtime_id, 3, True)
    document = next(d for d in sandbox.store.documents(RUNTIME) if d.id == runtime_id)
    assert document.lock is not None
    document.lock.time -= age_seconds
    document.changed()


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
def test_the_lock_of_a_dead_engine_is_taken_over(device: Device, method: str) -> None:
    runtime = device.create_running()
    lock_since(device.sandbox, device.one, runtime["ID"], 24 * 3600)
    if method == "PUT":
        assert device.update(runtime["ID"], NAME="new")["NAME"] == "new"
        assert device.one.document(runtime["ID"]).find("LOCK") is None
        assert device.one.ids(RUNTIME) == {runtime["ID"]}
    else:
        assert device.delete(runtime["ID"]).status == 204


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
def test_the_lock_of_a_live_engine_is_respected(device: Device, method: str) -> None:
    runtime = device.create_running()
    lock_since(device.sandbox, device.one, runtime["ID"], 1)
    body = {"SERVERLESS_RUNTIME": {"NAME": "new"}}
    answer = device.request(method, f"/serverless-runtimes/{runtime['ID']}", body)
    assert answer.status == 423
    assert int(answer.headers["Retry-After"]) >= 1
    assert device.one.document(runtime["ID"]).find("LOCK") is not None
    device.one.call("document.unlock", runtime["ID"])


def test_a_locked_runtime_can_be_read(device: Device) -> None:
    runtime = device.create_running()
    device.one.call("document.lock", runtime["ID"], 3, True)
    seen = device.read(runtime["ID"])
    device.one.call("document.unlock", runtime["ID"])
    assert seen["NAME"] == runtime["NAME"]


@pytest.mark.parametrize("kind", ["error", "garbage", "cut"])
def test_an_update_that_fails_releases_its_lock(device: Device, kind: str) -> None:
    runtime = device.create_running()
    device.sandbox.faults.set("oned", kind, method="one.vm.resize", times=1)
    answer = device.put(runtime["ID"], FAAS={"CPU": 2})
    assert answer.status == 502
    assert device.one.document(runtime["ID"]).find("LOCK") is None
