"""Serverless runtimes in OpenNebula's document pool."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from provision_engine import log
from provision_engine.cloud import template
from provision_engine.cloud.client import CloudClient
from provision_engine.cloud.enums import DocumentType
from provision_engine.cloud.objects import Document, Vm
from provision_engine.cloud.oned import ALL, MINE, Call, Oned, Outcome
from provision_engine.engine.memory import KnownVms
from provision_engine.engine.runtime import document as stored
from provision_engine.engine.runtime.model import Phase, Runtime, VmsToRead
from provision_engine.engine.safety import process
from provision_engine.engine.safety.ownership import owned_by
from provision_engine.errors import EngineError, Forbidden, NotFound

Owned = dict[int, Vm]
"""VMs of a runtime's owner, by id."""


def read_vms(to_read: VmsToRead) -> list[Call[dict[int, Vm]]]:
    """Return the call that reads VMs, if there are any."""
    return [Oned.vms_call(to_read.ids, with_actions=to_read.with_actions)] if to_read.ids else []


class RuntimeRead:
    """The calls that read a runtime together with the VMs that it is known to have."""

    def __init__(self, repository: Repository, runtime_id: int, known: VmsToRead) -> None:
        self._repository, self._id, self._known = repository, runtime_id, known
        self.calls: list[Call[Any]] = [Oned.document.call(runtime_id), *read_vms(known)]

    def result(self, outcomes: Sequence[Outcome[Any]]) -> tuple[Runtime, Owned]:
        """Return the runtime and its VMs, which are read now if it has others.

        Raises as Repository.get does.
        """
        runtime = self._repository.from_outcome(self._id, outcomes[0])
        to_read = runtime.vms_to_read
        if to_read == self._known:
            vms = outcomes[1].get() if to_read.ids else {}
        else:
            vms = self._repository.vms(to_read)
        return runtime, owned_by(runtime.owner_id, vms.values())


class Repository:
    """The runtimes that one caller may see."""

    def __init__(self, cloud: CloudClient, known_vms: KnownVms, login: bytes) -> None:
        self._cloud, self._oned = cloud, cloud.oned
        self._known_vms, self._login = known_vms, login

    def get(self, runtime_id: int) -> Runtime:
        """Return a runtime. Raises NotFound, also if the document is of another type; Forbidden."""
        return self.from_outcome(runtime_id, self._oned.together(Oned.document.call(runtime_id))[0])

    def read(self, runtime_id: int) -> tuple[Runtime, Owned]:
        """Return a runtime and its VMs, in one request where its VMs are known. Raises as get."""
        reading = self.reading(runtime_id)
        return reading.result(self._cloud.read_together(*reading.calls))

    def reading(self, runtime_id: int) -> RuntimeRead:
        """Return the calls that read a runtime and its VMs."""
        known = self._known_vms.get((self._login, runtime_id)) or VmsToRead()
        return RuntimeRead(self, runtime_id, known)

    def from_outcome(self, runtime_id: int, outcome: Outcome[Document]) -> Runtime:
        """Return the runtime in a document that was read. Raises as get does."""
        try:
            runtime = stored.to_runtime(outcome.get())
        except NotFound as error:
            raise NotFound(f"There is no serverless runtime {runtime_id}") from error
        except Forbidden as error:
            message = f"This user may not use serverless runtime {runtime_id}"
            raise Forbidden(message) from error
        self._known_vms.put((self._login, runtime.id), runtime.vms_to_read)
        return runtime

    def vms(self, to_read: VmsToRead) -> dict[int, Vm]:
        """Return VMs that are alive, whoever owns them."""
        return self._oned.vms(to_read.ids, with_actions=to_read.with_actions)

    def range(self, first_id: int = ALL, last_id: int = ALL, whose: int = MINE) -> list[Runtime]:
        """The runtimes of a user, or those in a range of ids (both ends included), unsorted."""
        return readable(
            self._oned.documents(DocumentType.RUNTIME, whose, first_id=first_id, last_id=last_id)
        )

    def newest(self, count: int) -> list[Runtime]:
        """So many of the caller's newest runtimes, the newest first."""
        return readable(self._oned.newest_documents(DocumentType.RUNTIME, count, MINE))

    def at(self, offset: int, count: int) -> list[Document]:
        """So many documents of the caller's runtimes from an offset on, the newest first."""
        return self._oned.newest_documents(DocumentType.RUNTIME, count, MINE, offset=offset)

    def vms_in_use(self) -> int:
        """The number of the caller's VMs, also of those that belong to no runtime."""
        return int(self._oned.quota().used["VMS"])

    def add(self, runtime: Runtime) -> Runtime:
        """Write an intent of the caller; the runtime with its id."""
        runtime = dataclasses.replace(runtime, worker=process.identity())
        written = template.document(stored.name_of(runtime), stored.body_of(runtime))
        return dataclasses.replace(
            runtime, id=self._oned.allocate_document(written, DocumentType.RUNTIME)
        )

    def save(self, runtime: Runtime) -> None:
        """Write a runtime as it is."""
        # In one piece, so that a repetition does no harm.
        self._oned.update_document(runtime.id, template.document_body(stored.body_of(runtime)))

    def rename(self, before: Runtime, after: Runtime) -> None:
        """Give the document its runtime's new name, where that shows in it."""
        if stored.name_of(before) != stored.name_of(after):
            self._oned.rename_document(after.id, stored.name_of(after))

    def mark(self, runtime: Runtime, phase: Phase) -> Runtime:
        """Write down an intent of this process; the runtime in its new phase."""
        intended_at = int(self._cloud.now())
        return self.claim(dataclasses.replace(runtime, phase=phase, intended_at=intended_at))

    def claim(self, runtime: Runtime) -> Runtime:
        """Write down that this process works on a runtime, which it has locked or just created.

        Another process on this host then knows when this one has gone.
        """
        claimed = dataclasses.replace(
            runtime, worker=process.identity(), claimed_at=runtime.locked_at
        )
        self.save(claimed)
        return claimed

    def put_back(self, runtime: Runtime) -> None:
        """Write down that a standby waits for its create again."""
        self._settle(runtime, Phase.STANDBY)

    def ready(self, runtime: Runtime) -> Runtime:
        """Write down that nothing of a runtime is unfinished; the runtime as it is then."""
        return self._settle(runtime, Phase.READY)

    def _settle(self, runtime: Runtime, phase: Phase) -> Runtime:
        settled = dataclasses.replace(runtime, phase=phase).released()
        self.save(settled)
        return settled

    def complete(
        self,
        runtime: Runtime,
        service_id: int,
        vm_ids: Mapping[str, int | None],
        phase: Phase = Phase.READY,
    ) -> Runtime:
        """Write down the service and the VMs, by role, of a runtime that is ready now."""
        complete = dataclasses.replace(runtime.with_vms(vm_ids), service_id=service_id)
        return self._settle(complete, phase)

    def remove(self, runtime_id: int) -> None:
        self._oned.delete_document(runtime_id)


def readable(documents: Iterable[Document]) -> list[Runtime]:
    """The runtimes in documents. One that no engine can read hides no other."""
    found = []
    for document in documents:
        try:
            found.append(stored.to_runtime(document))
        except EngineError as error:
            log.engine.warning("Document %s cannot be read: %s", document.id, error)
    return found
