"""A lock is given back by its holder only, and broken by one engine at most."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from provision_engine.cloud.objects import User
from provision_engine.engine.context import Context
from provision_engine.engine.safety import locks, worker_identity
from provision_engine.engine.safety.locks import locked
from provision_engine.errors import BadGateway, Locked
from tests.unit.engine.opennebula import NOW, OpenNebula
from tests.unit.support import OWNER, document

STRANGER = 99
RUNTIME = 9
GONE = f"{worker_identity.current().split()[0]} 4194304 1"
STALE_SECONDS = 120.0


class Oned(OpenNebula):
    """One runtime, its lock, and the tickets for it."""

    def __init__(
        self,
        locked_at: int | None = None,
        worker: str = "",
        claimed_at: int | None = None,
        *,
        with_vm: bool = False,
    ) -> None:
        engine = {"WORKER": worker, "CLAIMED_AT": claimed_at or locked_at}
        body = {"FAAS": {"FLAVOUR": "f", "VM_ID": 7 if with_vm else None}, "ENGINE": engine}
        super().__init__(replace(document(body, id_=RUNTIME), locked_at=locked_at))

    @property
    def locked_at(self) -> int | None:
        return self.pool[RUNTIME].locked_at

    def add_ticket(self, name: str, body: Any, number: int, owner: int = OWNER) -> None:
        self.pool[number] = replace(document(body, id_=number, name=name), user_id=owner)


def request(oned: Oned) -> Context:
    return oned.request(f"timeout: 30\nlock: {{stale_seconds: {STALE_SECONDS:.0f}.5}}")


def ticket(created_at: int, worker: str = "elsewhere 1 1") -> dict[str, Any]:
    return {"ENGINE": {"PHASE": "DELETING", "CREATED_AT": created_at, "WORKER": worker}}


def is_taken(oned: Oned) -> bool:
    """Return whether a request gets the lock; it gives it back."""
    try:
        with locked(request(oned), RUNTIME):
            assert oned.locked_at == NOW
    except Locked:
        return False
    return True


def test_a_holder_that_slept_for_too_long_leaves_the_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Row D: it may be somebody else's by now."""
    oned, uptimes = Oned(), iter([1000.0, 1000.0 + STALE_SECONDS])
    monkeypatch.setattr(locks, "_uptime", lambda: next(uptimes))
    with locked(request(oned), RUNTIME):
        # Taken over by another engine, which works now.
        oned.pool[RUNTIME] = replace(oned.pool[RUNTIME], locked_at=NOW + 1)
    assert oned.locked_at == NOW + 1


ALIVE = "elsewhere 1 1"


@pytest.mark.parametrize(
    "oned",
    [
        *(Oned(NOW - age_seconds, ALIVE) for age_seconds in (0, 60, 119)),
        Oned(NOW - 10, GONE, claimed_at=NOW - 20),  # the lock is another process's
        Oned(NOW - 1, GONE),  # two locks within a second have the same time
    ],
)
def test_a_lock_that_may_be_of_a_living_process_is_respected(oned: Oned) -> None:
    held_since = oned.locked_at
    assert not is_taken(oned)
    assert oned.locked_at == held_since


@pytest.mark.parametrize(("age_seconds", "worker"), [(3, GONE), (119, GONE), (130, ALIVE)])
def test_the_lock_of_a_process_that_died_here_is_taken_over_at_once_and_others_when_stale(
    age_seconds: int, worker: str
) -> None:
    oned = Oned(NOW - age_seconds, worker)
    assert is_taken(oned)
    assert oned.locked_at is None
    assert list(oned.pool) == [RUNTIME]


@pytest.mark.parametrize("locked_at", [None, NOW - 1], ids=["given back", "taken over"])
def test_a_stale_lock_that_changes_meanwhile_is_taken_only_if_it_is_free(
    locked_at: int | None,
) -> None:
    oned = Oned(NOW - 130)
    allocate = oned.allocate_document

    def changed(template: str, document_type: int) -> int:
        oned.pool[RUNTIME] = replace(oned.pool[RUNTIME], locked_at=locked_at)
        return allocate(template, document_type)

    oned.allocate_document = changed  # type: ignore[method-assign]
    assert is_taken(oned) is (locked_at is None)
    assert oned.locked_at == locked_at


