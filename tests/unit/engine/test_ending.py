"""Certain ends: each VM is gone or has a scheduled termination, whatever oneflow does."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping
from typing import Any

import pytest

from provision_engine.cloud.enums import LcmState, ServiceState, VmState
from provision_engine.cloud.objects import Document, ScheduledAction, Vm
from provision_engine.engine.runtime.model import Phase, Runtime
from provision_engine.engine.safety import ending, leases
from provision_engine.engine.safety.ending import ATTEMPTS, GRACE_SECONDS
from provision_engine.engine.safety.ownership import Holdings
from provision_engine.errors import ActionRefused, Locked, NotFound
from tests.unit.engine.samples import Cloud
from tests.unit.support import OWNER, document, function, vm

NOW = 1_795_484_885
SERVICE, VM, OTHER = 850, 7, 8
NAME = "nature_2f347b8c-4f5a-4d17-98bc-4680dcbbf9b0"
Events = list[tuple[Any, ...]]

BOOT = (VmState.ACTIVE, LcmState.BOOT)
RUNNING = (VmState.ACTIVE, LcmState.RUNNING)
SHUTDOWN = (VmState.ACTIVE, LcmState.SHUTDOWN)
BOOT_FAILURE = (VmState.ACTIVE, LcmState.BOOT_FAILURE)
PROLOG = (VmState.ACTIVE, LcmState.PROLOG)
RESIZE = (VmState.ACTIVE, LcmState.HOTPLUG_RESIZE)
PENDING = (VmState.PENDING, LcmState.LCM_INIT)
SUSPENDED = (VmState.SUSPENDED, LcmState.LCM_INIT)
DONE = (VmState.DONE, LcmState.LCM_INIT)


class OpenNebula:
    """Some VMs and services, as oned and oneflow show them; records what is done to them."""

    def __init__(self, vms: Mapping[int, tuple[int, int]]) -> None:
        self.vms_by_id = {i: vm(*states, vm_id=i) for i, states in vms.items()}
        self.services: dict[int, dict[str, Any]] = {}
        self.names: dict[int, str] = {}
        self.events: Events = []
        self.purges_needed = 1
        self.refused_purges = 0
        self.refuses: set[int] = set()
        """VMs whose state changes before they are ended."""

    def add_service(self, state: int, vm_ids: Iterable[int], service_id: int = SERVICE) -> None:
        nodes = [{"deploy_id": vm_id} for vm_id in vm_ids]
        self.services[service_id] = {"state": state, "roles": [{"name": "FAAS", "nodes": nodes}]}

    # ---- oned ----------------------------------------------------------------------------------

    def document(self, document_id: int) -> Document:
        if document_id not in self.services:
            raise NotFound("no such document")
        name = self.names.get(document_id, "a service")
        return document(self.services[document_id], id_=document_id, type_=100, name=name)

    def documents(
        self, document_type: int, whose: int, *, first_id: int, last_id: int
    ) -> list[Document]:
        assert (document_type, whose) == (100, OWNER)
        return [self.document(i) for i in self.services if i >= first_id]

    def vms(self, vm_ids: list[int], *, with_actions: bool) -> dict[int, Vm]:
        """A pool shows only that VMs have scheduled actions, not which."""
        seen = {i: self.vms_by_id[i] for i in vm_ids if i in self.vms_by_id}
        if len(vm_ids) == 1:
            return seen
        return {
            i: dataclasses.replace(v, scheduled_actions=None) if v.scheduled_actions else v
            for i, v in seen.items()
        }

    def vm(self, vm_id: int) -> Vm:
        return self.vms_by_id[vm_id]

    def act_on_vm(self, vm_id: int, action: str) -> None:
        if vm_id in self.refuses:
            raise ActionRefused("wrong state")
        self.events.append((action, vm_id))

    def add_scheduled_action(self, vm_id: int, order: str) -> int:
        found = re.fullmatch(r'SCHED_ACTION=\[ACTION="terminate-hard",TIME="(\d+)"\]', order)
        assert found, order
        known = self.vms_by_id[vm_id]
        if known.state == VmState.DONE:
            raise ActionRefused("Unable to create Scheduled Action in DONE state")
        self.events.append(("order", vm_id, int(found[1]) - NOW))
        actions = (*(known.scheduled_actions or ()), ScheduledAction(0, leases.END, int(found[1])))
        self.vms_by_id[vm_id] = dataclasses.replace(known, scheduled_actions=actions)
        return 0

    # ---- oneflow ---------------------------------------------------------------------------------

    def delete_service(self, service_id: int) -> None:
        self.events.append(("delete", service_id))
        self.services[service_id]["state"] = ServiceState.UNDEPLOYING

    def purge_service(self, service_id: int) -> None:
        """Recover with delete, which may report success although it failed."""
        self.events.append(("purge", service_id))
        self.purges_needed -= 1
        if self.refused_purges > 0:
            self.refused_purges -= 1
            raise ActionRefused("Service cannot be recovered")
        if self.purges_needed <= 0:
            del self.services[service_id]


def holdings(opennebula: OpenNebula) -> Holdings:
    cloud: Any = Cloud(opennebula, opennebula)
    cloud.now = lambda: NOW + 0.5
    return Holdings(cloud, OWNER, lambda: OWNER)


def end(
    opennebula: OpenNebula, service_ids: Iterable[int] = (SERVICE,), vm_ids: Iterable[int] = ()
) -> frozenset[int]:
    return ending.end(holdings(opennebula), service_ids, vm_ids)


# ---- one service and its VM ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("vm_state", "service_state", "events"),
    [
        # A busy VM gets a scheduled termination before the service is removed: the process may die.
        (BOOT, ServiceState.DEPLOYING, [("order", VM, 0), ("purge", SERVICE)]),
        (PROLOG, ServiceState.DEPLOYING, [("order", VM, 0), ("purge", SERVICE)]),
        (BOOT, ServiceState.FAILED_DEPLOYING, [("order", VM, 0), ("purge", SERVICE)]),
        (RESIZE, ServiceState.RUNNING, [("order", VM, 0), ("delete", SERVICE)]),
        # A VM that oneflow shuts down may take long, but then ends whatever its guest does.
        (RUNNING, ServiceState.RUNNING, [("delete", SERVICE), ("order", VM, GRACE_SECONDS)]),
        (RUNNING, ServiceState.WARNING, [("delete", SERVICE), ("order", VM, GRACE_SECONDS)]),
        (RUNNING, ServiceState.COOLDOWN, [("delete", SERVICE), ("order", VM, GRACE_SECONDS)]),
        (RUNNING, ServiceState.HOLD, [("delete", SERVICE), ("order", VM, GRACE_SECONDS)]),
        (SHUTDOWN, ServiceState.UNDEPLOYING, [("order", VM, GRACE_SECONDS)]),
        # Without a service, the VMs that can be ended are ended directly.
        (RUNNING, ServiceState.SCALING, [("purge", SERVICE), ("terminate-hard", VM)]),
        (BOOT_FAILURE, ServiceState.FAILED_DEPLOYING, [("purge", SERVICE), ("terminate-hard", VM)]),
        (PENDING, ServiceState.DEPLOYING, [("purge", SERVICE), ("terminate-hard", VM)]),
        (SUSPENDED, ServiceState.SCALING, [("purge", SERVICE), ("terminate-hard", VM)]),
        (SHUTDOWN, ServiceState.SCALING, [("purge", SERVICE), ("order", VM, GRACE_SECONDS)]),
        # VMs that are DONE are left alone.
        (DONE, ServiceState.RUNNING, [("delete", SERVICE)]),
        (DONE, ServiceState.FAILED_UNDEPLOYING, [("purge", SERVICE)]),
    ],
)
def test_a_service_and_its_vm_are_ended(
    vm_state: tuple[int, int], service_state: int, events: Events
) -> None:
    opennebula = OpenNebula({VM: vm_state})
    opennebula.add_service(service_state, [VM])
    assert end(opennebula) == {VM}
    assert opennebula.events == events


def test_a_service_without_vms_is_removed() -> None:
    opennebula = OpenNebula({})
    opennebula.add_service(ServiceState.FAILED_DEPLOYING, [])
    assert end(opennebula) == frozenset()
    assert opennebula.events == [("purge", SERVICE)]


def test_all_vms_of_a_service_are_ended_each_in_its_way() -> None:
    opennebula = OpenNebula({VM: RUNNING, OTHER: BOOT, 9: DONE})
    opennebula.add_service(ServiceState.DEPLOYING, [VM, OTHER, 9])
    assert end(opennebula) == {VM, OTHER, 9}
    assert opennebula.events == [
        ("order", OTHER, 0),
        ("purge", SERVICE),
        ("terminate-hard", VM),
    ]


# ---- what gets in the way -----------------------------------------------------------------------


@pytest.mark.parametrize("purges_needed", [1, 2, 3, ATTEMPTS - 1])
def test_a_service_may_need_several_attempts(purges_needed: int) -> None:
    opennebula = OpenNebula({VM: BOOT})
    opennebula.add_service(ServiceState.DEPLOYING, [VM])
    opennebula.purges_needed = purges_needed
    end(opennebula)
    assert opennebula.events == [("order", VM, 0), *[("purge", SERVICE)] * purges_needed]


def test_a_refusal_of_oneflow_is_retried() -> None:
    opennebula = OpenNebula({VM: RUNNING})
    opennebula.add_service(ServiceState.SCALING, [VM])
    opennebula.refused_purges = 2
    end(opennebula)
    assert opennebula.events == [*[("purge", SERVICE)] * 3, ("terminate-hard", VM)]


@pytest.mark.parametrize("refused_purges", [0, 100])
def test_a_service_that_stays_is_locked_and_its_busy_vm_has_an_order(refused_purges: int) -> None:
    opennebula = OpenNebula({VM: BOOT})
    opennebula.add_service(ServiceState.DEPLOYING, [VM])
    opennebula.purges_needed, opennebula.refused_purges = 100, refused_purges
    with pytest.raises(Locked, match=str(SERVICE)):
        end(opennebula)
    assert opennebula.events == [("order", VM, 0), *[("purge", SERVICE)] * ATTEMPTS]


def test_a_role_that_failed_keeps_a_service_from_ending_by_itself() -> None:
    opennebula = OpenNebula({VM: BOOT_FAILURE})
    opennebula.add_service(ServiceState.UNDEPLOYING, [VM])
    opennebula.services[SERVICE]["roles"][0]["state"] = ServiceState.FAILED_UNDEPLOYING
    end(opennebula)
    assert opennebula.events == [("purge", SERVICE), ("terminate-hard", VM)]


def test_a_vm_whose_state_changes_meanwhile_gets_an_order() -> None:
    opennebula = OpenNebula({VM: RUNNING})
    opennebula.refuses = {VM}
    end(opennebula, [], [VM])
    assert opennebula.events == [("order", VM, 0)]


def test_a_vm_that_is_gone_before_its_order_comes_is_no_error() -> None:
    opennebula = OpenNebula({VM: RUNNING})

    def changed(vm_id: int, action: str) -> None:
        opennebula.vms_by_id[vm_id] = vm(*DONE, vm_id=vm_id)
        raise ActionRefused("wrong state")

    opennebula.act_on_vm = changed  # type: ignore[method-assign]
    assert end(opennebula, [], [VM]) == {VM}
    assert opennebula.events == []


@pytest.mark.parametrize(
    ("at", "events"),
    [(NOW - 60, []), (NOW, []), (NOW + 60, [("order", VM, 0)])],
)
def test_there_is_no_second_order_where_one_is_known_in_time(at: int, events: Events) -> None:
    opennebula = OpenNebula({VM: BOOT})
    known = (ScheduledAction(0, leases.END, at),)
    opennebula.vms_by_id[VM] = dataclasses.replace(
        opennebula.vms_by_id[VM], scheduled_actions=known
    )
    end(opennebula, [], [VM])
    assert opennebula.events == events


def test_a_repetition_gives_no_second_order() -> None:
    opennebula = OpenNebula({VM: BOOT})
    for _ in range(3):
        end(opennebula, [], [VM])
    assert opennebula.events == [("order", VM, 0)]


def test_missing_services_and_vms_are_not_an_error() -> None:
    assert end(OpenNebula({}), [SERVICE, 851], [VM]) == {VM}


# ---- which services belong to a runtime ---------------------------------------------------------

RUNTIME = Runtime(
    id=900,
    name="lamp",
    functions={"FAAS": function("nature", 1, 1, 1, vm_id=VM)},
    service_id=SERVICE,
    service_name=NAME,
)


@pytest.mark.parametrize(
    ("service_id", "phase", "purged"),
    [
        (SERVICE, Phase.READY, {SERVICE}),
        (SERVICE, Phase.DELETING, {SERVICE}),
        (None, Phase.CREATING, {901, 903}),
        (None, Phase.DELETING, {901, 903}),
        (None, Phase.REPLACING, {901, 903}),
        # The old service is still stored when the new one may have been started.
        (SERVICE, Phase.REPLACING, {SERVICE, 901, 903}),
    ],
)
def test_a_service_whose_id_was_never_written_is_found_by_its_name(
    service_id: int | None, phase: Phase, purged: set[int]
) -> None:
    opennebula = OpenNebula({VM: RUNNING})
    for number in (SERVICE, 899, 901, 902, 903):
        opennebula.add_service(ServiceState.DEPLOYING, [], number)
    # A repeated start has two services; a service older than the runtime is not its own.
    opennebula.names = dict.fromkeys((899, 901, 903), NAME)
    opennebula.purge_service = lambda service_id: (  # type: ignore[method-assign]
        opennebula.events.append(("purge", service_id)),
        opennebula.services.pop(service_id),
    )
    runtime = dataclasses.replace(RUNTIME, service_id=service_id, phase=phase)
    assert ending.end_runtime(holdings(opennebula), runtime) == {VM}
    assert {number for what, number in opennebula.events if what == "purge"} == purged
    assert opennebula.events[-1] == ("terminate-hard", VM)


def test_only_vms_that_are_not_gone_are_alive() -> None:
    opennebula = OpenNebula({VM: RUNNING, OTHER: DONE, 9: SUSPENDED})
    assert [seen.id for seen in ending.alive(holdings(opennebula), [VM, OTHER, 9, 10])] == [VM, 9]
