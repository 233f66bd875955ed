"""What crashes, lost responses and strangers left behind, found and put in order.

One user after the other, each with nothing but what belongs to that user: so no document leads to
another user's VM, and no flood of documents hides more than those of the user who wrote them. It is
safe beside running engines: nothing is touched that is younger than any request lasts, and
everything is looked at again, under the runtime's lock, before it is changed. The rules are in
docs/reliability.md.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum

from provision_engine.cloud.enums import DocumentType
from provision_engine.cloud.objects import Document, Service
from provision_engine.deadline import Deadline
from provision_engine.engine.context import Context
from provision_engine.engine.repository import readable
from provision_engine.engine.runtime import services, states
from provision_engine.engine.runtime.model import Runtime
from provision_engine.engine.safety import ending, unfinished
from provision_engine.engine.safety.locks import locked
from provision_engine.errors import (
    BackendTimeout,
    BadGateway,
    EngineError,
    Locked,
    NotFound,
)


class Kind(StrEnum):
    """What is wrong."""

    UNFINISHED = "unfinished"
    """A document that a create or a delete left."""
    SERVICE_GONE = "service gone"
    """A runtime whose service does not exist any more."""
    ORPHAN = "orphan"
    """A service of ours that no document knows."""
    LOST_VM = "lost VM"
    """A VM of ours that lives although its service is gone, and that no document knows."""
    FAILED = "failed"
    """A runtime whose service is stuck in a FAILED state."""
    STALE_LOCK = "stale lock"
    """A runtime that a dead engine left locked."""
    UNREADABLE = "unreadable"
    """A document of our type that no engine wrote, or a user whose documents cannot be read."""


class Result(StrEnum):
    """What became of a finding."""

    FOUND = "found"
    """Nothing was done about it."""
    DONE = "done"
    GONE = "gone by itself"
    """When it was looked at again, nothing was wrong any more."""
    BUSY = "busy"
    """An engine is at it just now."""
    FAILED = "failed"


REMEDIES = {
    Kind.UNFINISHED: "remove",
    Kind.SERVICE_GONE: "remove",
    Kind.ORPHAN: "remove",
    Kind.LOST_VM: "end",
    Kind.FAILED: "recover",
    Kind.STALE_LOCK: "unlock",
    Kind.UNREADABLE: "none",
}
ONEFLOW_USER = 1
"""serveradmin: a oneflow that was restarted deploys a service again as this user."""
DOOMED_STATES = ("FAILED_UNDEPLOYING", "FAILED_UNDEPLOYING_NETS")
"""A service in one of these was to be ended, so that it is not recovered but removed."""


VM_ID = re.compile(r'"VM_ID":\s*"?(\d{1,9})')


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong."""

    kind: Kind
    document_id: int | None
    service_id: int | None
    owner_id: int
    """OpenNebula's id of the user whom it belongs to."""
    name: str
    age_seconds: float
    detail: str = ""
    """The phase of a document, the state of a service."""
    vm_id: int | None = None

    @property
    def remedy(self) -> str:
        return "remove" if self.detail in DOOMED_STATES else REMEDIES[self.kind]


@dataclass(frozen=True)
class Outcome:
    """What became of one finding, and why."""

    finding: Finding
    result: Result
    reason: str = ""


class _LeftToOwner(EngineError):
    """Nobody else may do it, and nothing is wrong with that."""


class Reconciler:
    """Finds and settles for one caller: an ordinary user's own things, or everybody's.

    Nothing younger than ``older_than_seconds`` is found; that has to be longer than any request
    takes. Each user, and each remedy, may take as long as a request.
    """

    def __init__(self, context: Context, older_than_seconds: float) -> None:
        self._context = context
        self._older_than_seconds = max(older_than_seconds, context.stale_seconds)

    def find(self) -> list[Finding]:
        """All that is wrong and old enough; changes nothing. Raises EngineError."""
        found = [finding for owner in self._owners() for finding in self._find_of(owner)]
        return [f for f in found if f.age_seconds > self._older_than_seconds]

    def apply(self, finding: Finding) -> Outcome:
        """Put one thing in order, if it is still wrong. Never raises EngineError."""
        try:
            return Outcome(finding, _Remedy(self._settling(), finding).apply())
        except NotFound:
            return Outcome(finding, Result.GONE)
        except _LeftToOwner as error:
            return Outcome(finding, Result.FOUND, str(error.message))
        except Locked as error:
            return Outcome(finding, Result.BUSY, str(error.message))
        except EngineError as error:
            return Outcome(finding, Result.FAILED, str(error))

    def _owners(self) -> list[int]:
        """The users whose things the caller settles."""
        user, oned = self._context.user(), self._context.cloud.oned
        if not user.is_administrator:
            return [user.id]
        owners = set(oned.user_ids())
        with suppress(BadGateway, BackendTimeout):  # one user can make this pool very long
            owners |= oned.owners_of_vms()  # VMs of a user who was removed may live on
        return sorted(owners)

    def _find_of(self, owner_id: int) -> list[Finding]:
        try:
            return list(_Search(self._settling(), owner_id).findings())
        except (BadGateway, BackendTimeout) as error:
            name, detail = f"user {owner_id}", str(error)
            return [Finding(Kind.UNREADABLE, None, None, owner_id, name, float("inf"), detail)]

    def _settling(self) -> Context:
        """The caller with the time of a request, and with the right to settle."""
        limited = self._context.until(Deadline(self._context.configuration.timeout_seconds))
        is_administrator = self._context.user().is_administrator
        return dataclasses.replace(limited, is_reconciling=is_administrator)