@pytest.mark.parametrize(
    ("created_at", "worker", "owner", "wins"),
    [
        (NOW - 1, ALIVE, OWNER, True),
        # Row 6: a stranger's document of that name, also for ever in the future.
        (NOW - 1, ALIVE, STRANGER, False),
        (NOW + 10**6, ALIVE, STRANGER, False),
        # No living engine drew it.
        (NOW + 10**6, ALIVE, OWNER, False),
        (NOW - 130, "", OWNER, False),
        (NOW, GONE, OWNER, False),
    ],
)
def test_an_earlier_ticket_wins_if_a_living_engine_of_the_owner_drew_it(
    created_at: int, worker: str, owner: int, wins: bool
) -> None:
    oned = Oned(NOW - 130)
    oned.add_ticket(f"takeover-{RUNTIME}-{NOW - 130}", ticket(created_at, worker), 20, owner)
    assert is_taken(oned) is not wins
    assert oned.locked_at == (NOW - 130 if wins else None)


def test_a_stranger_does_not_break_the_lock_of_a_runtime_that_it_may_change() -> None:
    oned = Oned(NOW - 130)
    oned.caller = User(STRANGER, is_administrator=False)
    assert not is_taken(oned)
    assert oned.locked_at == NOW - 130
    assert list(oned.pool) == [RUNTIME]


@pytest.mark.parametrize("has_ticket", [False, True])
def test_an_administrator_breaks_it_with_a_ticket_of_the_owner(has_ticket: bool) -> None:
    """So that engines of the owner and of an administrator see the tickets of each other."""
    oned = Oned(NOW - 130)
    oned.caller = User(0, is_administrator=True)
    if has_ticket:
        oned.add_ticket(f"takeover-{RUNTIME}-{NOW - 130}", ticket(NOW - 1), 20)
    assert is_taken(oned) is not has_ticket


@pytest.mark.parametrize("end", ["release_and_read", "forget"])
def test_a_lock_that_a_change_has_given_back_is_not_given_back_again(end: str) -> None:
    """It may be another engine's by then."""
    oned = Oned(with_vm=True)
    with locked(request(oned), RUNTIME) as lock:
        if end == "release_and_read":
            assert lock.release_and_read(lock.runtime) == {}
            assert oned.locked_at is None
            oned.lock_document(RUNTIME)
        else:
            body = oned.pool[RUNTIME]
            request(oned).runtimes.remove(RUNTIME)
            lock.forget()
            oned.pool[RUNTIME] = replace(body, locked_at=NOW)
    assert oned.locked_at == NOW


def test_where_the_vms_cannot_be_read_the_lock_is_given_back_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The change is done: a read that fails is repeated, and the lock is given back once."""
    oned = Oned(with_vm=True)
    with locked(request(oned), RUNTIME) as lock:
        monkeypatch.setattr(oned, "vms", _fail)
        assert lock.release_and_read(lock.runtime) is None
        assert oned.locked_at is None
        oned.lock_document(RUNTIME)  # by another engine
    assert oned.locked_at == NOW


def _fail(*_: Any, **__: Any) -> Any:
    raise BadGateway("no XML")


def test_a_holder_that_slept_reads_without_giving_it_back(monkeypatch: pytest.MonkeyPatch) -> None:
    oned, uptimes = Oned(with_vm=True), iter([1000.0, *[1000.0 + STALE_SECONDS] * 2])
    monkeypatch.setattr(locks, "_uptime", lambda: next(uptimes))
    with locked(request(oned), RUNTIME) as lock:
        assert lock.release_and_read(lock.runtime) is None
    assert oned.locked_at == NOW
