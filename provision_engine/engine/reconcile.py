"""What crashes, lost responses and strangers left behind, found and put in order.

It is safe beside running engines: nothing is touched that is younger than any request lasts, and
everything is looked at again, under the runtime's lock, before it is changed. The rules stand in
docs/reliability.md.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from provision_engine.cloud.enums import DocumentType
from provision_engine.cloud.objects import Document
from provision_engine.cloud.oned import MINE, USABLE_BY_ME
from provision_engine.deadline import Deadline
from provision_engine.engine import abandoned, ending, services, states
from provision_engine.engine.context import Context
from provision_engine.engine.locks import locked
from provision_engine.engine.model import Runtime
from provision_engine.engine.repository import readable
from provision_engine.errors import EngineError, Locked, NotFound


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
    """A document of our type that no engine wrote."""


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


class Reconciler:
    """Finds and settles for one caller: an ordinary user's own things, or everybody's.

    Nothing younger than ``patience_seconds`` is found; that has to be longer than any request
    takes. Each remedy may take as long as a request.
    """

    def __init__(
        self,
        context: Context,
        patience_seconds: float,
    ) -> None:
        self._context, self._cloud = context, context.cloud
        self._patience_seconds = max(patience_seconds, context.stale_seconds)

    # ---- finding ----------------------------------------------------------------------------

    def find(self) -> list[Finding]:
        """All that is wrong and old enough; changes nothing. Raises EngineError."""
        whose = USABLE_BY_ME if self._context.user().is_administrator else MINE
        # The services first: each has a document before it exists, so that one which is read
        # later cannot lack the document of a service that was just started.
        found = self._cloud.oned.documents(DocumentType.SERVICE, whose)
        documents = self._cloud.oned.documents(DocumentType.RUNTIME, whose)
        runtimes = readable(documents)
        owners = {document.id: document.user_id for document in documents}
        findings = [*self._of_runtimes(runtimes, found, owners)]
        findings += self._unreadable(documents, runtimes)
        findings += self._orphans(found, documents, runtimes)
        findings += self._lost_vms(whose, documents, runtimes)
        return [f for f in findings if f.age_seconds > self._patience_seconds]

    def _of_runtimes(
        self, runtimes: Sequence[Runtime], found: Sequence[Document], owners: dict[int, int]
    ) -> Iterator[Finding]:
        by_id = {service.id: service for service in found}
        for runtime in runtimes:
            kind, age_seconds, detail = self._what_is_wrong(runtime, by_id)
            if kind is not None:
                yield Finding(
                    kind,
                    runtime.id,
                    runtime.service_id,
                    owners[runtime.id],
                    runtime.name,
                    age_seconds,
                    detail,
                )

    def _what_is_wrong(
        self, runtime: Runtime, by_id: dict[int, Document]
    ) -> tuple[Kind | None, float, str]:
        """The kind, for how long (seconds), and the detail."""
        if runtime.phase.is_unfinished:
            return Kind.UNFINISHED, _age(runtime.intended_at), str(runtime.phase)
        if runtime.service_id is None:
            return Kind.UNREADABLE, _age(runtime.created_at), "names no service"
        service = by_id.get(runtime.service_id)
        if service is None and self._is_gone(runtime.service_id):
            return Kind.SERVICE_GONE, _age(runtime.created_at), ""
        if service is not None and states.service_has_failed(service.body):
            return Kind.FAILED, _age(_last_change(service)), states.service_state(service.body)
        if runtime.locked_at is not None:
            return Kind.STALE_LOCK, _age(runtime.locked_at), ""
        return None, 0.0, ""

    def _is_gone(self, service_id: int) -> bool:
        """Whether a service does not exist; one that only hides from this caller does."""
        try:
            self._cloud.oned.document(service_id)
        except NotFound:
            return True
        except EngineError:
            return False
        return False

    def _unreadable(
        self, documents: Sequence[Document], runtimes: Sequence[Runtime]
    ) -> Iterator[Finding]:
        known = {runtime.id for runtime in runtimes}
        for document in documents:
            if document.id not in known:
                yield Finding(
                    Kind.UNREADABLE,
                    document.id,
                    None,
                    document.user_id,
                    document.name,
                    float("inf"),
                    "no runtime",
                )

    def _orphans(
        self,
        found: Sequence[Document],
        documents: Sequence[Document],
        runtimes: Sequence[Runtime],
    ) -> Iterator[Finding]:
        is_known = _known(documents, runtimes)
        for service in found:
            if services.is_ours(service.name) and not is_known(service):
                yield Finding(
                    Kind.ORPHAN,
                    None,
                    service.id,
                    service.user_id,
                    service.name,
                    _age(_last_change(service)),
                    states.service_state(service.body),
                )

    def _lost_vms(
        self, whose: int, documents: Sequence[Document], runtimes: Sequence[Runtime]
    ) -> Iterator[Finding]:
        known = _known_vms(documents, runtimes)
        for vm in self._cloud.oned.vms_of_user(whose):
            if not vm.is_ours or vm.service_id is None or vm.id in known:
                continue
            if not states.is_ending(vm) and self._is_gone(vm.service_id):
                age_seconds = _age(vm.started_at)
                yield Finding(
                    Kind.LOST_VM,
                    None,
                    vm.service_id,
                    vm.user_id,
                    vm.name,
                    age_seconds,
                    f"VM {vm.id}",
                    vm_id=vm.id,
                )

    # ---- applying ---------------------------------------------------------------------------

    def apply(self, finding: Finding) -> Outcome:
        """Put one thing in order, if it is still wrong. Never raises EngineError."""
        remedies: dict[Kind, Callable[[Context, Finding], Result]] = {
            Kind.UNFINISHED: self._resolve_unfinished,
            Kind.SERVICE_GONE: self._remove_without_service,
            Kind.ORPHAN: self._remove_orphan,
            Kind.LOST_VM: self._end_vm,
            Kind.FAILED: self._recover_failed,
            Kind.STALE_LOCK: self._unlock,
            Kind.UNREADABLE: lambda _context, _finding: Result.FOUND,
        }
        context = self._context.until(Deadline(self._context.configuration.timeout_seconds))
        try:
            return Outcome(finding, remedies[finding.kind](context, finding))
        except NotFound:
            return Outcome(finding, Result.GONE)
        except Locked as error:
            return Outcome(finding, Result.BUSY, str(error.message))
        except EngineError as error:
            return Outcome(finding, Result.FAILED, str(error))

    def _resolve_unfinished(self, context: Context, finding: Finding) -> Result:
        runtime_id = _id(finding.document_id)
        if abandoned.resolve(context, runtime_id) is not None:
            return Result.GONE
        try:
            context.runtimes.get(runtime_id)
        except NotFound:
            return Result.DONE
        return Result.BUSY

    def _remove_without_service(self, context: Context, finding: Finding) -> Result:
        runtime_id = _id(finding.document_id)
        with locked(context.cloud, runtime_id, context.stale_seconds):
            runtime = context.runtimes.get(runtime_id)
            if runtime.service_id != finding.service_id or not self._is_gone(
                _id(finding.service_id)
            ):
                return Result.GONE
            if living := [vm.id for vm in ending.alive(context.cloud, runtime.vm_ids)]:
                raise EngineError(f"its VMs {living} run without a service", error="Not removed")
            context.runtimes.remove(runtime_id)
        return Result.DONE

    def _remove_orphan(self, context: Context, finding: Finding) -> Result:
        service_id = _id(finding.service_id)
        service = context.cloud.oned.document(service_id)
        documents = context.cloud.oned.documents(DocumentType.RUNTIME, USABLE_BY_ME)
        if _known(documents, readable(documents))(service):
            return Result.GONE
        ending.end(context.cloud, [service_id])
        return Result.DONE

    def _end_vm(self, context: Context, finding: Finding) -> Result:
        """Neither its service nor a document came back: the VM is nobody's."""
        vm_id = _id(finding.vm_id)
        documents = context.cloud.oned.documents(DocumentType.RUNTIME, USABLE_BY_ME)
        if vm_id in _known_vms(documents, readable(documents)) or not self._is_gone(
            _id(finding.service_id)
        ):
            return Result.GONE
        ending.end(context.cloud, [], [vm_id])
        return Result.DONE

    def _recover_failed(self, context: Context, finding: Finding) -> Result:
        runtime_id, service_id = _id(finding.document_id), _id(finding.service_id)
        with locked(context.cloud, runtime_id, context.stale_seconds):
            service = context.cloud.oned.document(service_id).body
            if not states.service_has_failed(service):
                return Result.GONE
            if finding.detail not in DOOMED_STATES:
                context.cloud.oneflow.recover_service(service_id)
            else:
                abandoned.remove(context, context.runtimes.get(runtime_id))
        return Result.DONE

    def _unlock(self, context: Context, finding: Finding) -> Result:
        with locked(context.cloud, _id(finding.document_id), context.stale_seconds):
            return Result.DONE