class _Search:
    """What is wrong among the things of one user."""

    def __init__(self, context: Context, owner_id: int) -> None:
        self._context, self._owner_id = context, owner_id
        # The services first: each has a document before it exists, so that one which is read
        # later cannot lack the document of a service that was just started.
        services_found = context.holdings_of(owner_id).services(0)
        self._services = {service.id: service for service in services_found}
        self._documents = Documents.of(context, owner_id)

    def findings(self) -> Iterator[Finding]:
        if self._owner_id != ONEFLOW_USER:
            yield from self._runtimes()
            yield from self._unreadable()
            yield from self._orphans()
        yield from self._lost_vms()

    def _runtimes(self) -> Iterator[Finding]:
        for runtime in self._documents.runtimes:
            kind, since, detail = self._what_is_wrong(runtime)
            if kind is not None:
                ids = (runtime.id, runtime.service_id)
                yield self._finding(kind, *ids, runtime.name, since, detail)

    def _what_is_wrong(self, runtime: Runtime) -> tuple[Kind | None, int, str]:
        """The kind, since when (Unix time), and the detail."""
        if runtime.phase.is_unfinished:
            return Kind.UNFINISHED, runtime.intended_at, str(runtime.phase)
        if runtime.service_id is None:
            return Kind.UNREADABLE, runtime.created_at, "names no service"
        service = self._service(runtime.service_id)
        if service is None:
            return Kind.SERVICE_GONE, runtime.created_at, ""
        if states.service_has_failed(service):
            return Kind.FAILED, _last_change(service), states.service_state(service)
        if runtime.locked_at is not None:
            return Kind.STALE_LOCK, runtime.locked_at, ""
        return None, 0, ""

    def _service(self, service_id: int) -> Service | None:
        """A service of the owner; one that was started meanwhile is not in the list yet."""
        if service_id in self._services:
            return self._services[service_id]
        try:
            return self._context.holdings_of(self._owner_id).service(service_id)
        except NotFound:
            return None

    def _unreadable(self) -> Iterator[Finding]:
        for document in self._documents.unreadable:
            # Nothing in it tells its age.
            kind = Kind.UNREADABLE
            yield self._finding(kind, document.id, None, document.name, 0, "no runtime")

    def _orphans(self) -> Iterator[Finding]:
        for service in self._services.values():
            if services.is_ours(service.name) and not self._documents.know_service(service):
                since, detail = _last_change(service), states.service_state(service)
                yield self._finding(Kind.ORPHAN, None, service.id, service.name, since, detail)

    def _lost_vms(self) -> Iterator[Finding]:
        for vm in self._context.cloud.oned.vms_of_user(self._owner_id):
            is_candidate = vm.user_id == self._owner_id and vm.is_ours and not states.is_ending(vm)
            if not is_candidate or vm.service_id is None or self._documents.know_vm(vm.id):
                continue
            if vm.service_id not in self._services and _is_gone(self._context, vm.service_id):
                detail = f"VM {vm.id}"
                found = self._finding(
                    Kind.LOST_VM, None, vm.service_id, vm.name, vm.started_at, detail
                )
                yield dataclasses.replace(found, vm_id=vm.id)

    def _finding(
        self,
        kind: Kind,
        document_id: int | None,
        service_id: int | None,
        name: str,
        since: int,
        detail: str,
    ) -> Finding:
        age_seconds = self._context.now() - since if since else float("inf")
        return Finding(kind, document_id, service_id, self._owner_id, name, age_seconds, detail)


