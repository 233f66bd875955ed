"""A read writes nothing, and shows nothing of anybody else."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from provision_engine.cloud.objects import Document, Vm
from provision_engine.engine.actions import read
from provision_engine.engine.runtime.snapshot import Snapshot
from provision_engine.engine.runtime.states import Reason, State
from provision_engine.errors import NotFound
from tests.unit.engine.opennebula import OpenNebula
from tests.unit.support import OWNER, document, vm

STRANGER = 99
RUNTIME, SERVICE, VM, NEW_VM = 9, 850, 7, 8


def runtime(vm_id: int = VM, service_id: int = SERVICE, **engine: Any) -> Document:
    body = {"FAAS": {"FLAVOUR": "f", "VM_ID": vm_id}, "SERVICE_ID": service_id, "ENGINE": engine}
    return document(body, id_=RUNTIME)


def service(*vm_ids: int, owner: int = OWNER, name: str = "f_x") -> Document:
    nodes = [{"deploy_id": vm_id} for vm_id in vm_ids]
    body = {"state": 2, "roles": [{"name": "FAAS", "nodes": nodes}]}
    return replace(document(body, id_=SERVICE, type_=100, name=name), user_id=owner)


def of_stranger(vm_id: int) -> Vm:
    return replace(vm(vm_id=vm_id), user_id=STRANGER, nic={"IP": "10.6.6.6"})


def look(*documents: Document, vms: dict[int, Vm] | None = None) -> Snapshot:
    """Return what a read shows; it changes nothing."""
    opennebula = OpenNebula(*documents)
    opennebula.vms_by_id = vms or {}
    opennebula.hidden = {d.id for d in documents if d.name == "hidden"}
    opennebula.lock_document = None  # type: ignore[assignment,method-assign]
    try:
        caller = opennebula.request()
        return read.observe(caller, read.find_runtime(caller, RUNTIME))
    finally:
        assert opennebula.pool == {d.id: d for d in documents}
        assert opennebula.events == []


def test_a_read_shows_the_vm_that_its_service_has_now_and_writes_nothing() -> None:
    """Row C: a repaired link that was written without the lock lost an update."""
    seen = look(runtime(), service(NEW_VM), vms={NEW_VM: vm(vm_id=NEW_VM)})
    assert seen.runtime.vm_ids == [NEW_VM]
    assert seen.conditions["FAAS"].state is State.RUNNING


@pytest.mark.parametrize(
    ("document", "vms", "reason"),
    [
        (service(), {VM: of_stranger(VM)}, Reason.GONE),
        (service(NEW_VM), {NEW_VM: of_stranger(NEW_VM)}, Reason.GONE),
        (service(VM, owner=STRANGER), {}, Reason.SERVICE_GONE),
        (service(VM, owner=STRANGER, name="hidden"), {}, Reason.SERVICE_GONE),
        # A document that is not a service is not taken for one.
        (replace(service(VM), type=101), {}, Reason.SERVICE_GONE),
        (replace(service(VM), type=1337), {}, Reason.SERVICE_GONE),
    ],
)
def test_what_is_a_strangers_does_not_exist_whoever_names_it(
    document: Document, vms: dict[int, Vm], reason: Reason
) -> None:
    seen = look(runtime(), document, vms=vms)
    assert (seen.vms, seen.conditions["FAAS"].reason) == ({}, reason)


@pytest.mark.parametrize("phase", ["DELETING", "TAKEN"])
def test_what_another_user_left_unfinished_is_left_alone(phase: str) -> None:
    """Row 4: also where the caller may change it. Any call but a read would fail here."""
    published = replace(runtime(PHASE=phase, CREATED_AT=1), user_id=STRANGER)
    with pytest.raises(NotFound):
        look(published)


@pytest.mark.parametrize("phase", ["CREATING", "REPLACING"])
def test_what_another_user_left_half_made_is_pending(phase: str) -> None:
    published = replace(runtime(PHASE=phase, CREATED_AT=1), user_id=STRANGER)
    seen = look(published)
    assert seen.states == {State.PENDING}


def test_the_lease_of_another_users_runtime_that_is_over_changes_nothing() -> None:
    body = {
        "FAAS": {"FLAVOUR": "f", "VM_ID": VM},
        "SERVICE_ID": SERVICE,
        "LEASE": {"TTL": 1},
        "ENGINE": {"PHASE": "READY", "LEASE_ENDS_AT": 1},
    }
    published = replace(document(body, id_=RUNTIME), user_id=STRANGER)
    with pytest.raises(NotFound):
        look(published)
