"""Certain ends: each VM is gone or has a scheduled termination, whatever oneflow does."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

import pytest

from provision_engine.cloud.enums import LcmState, ServiceState, VmState
from provision_engine.cloud.objects import ScheduledAction, User, Vm
from provision_engine.engine.runtime.model import Phase, Runtime
from provision_engine.engine.safety import ending, leases
from provision_engine.engine.safety.ending import ATTEMPTS, GRACE_SECONDS
from provision_engine.errors import ActionRefused, BackendTimeout, BadGateway, Forbidden, Locked
from tests.unit.engine.opennebula import NOW, Events, OpenNebula
from tests.unit.support import OWNER, document, function, vm

SERVICE, VM, OTHER = 850, 7, 8
NAME = "nature_2f347b8c-4f5a-4d17-98bc-4680dcbbf9b0"

BOOT = (VmState.ACTIVE, LcmState.BOOT)
RUNNING = (VmState.ACTIVE, LcmState.RUNNING)
SHUTDOWN = (VmState.ACTIVE, LcmState.SHUTDOWN)
BOOT_FAILURE = (VmState.ACTIVE, LcmState.BOOT_FAILURE)
PROLOG = (VmState.ACTIVE, LcmState.PROLOG)
RESIZE = (VmState.ACTIVE, LcmState.HOTPLUG_RESIZE)
PENDING = (VmState.PENDING, LcmState.LCM_INIT)
SUSPENDED = (VmState.SUSPENDED, LcmState.LCM_INIT)
DONE = (VmState.DONE, LcmState.LCM_INIT)


def end(
    opennebula: OpenNebula, service_ids: Iterable[int] = (SERVICE,), vm_ids: Iterable[int] = ()
) -> frozenset[int]:
    return ending.end(opennebula.request().holdings_of(OWNER), service_ids, vm_ids)


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
        # oneflow may have lost sight of a service whose VMs ended all at once.
        (DONE, ServiceState.UNDEPLOYING, [("purge", SERVICE)]),
    ],
)
def test_a_service_and_its_vm_are_ended(
    vm_state: tuple[int, int], service_state: int, events: Events
) -> None:
    opennebula = OpenNebula(vms={VM: vm_state})
    opennebula.add_service(service_state, [VM])
    assert end(opennebula) == {VM}
    assert opennebula.events == events


def test_all_vms_of_a_service_are_ended_each_in_its_way() -> None:
    opennebula = OpenNebula(vms={VM: RUNNING, OTHER: BOOT, 9: DONE})
    opennebula.add_service(ServiceState.DEPLOYING, [VM, OTHER, 9])
    assert end(opennebula) == {VM, OTHER, 9}
    assert opennebula.events == [
        ("order", OTHER, 0),
        ("purge", SERVICE),
        ("terminate-hard", VM),
    ]


# ---- what gets in the way -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("purges_needed", "purges_refused"), [(1, 0), (2, 0), (ATTEMPTS - 1, 0), (1, 2)]
)
def test_a_service_may_need_several_attempts(purges_needed: int, purges_refused: int) -> None:
    opennebula = OpenNebula(vms={VM: BOOT})
    opennebula.add_service(ServiceState.DEPLOYING, [VM])
    opennebula.purges_needed, opennebula.purges_refused = purges_needed, purges_refused
    end(opennebula)
    attempts = max(purges_needed, purges_refused + 1)
    assert opennebula.events == [("order", VM, 0), *[("purge", SERVICE)] * attempts]


@pytest.mark.parametrize("purges_refused", [0, 100])
def test_a_service_that_stays_is_locked_and_its_vms_end(purges_refused: int) -> None:
    opennebula = OpenNebula(vms={VM: BOOT, OTHER: RUNNING})
    opennebula.add_service(ServiceState.DEPLOYING, [VM, OTHER])
    opennebula.purges_needed, opennebula.purges_refused = 100, purges_refused
    with pytest.raises(Locked, match=str(SERVICE)):
        end(opennebula)
    assert opennebula.events == [
        ("order", VM, 0),
        *[("purge", SERVICE)] * ATTEMPTS,
        ("terminate-hard", OTHER),
    ]


def test_where_no_time_is_left_opennebula_itself_ends_the_vms() -> None:
    opennebula = OpenNebula(vms={VM: RUNNING, OTHER: DONE})
    opennebula.add_service(ServiceState.SCALING, [VM, OTHER])

    def too_slow(service_id: int) -> None:
        raise BackendTimeout("no response")

    opennebula.purge_service = too_slow  # type: ignore[method-assign]
    with pytest.raises(BackendTimeout):
        end(opennebula)
    assert opennebula.events == [("order", VM, 0)]


@pytest.mark.parametrize("may_unlock", [True, False])
def test_of_another_user_s_service_only_the_document_is_removed(may_unlock: bool) -> None:
    """oneflow would end whatever VMs its owner names in it, with the rights of the caller."""
    opennebula = OpenNebula(vms={VM: RUNNING})
    opennebula.caller = User(0, is_administrator=True)
    opennebula.add_service(ServiceState.RUNNING, [VM])

    def refused(document_id: int) -> None:
        raise Forbidden("an administrator may not break this lock")

    if not may_unlock:
        opennebula.unlock_document = refused  # type: ignore[method-assign]
    assert end(opennebula) == {VM}
    assert opennebula.events == [("terminate-hard", VM)]
    assert opennebula.pool == {}


def test_a_role_that_failed_keeps_a_service_from_ending_by_itself() -> None:
    opennebula = OpenNebula(vms={VM: BOOT_FAILURE})
    opennebula.add_service(ServiceState.UNDEPLOYING, [VM])
    roles = [{"state": ServiceState.FAILED_UNDEPLOYING, "nodes": [{"deploy_id": VM}]}]
    body = {"state": ServiceState.UNDEPLOYING, "roles": roles}
    opennebula.pool[SERVICE] = document(body, id_=SERVICE, type_=100)
    end(opennebula)
    assert opennebula.events == [("purge", SERVICE), ("terminate-hard", VM)]


@pytest.mark.parametrize(("state", "events"), [(RUNNING, [("order", VM, 0)]), (DONE, [])])
def test_a_vm_whose_state_changes_meanwhile_gets_an_order_unless_it_is_gone(
    state: tuple[int, int], events: Events
) -> None:
    opennebula = OpenNebula(vms={VM: RUNNING})

    def changed(vm_id: int, action: str) -> None:
        opennebula.vms_by_id[vm_id] = vm(*state, vm_id=vm_id)
        raise ActionRefused("wrong state")

    opennebula.act_on_vm = changed  # type: ignore[method-assign]
    assert end(opennebula, [], [VM]) == {VM}
    assert opennebula.events == events


@pytest.mark.parametrize(
    ("at", "events"),
    [(NOW - 60, []), (NOW, []), (NOW + 60, [("order", VM, 0)])],
)
def test_there_is_no_second_order_where_one_is_known_in_time(at: int, events: Events) -> None:
    opennebula = OpenNebula(vms={VM: BOOT})
    known = (ScheduledAction(0, leases.END, at),)
    opennebula.vms_by_id[VM] = dataclasses.replace(
        opennebula.vms_by_id[VM], scheduled_actions=known
    )
    end(opennebula, [], [VM])
    assert opennebula.events == events


def test_a_repetition_gives_no_second_order() -> None:
    opennebula = OpenNebula(vms={VM: BOOT, OTHER: BOOT})
    for _ in range(3):
        end(opennebula, [], [VM, OTHER])
    assert sorted(opennebula.events) == [("order", VM, 0), ("order", OTHER, 0)]


def test_missing_services_and_vms_are_not_an_error() -> None:
    assert end(OpenNebula(vms={}), [SERVICE, 851], [VM]) == {VM}


# ---- VMs that no service names any more ---------------------------------------------------------

ONEFLOW_USER, LOST = 1, 20


@pytest.mark.parametrize(
    ("vm_ids", "owner_of_vms", "is_searched"),
    [
        ([VM], OWNER, False),
        ([], OWNER, True),
        ([VM], ONEFLOW_USER, True),
        (None, OWNER, True),  # the service is gone
    ],
)
@pytest.mark.parametrize("state", [RUNNING, BOOT])
def test_vms_that_oneflow_has_forgotten_are_searched_for_where_that_may_be(
    vm_ids: list[int] | None, owner_of_vms: int, is_searched: bool, state: tuple[int, int]
) -> None:
    opennebula = OpenNebula()
    if vm_ids is not None:
        opennebula.add_service(ServiceState.DEPLOYING, vm_ids, owner_of_vms=owner_of_vms)
    lost, of_other_service = (OWNER, SERVICE), (OWNER, SERVICE + 1)
    all_vms = (lost, (OWNER + 1, SERVICE), of_other_service, (OWNER, None))
    for number, (user_id, service_id) in enumerate(all_vms, LOST):
        opennebula.vms_by_id[number] = dataclasses.replace(
            vm(*state, vm_id=number), user_id=user_id, service_id=service_id
        )
    ended = end(opennebula)
    assert ended == {*(vm_ids or []), *([LOST] if is_searched else [])}
    of_lost = [("order", LOST, 0)] + [("terminate-hard", LOST)] * (state == RUNNING)
    done = [event for event in opennebula.events if event[0] != "purge"]
    assert done == (of_lost if is_searched else [])
    if is_searched:
        assert opennebula.events[0] == ("order", LOST, 0), "its service tells of it no more"


def test_where_there_are_too_many_vms_to_search_the_service_is_ended_all_the_same() -> None:
    opennebula = OpenNebula()
    opennebula.add_service(ServiceState.DEPLOYING, [])

    def too_long(whose: int) -> list[Vm]:
        raise BadGateway("too long")

    opennebula.vms_of_user = too_long  # type: ignore[method-assign]
    end(opennebula)
    assert opennebula.events == [("purge", SERVICE)]


def test_a_runtime_whose_vms_are_known_needs_no_search() -> None:
    opennebula = OpenNebula(vms={VM: RUNNING})
    opennebula.vms_of_user = None  # type: ignore[assignment]
    assert end(opennebula, [SERVICE], [VM]) == {VM}


# ---- which services belong to a runtime ---------------------------------------------------------

RUNTIME = Runtime(
    id=900,
    name="lamp",
    functions={"FAAS": function("nature", 1, 1, 1, vm_id=VM)},
    service_id=SERVICE,
    service_name=NAME,
    owner_id=OWNER,
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
    opennebula = OpenNebula(vms={VM: RUNNING})
    for number in (SERVICE, 899, 901, 902, 903):
        # A repeated start has two services; a service older than the runtime is not its own.
        name = NAME if number in (899, 901, 903) else "a service"
        opennebula.add_service(ServiceState.DEPLOYING, [], number, name)
    runtime = dataclasses.replace(RUNTIME, service_id=service_id, phase=phase)
    assert ending.end_runtime(opennebula.request().holdings(runtime), runtime) == {VM}
    assert {number for what, number in opennebula.events if what == "purge"} == purged
    assert opennebula.events[-1] == ("terminate-hard", VM)
