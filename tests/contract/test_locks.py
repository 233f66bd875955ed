"""One change of a runtime at a time, and locks that dead engines left."""

from __future__ import annotations

import pytest

from provision_engine.sandbox import Sandbox

from .device import Device
from .opennebula import RUNTIME, OpenNebula


def lock_since(sandbox: Sandbox, opennebula: OpenNebula, runtime_id: int, age_seconds: int) -> None:
    """Locks a runtime like an engine that died that many seconds ago."""
    opennebula.call("document.lock", runtime_id, 3, True)
    document = next(d for d in sandbox.store.documents(RUNTIME) if d.id == runtime_id)
    assert document.lock is not None
    document.lock.time -= age_seconds
    document.changed()


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
def test_the_lock_of_a_dead_engine_is_taken_over(
    device: Device, sandbox: Sandbox, opennebula: OpenNebula, method: str
) -> None:
    runtime = device.create_running()
    lock_since(sandbox, opennebula, runtime["ID"], 24 * 3600)
    if method == "PUT":
        assert device.update(runtime["ID"], NAME="new")["NAME"] == "new"
        assert opennebula.document(runtime["ID"]).find("LOCK") is None
        assert opennebula.ids(RUNTIME) == {runtime["ID"]}
    else:
        assert device.delete(runtime["ID"]).status_code == 204


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
def test_the_lock_of_a_live_engine_is_respected(
    device: Device, sandbox: Sandbox, opennebula: OpenNebula, method: str
) -> None:
    runtime = device.create_running()
    lock_since(sandbox, opennebula, runtime["ID"], 1)
    body = {"SERVERLESS_RUNTIME": {"NAME": "new"}}
    answer = device.request(method, f"/serverless-runtimes/{runtime['ID']}", body)
    assert answer.status_code == 423
    assert int(answer.headers["Retry-After"]) >= 1
    assert opennebula.document(runtime["ID"]).find("LOCK") is not None
    opennebula.call("document.unlock", runtime["ID"])


def test_a_locked_runtime_can_be_read(device: Device, opennebula: OpenNebula) -> None:
    runtime = device.create_running()
    opennebula.call("document.lock", runtime["ID"], 3, True)
    seen = device.read(runtime["ID"])
    opennebula.call("document.unlock", runtime["ID"])
    assert seen["NAME"] == runtime["NAME"]


@pytest.mark.parametrize("kind", ["error", "garbage", "cut"])
def test_an_update_that_fails_releases_its_lock(
    device: Device, sandbox: Sandbox, opennebula: OpenNebula, kind: str
) -> None:
    runtime = device.create_running()
    sandbox.faults.set("oned", kind, method="one.vm.resize", times=1)
    answer = device.put(runtime["ID"], FAAS={"CPU": 2})
    assert answer.status_code == 502
    assert opennebula.document(runtime["ID"]).find("LOCK") is None
