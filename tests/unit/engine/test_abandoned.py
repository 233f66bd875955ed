"""What dead engines left: when it is abandoned, who resolves it, and what becomes of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from provision_engine.cloud.enums import DocumentType, LcmState, ServiceState, VmState
from provision_engine.deadline import Deadline
from provision_engine.engine.context import Context
from provision_engine.engine.runtime.model import Phase, Runtime
from provision_engine.engine.safety import abandoned, worker_identity
from provision_engine.errors import Forbidden, Locked
from tests.unit.engine.opennebula import NOW, OpenNebula
from tests.unit.support import OWNER, function, vm

STRANGER, STALE_SECONDS = 99, 120
CONFIGURATION = f"timeout: 30\nlock: {{stale_seconds: {STALE_SECONDS}}}"
ID, SERVICE, VM = 900, 950, 7
NAME = "nature_2f347b8c-4f5a-4d17-98bc-4680dcbbf9b0"
ALIVE, GONE = "elsewhere 1 1", f"{worker_identity.current().split()[0]} 4194304 1"
OLD = NOW - STALE_SECONDS

RUNNING = (VmState.ACTIVE, LcmState.RUNNING)
SHUTDOWN = (VmState.ACTIVE, LcmState.SHUTDOWN)
DONE = (VmState.DONE, LcmState.LCM_INIT)
CREATING, READY, REPLACING, TAKEN = Phase.CREATING, Phase.READY, Phase.REPLACING, Phase.TAKEN
DELETING, STANDBY = Phase.DELETING, Phase.STANDBY


def runtime(phase: Phase = CREATING, vm_id: int | None = None, **parts: Any) -> Runtime:
    """By default one that an engine left long ago."""
    functions = {"FAAS": function("nature", 1, 1, 1, vm_id=vm_id)}
    known = {"owner_id": OWNER, "service_name": NAME, "created_at": OLD, "intended_at": OLD}
    return Runtime(ID, "lamp", functions, phase=phase, **(known | {"worker": ALIVE} | parts))


def request(opennebula: OpenNebula) -> Context:
    return opennebula.request(CONFIGURATION)


def phase_of(opennebula: OpenNebula) -> Phase | None:
    return request(opennebula).runtimes.get(ID).phase if ID in opennebula.pool else None


# ---- when it is abandoned -----------------------------------------------------------------------

AGES = [
    # (age in seconds, worker, is abandoned)
    (0, ALIVE, False),
    (0, GONE, True),
    (STALE_SECONDS - 1, ALIVE, False),
    (STALE_SECONDS, ALIVE, True),  # of OpenNebula's clock, which is half a second later
    (-STALE_SECONDS, ALIVE, False),
    (-STALE_SECONDS - 1, ALIVE, True),  # no engine writes a time in the future
]


@pytest.mark.parametrize(("age", "worker", "is_abandoned"), AGES)
@pytest.mark.parametrize("phase", [CREATING, REPLACING, TAKEN, DELETING])
def test_what_a_process_works_on_is_abandoned_when_that_is_gone_or_time_is_over(
    phase: Phase, age: int, worker: str, is_abandoned: bool
) -> None:
    left = runtime(phase, intended_at=NOW - age, worker=worker)
    assert abandoned.is_abandoned(request(OpenNebula()), left) is is_abandoned


@pytest.mark.parametrize(
    ("locked_at", "worker", "is_abandoned"),
    [
        (None, ALIVE, True),
        (NOW, ALIVE, False),
        (NOW, GONE, True),
        (OLD + 1, ALIVE, False),
        (OLD, ALIVE, True),
    ],
)
def test_a_service_is_deleted_under_a_lock(
    locked_at: int | None, worker: str, is_abandoned: bool
) -> None:
    left = runtime(
        DELETING, intended_at=NOW, service_id=SERVICE, worker=worker, locked_at=locked_at
    )
    assert abandoned.is_abandoned(request(OpenNebula()), left) is is_abandoned


@pytest.mark.parametrize("phase", [READY, STANDBY])
def test_what_is_settled_is_never_abandoned(phase: Phase) -> None:
    left = runtime(phase, service_id=SERVICE, worker=GONE)
    assert not abandoned.is_abandoned(request(OpenNebula()), left)


@pytest.mark.parametrize("phase", [CREATING, REPLACING, TAKEN, DELETING])
def test_only_the_owner_settles_it_or_whoever_reconciles(phase: Phase) -> None:
    caller, left = request(OpenNebula()), runtime(phase, owner_id=STRANGER)
    assert not abandoned.is_abandoned(caller, left)
    assert abandoned.is_abandoned(replace(caller, is_reconciling=True), left)


@pytest.mark.parametrize(
    ("phase", "intended_at", "is_abandoned", "is_visible"),
    [
        (CREATING, NOW, False, True),
        (CREATING, OLD, True, False),
        (REPLACING, NOW, False, True),
        (REPLACING, OLD, True, True),
        (DELETING, NOW, False, False),
        (DELETING, OLD, True, False),
        (TAKEN, NOW, False, False),
        (TAKEN, OLD, True, False),
        (READY, OLD, False, True),
    ],
)
def test_a_list_shows_what_its_user_has(
    phase: Phase, intended_at: int, is_abandoned: bool, is_visible: bool
) -> None:
    left = runtime(phase, intended_at=intended_at)
    to_settle, visible = abandoned.partition(request(OpenNebula()), [left])
    assert (bool(to_settle), bool(visible)) == (is_abandoned, is_visible)


# ---- what becomes of it -------------------------------------------------------------------------

FOUND = {SERVICE: (ServiceState.RUNNING, [VM])}
OF_ITS_OWN = {"vm_id": VM, "service_id": SERVICE}
DELETED = [("delete", SERVICE), ("order", VM, 20)]


@pytest.mark.parametrize(
    ("left", "services", "vm", "becomes", "events"),
    [
        # A create that is repeated takes over what is whole, and only that.
        (runtime(), FOUND, RUNNING, READY, []),
        (runtime(), FOUND, SHUTDOWN, None, DELETED),
        (runtime(), FOUND, DONE, None, [("delete", SERVICE)]),
        (runtime(), {}, RUNNING, None, []),
        (runtime(), {SERVICE: (ServiceState.RUNNING, [])}, RUNNING, None, [("delete", SERVICE)]),
        (
            runtime(),
            {SERVICE: (ServiceState.UNDEPLOYING, [VM])},
            RUNNING,
            None,
            [("order", VM, 20)],
        ),
        (
            runtime(),
            {SERVICE: (ServiceState.FAILED_DEPLOYING, [VM])},
            RUNNING,
            None,
            [("purge", SERVICE), ("terminate-hard", VM)],
        ),
        (
            runtime(),
            FOUND | {951: (ServiceState.RUNNING, [])},
            RUNNING,
            None,
            [("delete", SERVICE), ("delete", 951), ("order", VM, 20)],
        ),
        (runtime(**OF_ITS_OWN), FOUND, RUNNING, None, DELETED),  # a standby, half adapted
        # A replacement stays its user's.
        (runtime(REPLACING), FOUND, RUNNING, READY, []),
        (runtime(REPLACING), {}, RUNNING, READY, []),
        (runtime(REPLACING, **OF_ITS_OWN), FOUND, RUNNING, READY, DELETED),
        # What is being deleted or handed over is ended.
        (runtime(DELETING, **OF_ITS_OWN), FOUND, RUNNING, None, DELETED),
        (runtime(TAKEN, **OF_ITS_OWN), FOUND, RUNNING, None, DELETED),
        # oneflow may still start the service of an engine that has just died.
        (runtime(intended_at=NOW, worker=GONE), {}, RUNNING, DELETING, []),
        (runtime(intended_at=NOW, worker=GONE, service_name=""), {}, RUNNING, None, []),
        (runtime(REPLACING, intended_at=NOW, worker=GONE), {}, RUNNING, REPLACING, []),
        # It has started it by now.
        (runtime(DELETING, intended_at=NOW, worker=GONE), FOUND, RUNNING, None, DELETED),
        (runtime(REPLACING, intended_at=NOW, worker=GONE), FOUND, SHUTDOWN, READY, DELETED),
        # It is not abandoned.
        (runtime(intended_at=NOW), FOUND, RUNNING, CREATING, []),
        (runtime(DELETING, intended_at=NOW), FOUND, RUNNING, DELETING, []),
        (runtime(READY, **OF_ITS_OWN), FOUND, RUNNING, READY, []),
        (runtime(owner_id=STRANGER), FOUND, RUNNING, CREATING, []),
    ],
)
def test_what_a_dead_engine_left_is_finished_or_undone(
    left: Runtime,
    services: dict[int, tuple[int, list[int]]],
    vm: tuple[int, int],
    becomes: Phase | None,
    events: list[Any],
) -> None:
    opennebula = OpenNebula(vms={VM: vm})
    opennebula.add_runtime(left)
    for service_id, (state, vm_ids) in services.items():
        opennebula.add_service(state, vm_ids, service_id, NAME)
    resolved = abandoned.resolve(request(opennebula), ID, is_repeated=True)
    assert phase_of(opennebula) == becomes
    assert opennebula.events == events
    assert (resolved is None) is (becomes in (None, DELETING))
    if becomes in (READY, REPLACING) and left.phase is not READY:
        has_service = bool(services) and not events
        expected = (SERVICE, [VM]) if has_service else (None, [])
        assert resolved is not None
        assert (resolved.service_id, resolved.vm_ids) == expected
    if becomes is not None:
        assert opennebula.pool[ID].locked_at is None


@pytest.mark.parametrize("phase", [CREATING, REPLACING, DELETING])
@pytest.mark.parametrize(
    ("parts", "other", "is_ended"),
    [
        ({}, "", True),
        ({"service_id": ID - 1}, "", False),  # older than the document
        ({"service_id": None}, "", False),
        ({"user_id": STRANGER}, "", False),
        ({"is_of_engine": False}, "", False),
        ({}, "service", False),
        ({}, "runtime", False),
    ],
)
def test_a_vm_is_ended_whose_service_oneflow_removed_before_its_id_was_written_down(
    phase: Phase, parts: dict[str, Any], other: str, is_ended: bool
) -> None:
    opennebula = OpenNebula()
    known = {"service_id": SERVICE, "user_id": OWNER, "is_of_engine": True} | parts
    opennebula.vms_by_id[VM] = replace(vm(*RUNNING, vm_id=VM), **known)
    opennebula.add_runtime(runtime(phase))
    if other == "service":
        opennebula.add_service(ServiceState.RUNNING, [VM], SERVICE, "another's")
    if other == "runtime":
        opennebula.add_runtime(replace(runtime(READY, vm_id=VM), id=ID - 2))
    abandoned.resolve(request(opennebula), ID)
    assert opennebula.events == ([("terminate-hard", VM)] if is_ended else [])


def test_the_time_in_which_a_service_may_appear_does_not_begin_again() -> None:
    opennebula = OpenNebula()
    opennebula.add_runtime(runtime(DELETING, intended_at=NOW - 60, worker=GONE))
    assert abandoned.resolve(request(opennebula), ID) is None
    left = request(opennebula).runtimes.get(ID)
    assert (left.intended_at, left.worker) == (NOW - 60, worker_identity.current())


def test_a_standby_that_was_handed_over_keeps_its_service() -> None:
    opennebula = OpenNebula(vms={VM: RUNNING})
    opennebula.add_runtime(runtime(TAKEN, **OF_ITS_OWN))
    opennebula.add_runtime(replace(runtime(READY, **OF_ITS_OWN), id=ID + 1))
    opennebula.add_service(ServiceState.RUNNING, [VM], SERVICE, NAME)
    assert abandoned.resolve(request(opennebula), ID) is None
    assert opennebula.events == []
    assert opennebula.ids(DocumentType.RUNTIME) == [ID + 1]


def test_what_is_gone_or_locked_is_told() -> None:
    opennebula = OpenNebula()
    assert abandoned.resolve(request(opennebula), ID) is None
    opennebula.add_runtime(runtime(locked_at=NOW))
    with pytest.raises(Locked):
        abandoned.resolve(request(opennebula), ID)


# ---- in passing ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "is_removed"),
    [
        ({}, True),
        ({"lease_ends_at": NOW + 60}, False),  # renewed
        ({"service_id": SERVICE + 1}, False),
        ({"phase": TAKEN}, False),
        ({"locked_at": NOW}, False),
        ({"owner_id": STRANGER}, False),
    ],
)
def test_what_is_left_of_an_expired_runtime_is_removed_unless_it_has_changed(
    change: dict[str, Any], is_removed: bool
) -> None:
    opennebula = OpenNebula(vms={VM: DONE})
    read = runtime(READY, **OF_ITS_OWN, lease_ends_at=OLD)
    opennebula.add_runtime(replace(read, **change))
    if "owner_id" in change:
        read = replace(read, **change)
    abandoned.remove_expired(request(opennebula), [read])
    assert (ID not in opennebula.pool) is is_removed


def test_a_request_about_something_else_spends_a_moment_and_is_never_failed() -> None:
    opennebula = OpenNebula()
    lefts = [replace(runtime(), id=ID + n) for n in range(3)]
    for left in lefts:
        opennebula.add_runtime(left)
    opennebula.deadline = Deadline(0)
    abandoned.resolve_all(request(opennebula), lefts)
    assert len(opennebula.pool) == 3
    opennebula.deadline = Deadline(20)
    opennebula.hidden = {ID + 1}
    abandoned.resolve_all(request(opennebula), lefts)
    assert list(opennebula.pool) == [ID + 1, ID + 2], "the first error ends it"


def test_forbidden_is_not_hidden() -> None:
    opennebula = OpenNebula()
    opennebula.add_runtime(runtime())
    opennebula.hidden = {ID}
    with pytest.raises(Forbidden):
        abandoned.resolve(request(opennebula), ID)