class _Remedy:
    """What is done about one finding, by somebody who may settle it."""

    def __init__(self, context: Context, finding: Finding) -> None:
        self._context, self._finding = context, finding
        self._holdings = context.holdings_of(finding.owner_id)

    def apply(self) -> Result:
        """Look again, and put it in order if it is still wrong. Raises EngineError."""
        remedies: dict[Kind, Callable[[], Result]] = {
            Kind.UNFINISHED: self._resolve_unfinished,
            Kind.SERVICE_GONE: self._remove_without_service,
            Kind.ORPHAN: self._remove_orphan,
            Kind.LOST_VM: self._end_vm,
            Kind.FAILED: self._recover_failed,
            Kind.STALE_LOCK: self._unlock,
            Kind.UNREADABLE: lambda: Result.FOUND,
        }
        return remedies[self._finding.kind]()

    def _resolve_unfinished(self) -> Result:
        runtime_id = _id(self._finding.document_id)
        if unfinished.resolve(self._context, runtime_id) is not None:
            return Result.GONE
        try:
            self._context.runtimes.get(runtime_id)
        except NotFound:
            return Result.DONE
        return Result.BUSY

    def _remove_without_service(self) -> Result:
        runtime_id = _id(self._finding.document_id)
        with locked(self._context, runtime_id):
            runtime = self._context.runtimes.get(runtime_id)
            if runtime.service_id != self._finding.service_id or self._has_service():
                return Result.GONE
            if living := [vm.id for vm in ending.alive(self._holdings, runtime.vm_ids)]:
                raise _LeftToOwner(f"its VMs {living} run without a service")
            self._context.runtimes.remove(runtime_id)
        return Result.DONE

    def _has_service(self) -> bool:
        try:
            self._holdings.service(_id(self._finding.service_id))
        except NotFound:
            return False
        return True

    def _remove_orphan(self) -> Result:
        service = self._holdings.service(_id(self._finding.service_id))
        if Documents.of(self._context, self._finding.owner_id).know_service(service):
            return Result.GONE
        ending.end(self._holdings, [service.id])
        return Result.DONE

    def _end_vm(self) -> Result:
        """Neither its service nor a document came back: the VM is nobody's."""
        vm_id = _id(self._finding.vm_id)
        documents = Documents.of(self._context, self._finding.owner_id)
        if documents.know_vm(vm_id) or not _is_gone(self._context, _id(self._finding.service_id)):
            return Result.GONE
        ending.end(self._holdings, [], [vm_id])
        return Result.DONE

    def _recover_failed(self) -> Result:
        runtime_id, service_id = _id(self._finding.document_id), _id(self._finding.service_id)
        is_doomed = self._finding.detail in DOOMED_STATES
        if not is_doomed and self._finding.owner_id != self._context.user().id:
            # oneflow would deploy what the owner wrote with the rights of the caller.
            raise _LeftToOwner("only its owner can recover it")
        with locked(self._context, runtime_id):
            runtime = self._context.runtimes.get(runtime_id)
            service = self._holdings.service(service_id)
            if runtime.service_id != service_id or not states.service_has_failed(service):
                return Result.GONE
            if is_doomed:
                unfinished.remove(self._context, runtime)
            else:
                self._context.cloud.oneflow.recover_service(service_id)
        return Result.DONE

    def _unlock(self) -> Result:
        with locked(self._context, _id(self._finding.document_id)):
            return Result.DONE


@dataclass(frozen=True)
class Documents:
    """The documents of one user: what they know is not lost."""

    runtimes: Sequence[Runtime]
    unreadable: Sequence[Document]
    """Those that a later engine, or none, has written: what they mention is known as well."""
    mentioned_vms: frozenset[str]

    @classmethod
    def of(cls, context: Context, owner_id: int) -> Documents:
        """Read the documents of a user, all in one call."""
        documents = context.cloud.oned.documents(DocumentType.RUNTIME, owner_id)
        documents = [document for document in documents if document.user_id == owner_id]
        runtimes = readable(documents)
        read = {runtime.id for runtime in runtimes}
        unreadable = [document for document in documents if document.id not in read]
        mentioned = (vm_id for d in unreadable for vm_id in VM_ID.findall(d.body_text))
        return cls(runtimes, unreadable, frozenset(mentioned))

    def know_service(self, service: Service) -> bool:
        """Whether one of them names a service, by its id or, unfinished, by its name."""
        return any(
            runtime.service_id == service.id
            or (runtime.service_id is None and runtime.service_name == service.name)
            for runtime in self.runtimes
        ) or any(service.name in document.body_text for document in self.unreadable)

    def know_vm(self, vm_id: int) -> bool:
        """Whether one of them names a VM."""
        is_named = any(vm_id in runtime.vm_ids for runtime in self.runtimes)
        return is_named or str(vm_id) in self.mentioned_vms


def _is_gone(context: Context, service_id: int) -> bool:
    """Whether a service does not exist; one that only hides from this caller does."""
    try:
        Service.from_document(context.cloud.oned.document(service_id))
    except NotFound:
        return True
    except EngineError:
        return False
    return False


def _last_change(service: Service) -> int:
    """When a service was started, or something was last written into its log (Unix time)."""
    return max(service.started_at, *(entry.get("timestamp") or 0 for entry in service.log), 0)


def _id(number: int | None) -> int:
    """The id of something that a finding is about."""
    if number is None:
        raise ValueError("a finding without the id that its kind has")
    return number
