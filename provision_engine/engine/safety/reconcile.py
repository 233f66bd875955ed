"""Find and settle what crashes, lost responses and strangers left behind.

One user after the other, each with nothing but what belongs to that user: so no document leads to
another user's VM, and no flood of documents hides more than those of the user who wrote them. It is
safe beside running engines: nothing is touched that is younger than any request lasts, and
everything is looked at again, under the runtime's lock, before it is changed. The rules are in
docs/reliability.md.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum

from provision_engine.cloud.enums import ServiceState
from provision_engine.cloud.objects import Service
from provision_engine.deadline import Deadline
from provision_engine.engine.context import Context
from provision_engine.engine.runtime import states
from provision_engine.engine.runtime.model import Runtime
from provision_engine.engine.runtime.states import service_state
from provision_engine.engine.safety import abandoned, ending, intents, lost, services
from provision_engine.engine.safety.locks import locked
from provision_engine.errors import BackendTimeout, BadGateway, EngineError, Locked, NotFound

ONEFLOW_USER = 1
"""serveradmin: a oneflow that was restarted deploys a service again as this user."""
DOOMED_STATES = (ServiceState.FAILED_UNDEPLOYING, ServiceState.FAILED_UNDEPLOYING_NETS)
"""A service in one of these was to be ended, so that it is not recovered but removed."""


class Result(StrEnum):
    """The result of settling a leftover."""

    FOUND = "found"
    """Nothing was done about it."""
    DONE = "done"
    GONE = "gone by itself"
    """When it was looked at again, nothing was wrong any more."""
    BUSY = "busy"
    """An engine is at it just now."""
    FAILED = "failed"


@dataclass(frozen=True)
class Case:
    """Something that may be wrong, and its remedy."""

    kind: str
    remedy: str
    apply: Callable[[Context, Leftover], Result]
    """Looks again, and puts it in order. Raises NotFound where it is not wrong any more."""


@dataclass(frozen=True)
class Leftover:
    """One thing that is wrong, of a user."""

    case: Case
    document_id: int | None
    service_id: int | None
    owner_id: int
    """OpenNebula's id of the user whom it belongs to."""
    name: str
    age_seconds: float
    detail: str = ""
    """The phase of a document, the state of a service."""
    vm_id: int | None = None
    result: Result = Result.FOUND
    reason: str = ""
    """The reason for the result."""

    def settled(self, result: Result, reason: object = "") -> Leftover:
        """Return the same leftover with the result of an attempt to put it in order."""
        return dataclasses.replace(self, result=result, reason=str(reason))


class _UpToOwner(EngineError):
    """Only the owner may do it, and nothing is wrong with that."""


class Reconciler:
    """Finds and settles for one caller: an ordinary user's own things, or everybody's.

    Nothing younger than ``older_than_seconds`` is found, except lost VMs; nothing younger than any
    request takes. Each user, and each remedy, may take as long as a request.
    """

    def __init__(self, context: Context, older_than_seconds: float) -> None:
        self._context = context
        self._older_than_seconds = max(older_than_seconds, context.stale_seconds)

    def find(self) -> list[Leftover]:
        """Return all that is wrong and old enough; change nothing. Raises EngineError."""
        found = list[Leftover]()
        for owner_id in self._owners():
            try:
                found += list(_leftovers(self._settling(), owner_id))
            except (BadGateway, BackendTimeout) as error:
                name, detail = f"user {owner_id}", str(error)
                found.append(Leftover(UNREADABLE, None, None, owner_id, name, math.inf, detail))
        least_seconds = {LOST_VM: self._context.stale_seconds}
        return [
            f for f in found if f.age_seconds > least_seconds.get(f.case, self._older_than_seconds)
        ]

    def apply(self, leftover: Leftover) -> Leftover:
        """Put one thing in order, if it is still wrong. Never raises EngineError."""
        try:
            return leftover.settled(leftover.case.apply(self._settling(), leftover))
        except NotFound:
            return leftover.settled(Result.GONE)
        except _UpToOwner as error:
            return leftover.settled(Result.FOUND, error.message)
        except Locked as error:
            return leftover.settled(Result.BUSY, error.message)
        except EngineError as error:
            return leftover.settled(Result.FAILED, error)

    def _owners(self) -> list[int]:
        """Return the users whose things the caller settles."""
        user, oned = self._context.user(), self._context.cloud.oned
        if not user.is_administrator:
            return [user.id]
        owners = set(oned.user_ids())
        with suppress(BadGateway, BackendTimeout):  # one user can make this pool very long
            owners |= set(oned.owners_of_vms())  # VMs of a user who was removed may live on
        return sorted(owners)

    def _settling(self) -> Context:
        """Return the caller with the time of a request, and with the right to settle."""
        limited = self._context.with_deadline(Deadline(self._context.configuration.timeout_seconds))
        is_administrator = self._context.user().is_administrator
        return dataclasses.replace(limited, is_reconciling=is_administrator)


