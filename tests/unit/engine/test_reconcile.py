"""What reconcile finds, for whom, and what it leaves alone."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from provision_engine.cloud.enums import ServiceState
from provision_engine.cloud.objects import Document, User, Vm
from provision_engine.engine.runtime.model import Phase, Runtime
from provision_engine.engine.safety import reconcile
from provision_engine.engine.safety.reconcile import Reconciler, Result
from provision_engine.errors import BackendTimeout, BadGateway
from tests.unit.engine.opennebula import NOW, OpenNebula
from tests.unit.engine.test_abandoned import (
    DONE,
    ID,
    NAME,
    OF_ITS_OWN,
    RUNNING,
    SERVICE,
    SHUTDOWN,
    STRANGER,
    VM,
    request,
    runtime,
)
from tests.unit.support import OWNER, document, vm

HOUR = 3600
READY = runtime(Phase.READY, **OF_ITS_OWN, created_at=NOW - HOUR)


def opennebula(
    *runtimes: Runtime, state: int | None = None, name: str = NAME, age: int = HOUR
) -> OpenNebula:
    """Runtimes, the service in this state, if any, and its VM."""
    made = OpenNebula(vms={VM: RUNNING})
    for known in runtimes:
        made.add_runtime(known)
    if state is not None:
        made.add_service(state, [VM], SERVICE, name)
        body = made.pool[SERVICE].body | {"start_time": NOW - age}
        made.pool[SERVICE] = replace(made.pool[SERVICE], body_text=json.dumps(body))
    return made


def found(made: OpenNebula, older_than_seconds: float = 0) -> list[tuple[str, str, str]]:
    leftovers = Reconciler(request(made), older_than_seconds).find()
    return [(leftover.case.kind, leftover.detail, leftover.case.remedy) for leftover in leftovers]


RUNS, COOLS = ServiceState.RUNNING, ServiceState.COOLDOWN


@pytest.mark.parametrize(
    ("known", "state", "expected"),
    [
        (READY, RUNS, []),
        (READY, COOLS, []),
        (runtime(Phase.STANDBY, **OF_ITS_OWN), RUNS, []),
        (runtime(Phase.CREATING), RUNS, [("unfinished", "CREATING", "remove")]),
        (runtime(Phase.DELETING), None, [("unfinished", "DELETING", "remove")]),
        (runtime(Phase.TAKEN, **OF_ITS_OWN), RUNS, [("unfinished", "TAKEN", "remove")]),
        (READY, None, [("service gone", "", "remove")]),
        (replace(READY, service_id=None), None, [("unreadable", "names no service", "none")]),
        (replace(READY, locked_at=NOW - HOUR), RUNS, [("stale lock", "", "unlock")]),
        (replace(READY, locked_at=NOW), RUNS, []),
        *(
            (READY, ServiceState[name], [("failed", name, remedy)])
            for name, remedy in {
                "FAILED_DEPLOYING": "recover",
                "FAILED_SCALING": "recover",
                "FAILED_UNDEPLOYING": "remove",
                "FAILED_UNDEPLOYING_NETS": "remove",
            }.items()
        ),
    ],
)
def test_what_is_wrong_with_a_runtime(
    known: Runtime, state: int | None, expected: list[tuple[str, str, str]]
) -> None:
    assert found(opennebula(known, state=state)) == expected


@pytest.mark.parametrize(
    ("known", "name", "age", "is_orphan"),
    [
        ([], NAME, HOUR, True),
        ([], NAME, 60, False),
        ([], "of another program", HOUR, False),
        ([READY], NAME, HOUR, False),
        ([replace(READY, service_id=SERVICE + 1)], NAME, HOUR, True),
        ([runtime(intended_at=NOW)], NAME, HOUR, False),  # unfinished: it is found by its name
        ([runtime(intended_at=NOW, service_name=NAME[:-1] + "1")], NAME, HOUR, True),
    ],
)
def test_a_service_that_no_document_knows_is_an_orphan(
    known: list[Runtime], name: str, age: int, is_orphan: bool
) -> None:
    orphans = [kind for kind, _, _ in found(opennebula(*known, state=RUNS, name=name, age=age))]
    assert ("orphan" in orphans) is is_orphan


def test_what_a_stranger_writes_makes_nothing_known_and_a_log_makes_a_service_younger() -> None:
    made, documents = opennebula(state=RUNS), OpenNebula.documents
    made.add_runtime(replace(READY, owner_id=STRANGER))
    everything = lambda type_, whose, **ids: documents(made, type_, **ids)  # noqa: E731
    made.documents = everything  # type: ignore[method-assign]
    assert found(made) == [("orphan", "RUNNING", "remove")]
    body = made.pool[SERVICE].body | {"log": [{"timestamp": NOW - 60}, {}]}
    made.pool[SERVICE] = replace(made.pool[SERVICE], body_text=json.dumps(body))
    assert found(made) == []


def test_a_document_that_cannot_be_read_is_shown_and_what_it_mentions_is_known() -> None:
    made = opennebula(state=RUNS)
    made.vms_by_id[VM] = lost_vm()
    made.pool[ID] = document(f'{{broken "VM_ID": "{VM}", {NAME}', id_=ID)
    assert found(made) == [("unreadable", "no runtime", "none")]
    (leftover,) = Reconciler(request(made), HOUR).find()
    assert Reconciler(request(made), 0).apply(leftover) == leftover.settled(Result.FOUND)
    del made.pool[SERVICE]
    assert found(made) == [("unreadable", "no runtime", "none")]
    made.pool[ID] = document("{broken", id_=ID)
    assert found(made) == [("unreadable", "no runtime", "none"), ("lost VM", "VM 7", "end")]


def lost_vm(states: tuple[int, int] = RUNNING, **parts: Any) -> Vm:
    ours = {"is_of_engine": True, "service_id": SERVICE, "started_at": NOW - HOUR}
    return replace(vm(*states, vm_id=VM), **(ours | parts))


@pytest.mark.parametrize(
    ("parts", "service", "is_lost"),
    [
        ({}, None, True),
        ({}, "of another user", False),
        ({}, "hidden", False),
        ({}, "another document", True),
        ({"states": SHUTDOWN}, None, False),
        ({"user_id": STRANGER}, None, False),
        ({"started_at": NOW - 60}, None, False),
        ({"is_of_engine": False}, None, False),
        ({"service_id": None}, None, False),
    ],
)
def test_a_vm_whose_service_is_gone_is_lost(
    parts: dict[str, Any], service: str | None, is_lost: bool
) -> None:
    made = OpenNebula()
    made.vms_by_id[VM] = lost_vm(**parts)
    made.vms_of_user = lambda whose: list(made.vms_by_id.values())  # type: ignore[method-assign]
    if service is not None:
        made.add_service(RUNS, [], SERVICE)
        type_ = 1337 if service == "another document" else 100
        made.pool[SERVICE] = replace(made.pool[SERVICE], user_id=STRANGER, type=type_)
    made.hidden = {SERVICE} if service == "hidden" else set()
    assert (found(made) == [("lost VM", "VM 7", "end")]) is is_lost


@pytest.mark.parametrize(("age", "is_found"), [(130, True), (110, False)])
def test_a_lost_vm_is_found_as_soon_as_no_request_can_have_it(age: int, is_found: bool) -> None:
    made = opennebula(state=RUNS)
    service_id = SERVICE + 1
    made.vms_by_id[8] = replace(lost_vm(started_at=NOW - age, service_id=service_id), id=8)
    assert found(made, 2 * HOUR) == ([("lost VM", "VM 8", "end")] if is_found else [])


# ---- for whom -----------------------------------------------------------------------------------


def test_a_user_whose_documents_cannot_be_read_hides_no_other() -> None:
    made, documents = opennebula(READY), OpenNebula.documents
    made.caller = User(0, is_administrator=True)

    def too_many(document_type: int, whose: int = -2, **ids: int) -> list[Document]:
        if whose == STRANGER:
            raise BadGateway("too long")
        return documents(made, document_type, whose, **ids)

    made.user_ids = lambda: [OWNER, STRANGER]  # type: ignore[method-assign]
    made.documents = too_many  # type: ignore[method-assign,assignment]
    told = "Invalid response from OpenNebula: too long"
    assert found(made) == [("service gone", "", "remove"), ("unreadable", told, "none")]


def test_of_the_user_of_oneflow_only_vms_are_looked_at() -> None:
    """It owns those that a oneflow which was restarted deployed."""
    made = opennebula()
    for number, owner in ((ID, reconcile.ONEFLOW_USER), (ID + 1, OWNER)):
        made.add_runtime(replace(READY, id=number, owner_id=owner))
    made.caller = User(0, is_administrator=True)
    made.user_ids = lambda: [reconcile.ONEFLOW_USER, OWNER]  # type: ignore[method-assign]
    made.vms_by_id[8] = replace(lost_vm(user_id=reconcile.ONEFLOW_USER, service_id=77), id=8)
    leftovers = Reconciler(request(made), 0).find()
    assert [(f.case.kind, f.owner_id) for f in leftovers] == [
        ("lost VM", 1),
        ("service gone", OWNER),
    ]


def test_an_administrator_settles_what_others_left_also_users_who_are_gone() -> None:
    made = opennebula(runtime(Phase.DELETING))
    made.caller = User(0, is_administrator=True)
    made.user_ids = lambda: [OWNER]  # type: ignore[method-assign]
    made.vms_by_id[8] = replace(lost_vm(user_id=STRANGER, service_id=77), id=8)
    reconciler = Reconciler(request(made), 0)
    settled = [reconciler.apply(leftover) for leftover in reconciler.find()]
    assert [(o.owner_id, o.result) for o in settled] == [
        (OWNER, Result.DONE),
        (STRANGER, Result.DONE),
    ]
    assert (ID in made.pool, made.events) == (False, [("terminate-hard", 8)])


def test_the_pool_of_all_vms_may_be_too_long() -> None:
    made = opennebula(READY)
    made.caller = User(0, is_administrator=True)

    def too_long() -> set[int]:
        raise BackendTimeout("slow")

    made.owners_of_vms = too_long  # type: ignore[method-assign]
    assert found(made) == [("service gone", "", "remove")]


# ---- looked at again ----------------------------------------------------------------------------

DOOMED, FAILED = ServiceState.FAILED_UNDEPLOYING, ServiceState.FAILED_DEPLOYING


@pytest.mark.parametrize(
    ("state", "change", "result", "events"),
    [
        (FAILED, {}, Result.DONE, [("recover", SERVICE)]),
        (FAILED, {"phase": Phase.DELETING}, Result.GONE, []),
        (FAILED, {"service_id": SERVICE + 1}, Result.GONE, []),
        (FAILED, {"locked_at": NOW}, Result.BUSY, []),
        (FAILED, "runs", Result.GONE, []),
        (FAILED, "doomed", Result.GONE, []),
        (DOOMED, {}, Result.DONE, [("purge", SERVICE), ("terminate-hard", VM)]),
        (DOOMED, {"phase": Phase.DELETING}, Result.GONE, []),
        (DOOMED, "runs", Result.GONE, []),
        (None, {}, Result.FOUND, []),  # its VM is alive
        (None, "ended", Result.DONE, []),
        (None, "runs", Result.GONE, []),
        (None, {"phase": Phase.REPLACING}, Result.GONE, []),
        (None, {"service_id": SERVICE + 1}, Result.GONE, []),
        (None, {"owner_id": STRANGER}, Result.GONE, []),
        (None, "gone", Result.GONE, []),
    ],
)
def test_nothing_is_done_about_what_has_changed(
    state: int | None, change: dict[str, Any] | str, result: Result, events: list[Any]
) -> None:
    made = opennebula(READY, state=state)
    reconciler = Reconciler(request(made), 0)
    (leftover,) = reconciler.find()
    if isinstance(change, dict):
        made.add_runtime(replace(READY, **change))
    elif change == "gone":
        made.delete_document(ID)
    elif change == "ended":
        made.vms_by_id[VM] = vm(*DONE, vm_id=VM)
    else:
        made.add_service(DOOMED if change == "doomed" else RUNS, [VM], SERVICE, NAME)
    assert reconciler.apply(leftover).result is result
    assert made.events == events


@pytest.mark.parametrize("change", ["", "document", "service"])
def test_an_orphan_or_a_lost_vm_that_is_known_by_now_is_left_alone(change: str) -> None:
    for made in (opennebula(state=RUNS), OpenNebula()):
        made.vms_by_id[VM] = lost_vm()
        is_vm = SERVICE not in made.pool
        reconciler = Reconciler(request(made), 0)
        (leftover,) = reconciler.find()
        if change == "document":
            made.add_runtime(READY)
        elif change == "service" and is_vm:
            made.add_service(RUNS, [VM], SERVICE, NAME)
        elif change == "service":
            made.delete_document(SERVICE)
        assert reconciler.apply(leftover).result is (Result.GONE if change else Result.DONE)
        assert bool(made.events) is (not change)


def test_only_its_owner_recovers_a_service() -> None:
    made = opennebula(READY, state=FAILED)
    made.caller = User(0, is_administrator=True)
    reconciler = Reconciler(request(made), 0)
    (leftover,) = reconciler.find()
    assert reconciler.apply(leftover) == leftover.settled(
        Result.FOUND, "only its owner can recover it"
    )
    assert made.events == []


def test_what_cannot_be_done_says_why() -> None:
    made = opennebula(READY, state=FAILED)
    reconciler = Reconciler(request(made), 0)
    (leftover,) = reconciler.find()
    made.hidden = {ID}
    refused = leftover.settled(Result.FAILED, "Permission denied by OpenNebula: no")
    assert reconciler.apply(leftover) == refused