def _known(
    documents: Sequence[Document], runtimes: Sequence[Runtime]
) -> Callable[[Document], bool]:
    """Tells of a service whether a document knows it, by its id or, unfinished, by its name."""
    ids = {runtime.service_id for runtime in runtimes}
    names = {runtime.service_name for runtime in runtimes if runtime.service_id is None}
    readable = {runtime.id for runtime in runtimes}
    strange = [d.body_text for d in documents if d.id not in readable]

    def is_known(service: Document) -> bool:
        # A document that cannot be read may still be somebody's: its text is enough to wait.
        is_mentioned = any(service.name in text for text in strange)
        return service.id in ids or service.name in names or is_mentioned

    return is_known


def _known_vms(documents: Sequence[Document], runtimes: Sequence[Runtime]) -> set[int]:
    """The VMs that documents know, also those documents that a later engine wrote."""
    known = {vm_id for runtime in runtimes for vm_id in runtime.vm_ids}
    read = {runtime.id for runtime in runtimes}
    for document in documents:
        if document.id not in read:
            known |= {int(number) for number in VM_ID.findall(document.body_text)}
    return known


def _last_change(service: Document) -> int:
    """When a service was started, or something was last written into its log (Unix time)."""
    times = [service.body.get("start_time"), *(e.get("timestamp") for e in _log(service))]
    return max((int(t) for t in times if isinstance(t, int | str) and str(t).isdigit()), default=0)


def _log(service: Document) -> Sequence[dict[str, object]]:
    return [dict(entry) for entry in states.service_log(service.body)]


def _age(since: int) -> float:
    """Seconds since a Unix time."""
    return time.time() - since


def _id(number: int | None) -> int:
    """The id of something that a finding is about."""
    if number is None:
        raise ValueError("a finding without the id that its kind has")
    return number