# ---- search -------------------------------------------------------------------------------------


def _leftovers(context: Context, owner_id: int) -> Iterator[Leftover]:
    """Yield what is wrong among the things of one user."""
    # The services first: each has a document before it exists, so that one which is read
    # later cannot lack the document of a service that was just started.
    known = {service.id: service for service in context.holdings_of(owner_id).services(0)}
    documents = lost.Documents(context, owner_id)
    if owner_id != ONEFLOW_USER:
        for runtime in documents.runtimes:
            if found := _inspect(context, runtime, known):
                yield found
        for document in documents.unreadable:
            age, detail = math.inf, "no runtime"  # nothing in it tells its age
            yield Leftover(UNREADABLE, document.id, None, owner_id, document.name, age, detail)
        for service in known.values():
            if services.ENGINE_NAME.fullmatch(service.name) and not documents.know_service(service):
                age, detail = _age_seconds(context, _last_change(service)), service_state(service)
                yield Leftover(ORPHAN, None, service.id, owner_id, service.name, age, detail)
    vm_ids = documents.vm_ids()
    for vm in context.cloud.oned.vms_of_user(owner_id):
        is_candidate = vm.user_id == owner_id and vm.is_of_engine and not states.is_ending(vm)
        if not is_candidate or vm.service_id is None or vm.id in vm_ids:
            continue
        if vm.service_id not in known and lost.is_gone(context, vm.service_id):
            age, detail = _age_seconds(context, vm.started_at), f"VM {vm.id}"
            yield Leftover(LOST_VM, None, vm.service_id, owner_id, vm.name, age, detail, vm.id)


def _inspect(context: Context, runtime: Runtime, known: Mapping[int, Service]) -> Leftover | None:
    """Return what is wrong with a runtime. A service that is not among the known ones is read."""

    def found(case: Case, since: int, detail: str = "") -> Leftover:
        ids, age_seconds = (runtime.id, runtime.service_id), _age_seconds(context, since)
        return Leftover(case, *ids, runtime.owner_id, runtime.name, age_seconds, detail)

    if runtime.phase.is_unfinished:
        return found(UNFINISHED, runtime.intended_at, str(runtime.phase))
    number = runtime.service_id
    if number is None:
        return found(UNREADABLE, runtime.created_at, "names no service")
    try:
        service = known.get(number) or context.holdings(runtime).service(number)
    except NotFound:
        return found(SERVICE_GONE, runtime.created_at)
    if states.service_has_failed(service):
        case = DOOMED if service.state in DOOMED_STATES else FAILED
        return found(case, _last_change(service), service_state(service))
    return None if runtime.locked_at is None else found(STALE_LOCK, runtime.locked_at)


def _age_seconds(context: Context, since: int) -> float:
    return context.now() - since if since else math.inf


def _last_change(service: Service) -> int:
    """Return when a service was started, or its log last written (Unix time)."""
    return max(service.started_at, *(entry.get("timestamp") or 0 for entry in service.log), 0)


