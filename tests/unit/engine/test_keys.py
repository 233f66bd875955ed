"""One runtime for one idempotency key: which one, and who waits for it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from provision_engine.cloud.enums import ServiceState
from provision_engine.deadline import Deadline
from provision_engine.engine.runtime.model import Phase
from provision_engine.engine.safety import keys
from provision_engine.engine.safety.keys import OtherCreateIsFirst
from provision_engine.errors import Locked
from tests.unit.engine.opennebula import NOW, OpenNebula
from tests.unit.engine.test_abandoned import NAME, RUNNING, SERVICE, VM, request, runtime

KEY = {"key": "k", "digest": "d"}


class Slot:
    """Counts how often it was taken."""

    taken = 0

    @contextmanager
    def __call__(self) -> Iterator[None]:
        self.taken += 1
        yield


def pool(*phases: Phase, key: str = "k") -> OpenNebula:
    """A user's runtimes, from id 1 on, each as it is written by an engine at work."""
    opennebula = OpenNebula(vms={VM: RUNNING})
    for number, phase in enumerate(phases, 1):
        made = runtime(phase, intended_at=NOW, created_at=NOW, key=key, digest="d")
        opennebula.add_runtime(replace(made, id=number))
    return opennebula


@pytest.mark.parametrize(
    ("phases", "found"),
    [
        ([], None),
        ([Phase.READY], 1),
        ([Phase.READY, Phase.READY], 1),
        ([Phase.REPLACING, Phase.READY], 1),
        ([Phase.DELETING, Phase.READY], 2),
        ([Phase.TAKEN, Phase.READY], 2),
        ([Phase.DELETING], None),
    ],
)
def test_the_oldest_runtime_of_a_key_that_its_user_can_see_is_found(
    phases: list[Phase], found: int | None
) -> None:
    opennebula, slot = pool(*phases), Slot()
    caller = request(opennebula)
    for _ in range(2):
        existing = keys.find(caller, "k", "d", slot)
        assert (existing.id if existing else None) == found
    assert keys.find(caller, "another", "d", slot) is None
    assert slot.taken == 0
    gone = [n for n, phase in enumerate(phases, 1) if phase in (Phase.DELETING, Phase.TAKEN)]
    assert [opennebula.reads.count(f"document {n}") for n in gone] == [1] * len(gone)


def test_a_repetition_waits_for_the_create_and_holds_a_slot_meanwhile() -> None:
    opennebula, slot = pool(Phase.CREATING), Slot()
    opennebula.deadline = Deadline(0.5)
    with pytest.raises(Locked):
        keys.find(request(opennebula), "k", "d", slot)
    assert slot.taken == 1
    assert not opennebula.deadline.is_over, "some time is left for the response"
    opennebula.deadline = Deadline(20)
    reads: list[int] = []
    read = opennebula.document

    def finished_by_another(document_id: int) -> object:
        reads.append(document_id)
        if len(reads) == 3:
            done = runtime(Phase.READY, service_id=SERVICE, **KEY)
            opennebula.add_runtime(replace(done, id=1))
        return read(document_id)

    opennebula.document = finished_by_another  # type: ignore[method-assign,assignment]
    existing = keys.find(request(opennebula), "k", "d", slot)
    assert existing is not None
    assert (existing.phase, slot.taken) == (Phase.READY, 2)


@pytest.mark.parametrize("is_whole", [True, False])
def test_a_repetition_finishes_what_a_dead_engine_began_or_creates_anew(is_whole: bool) -> None:
    opennebula = pool()
    opennebula.add_runtime(runtime(**KEY))
    if is_whole:
        opennebula.add_service(ServiceState.RUNNING, [VM], SERVICE, NAME)
    existing = keys.find(request(opennebula), "k", "d", Slot())
    assert (existing is not None) is is_whole
    assert bool(opennebula.pool) is is_whole


def test_a_locked_one_is_waited_for() -> None:
    opennebula = pool()
    opennebula.add_runtime(runtime(locked_at=NOW, **KEY))
    opennebula.deadline = Deadline(0.1)
    with pytest.raises(Locked, match="still creating"):
        keys.find(request(opennebula), "k", "d", Slot())


@pytest.mark.parametrize(
    ("phases", "is_first"),
    [
        ([Phase.CREATING], True),
        ([Phase.CREATING, Phase.CREATING], False),
        ([Phase.READY, Phase.CREATING], False),
        ([Phase.DELETING, Phase.CREATING], True),
    ],
)
def test_of_several_creates_the_lowest_id_wins(phases: list[Phase], is_first: bool) -> None:
    opennebula = pool(*phases)
    caller, mine = request(opennebula), replace(runtime(**KEY), id=len(phases))
    keys.check_first(caller, replace(mine, key=""))
    assert opennebula.reads == []
    if is_first:
        keys.check_first(caller, mine)
    else:
        with pytest.raises(OtherCreateIsFirst):
            keys.check_first(caller, mine)