# ---- remedies -----------------------------------------------------------------------------------


@contextmanager
def _still_wrong(context: Context, leftover: Leftover) -> Iterator[Runtime]:
    """Hold the lock of a runtime that is as it was found. Raises NotFound where it is not."""
    with locked(context, _id(leftover.document_id)) as lock:
        now = _inspect(context, lock.runtime, {})
        if now is None or _subject(now) != _subject(leftover):
            raise NotFound
        yield lock.runtime


def _subject(leftover: Leftover) -> tuple[object, ...]:
    return leftover.case, leftover.service_id, leftover.owner_id


def _resolve(context: Context, leftover: Leftover) -> Result:
    runtime_id = _id(leftover.document_id)
    if abandoned.resolve(context, runtime_id) is not None:
        return Result.GONE
    try:
        context.runtimes.get(runtime_id)
    except NotFound:
        return Result.DONE
    return Result.BUSY


def _remove_document(context: Context, leftover: Leftover) -> Result:
    with _still_wrong(context, leftover) as runtime:
        if alive := [vm.id for vm in ending.alive(context.holdings(runtime), runtime.vm_ids)]:
            raise _UpToOwner(f"its VMs {alive} run without a service")
        context.runtimes.remove(runtime.id)
    return Result.DONE


def _end_service(context: Context, leftover: Leftover) -> Result:
    holdings = context.holdings_of(leftover.owner_id)
    service = holdings.service(_id(leftover.service_id))
    if lost.Documents(context, leftover.owner_id).know_service(service):
        return Result.GONE
    ending.end(holdings, [service.id])
    return Result.DONE


def _end_vm(context: Context, leftover: Leftover) -> Result:
    vm_id, service_id = _id(leftover.vm_id), _id(leftover.service_id)
    is_known = vm_id in lost.Documents(context, leftover.owner_id).vm_ids()
    if is_known or not lost.is_gone(context, service_id):
        return Result.GONE
    ending.end(context.holdings_of(leftover.owner_id), [], [vm_id])
    return Result.DONE


def _recover(context: Context, leftover: Leftover) -> Result:
    if leftover.owner_id != context.user().id:
        # oneflow would deploy what the owner wrote with the rights of the caller.
        raise _UpToOwner("only its owner can recover it")
    with _still_wrong(context, leftover):
        context.cloud.oneflow.recover_service(_id(leftover.service_id))
    return Result.DONE


def _remove(context: Context, leftover: Leftover) -> Result:
    with _still_wrong(context, leftover) as runtime:
        intents.remove(context, runtime)
    return Result.DONE


def _unlock(context: Context, leftover: Leftover) -> Result:
    with locked(context, _id(leftover.document_id)):
        return Result.DONE


def _id(number: int | None) -> int:
    """Return an id that the kind of a leftover has."""
    if number is None:
        raise ValueError("a leftover without the id that its kind has")
    return number


# ---- the table, as in docs/reliability.md -------------------------------------------------------

UNFINISHED = Case("unfinished", "remove", _resolve)
"""A document that a create or a delete left."""
SERVICE_GONE = Case("service gone", "remove", _remove_document)
"""A runtime whose service does not exist any more."""
ORPHAN = Case("orphan", "remove", _end_service)
"""A service of an engine that no document knows."""
LOST_VM = Case("lost VM", "end", _end_vm)
"""A VM of an engine that lives although its service is gone, and that no document knows."""
FAILED = Case("failed", "recover", _recover)
"""A runtime whose service is stuck in a FAILED state."""
DOOMED = Case("failed", "remove", _remove)
"""The same, of a service that was to be ended."""
STALE_LOCK = Case("stale lock", "unlock", _unlock)
"""A runtime that a dead engine left locked."""
UNREADABLE = Case("unreadable", "none", lambda context, leftover: Result.FOUND)
"""A document that no engine wrote, or a user whose documents cannot be read."""
