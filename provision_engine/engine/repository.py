"""Serverless runtimes in OpenNebula's document pool."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

from provision_engine import log
from provision_engine.cloud import template
from provision_engine.cloud.client import CloudClient
from provision_engine.cloud.enums import DocumentType
from provision_engine.cloud.objects import Document, Vm
from provision_engine.cloud.oned import ALL, MINE, Call, Oned, Outcome
from provision_engine.engine.memory import KnownVms, VmsCalls
from provision_engine.engine.runtime import document as stored
from provision_engine.engine.runtime.model import Phase, Runtime
from provision_engine.engine.safety import worker_identity
from provision_engine.engine.safety.ownership import owned_by
from provision_engine.errors import EngineError, Forbidden, NotFound

Owned = dict[int, Vm]
"""VMs of a runtime's owner, by id."""


def vms_calls(runtime: Runtime) -> VmsCalls:
    """Return the call that reads a runtime's VMs, if it has any, with the actions of a lease."""
    is_leased = runtime.lease_seconds is not None
    ids = tuple(runtime.vm_ids)
    return (Oned.vms_call(ids, with_actions=is_leased),) if ids else ()


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
        calls = self.read_calls(runtime_id)
        return self.from_outcomes(runtime_id, calls, self._cloud.read_together(*calls))

    def read_calls(self, runtime_id: int) -> tuple[Call[Any], ...]:
        """Return the calls that read a runtime, and the VMs that it is known to have."""
        known = self._known_vms.get((self._login, runtime_id)) or ()
        return Oned.document.call(runtime_id), *known

    def from_outcomes(
        self, runtime_id: int, calls: tuple[Call[Any], ...], outcomes: Sequence[Outcome[Any]]
    ) -> tuple[Runtime, Owned]:
        """Return a runtime and its VMs after ``read_calls``; other VMs than known are read now.

        Raises as get does.
        """
        runtime = self.from_outcome(runtime_id, outcomes[0])
        if vms_calls(runtime) != calls[1:]:
            return runtime, self.vms(runtime)
        found = outcomes[1].get() if calls[1:] else {}
        return runtime, owned_by(runtime.owner_id, found.values())

    def vms(self, runtime: Runtime) -> Owned:
        """Return those of a runtime's VMs that are alive and its owner's."""
        calls = vms_calls(runtime)
        found = self._oned.together(*calls)[0].get() if calls else {}
        return owned_by(runtime.owner_id, found.values())

    def from_outcome(self, runtime_id: int, outcome: Outcome[Document]) -> Runtime:
        """Return the runtime in a document that was read. Raises as get does."""
        try:
            runtime = stored.to_runtime(outcome.get())
        except NotFound as error:
            raise NotFound(f"There is no serverless runtime {runtime_id}") from error
        except Forbidden as error:
            message = f"This user may not use serverless runtime {runtime_id}"
            raise Forbidden(message) from error
        self._known_vms.put((self._login, runtime.id), vms_calls(runtime))
        return runtime

    def range(self, first_id: int = ALL, last_id: int = ALL, whose: int = MINE) -> list[Runtime]:
        """Return a user's runtimes, or those in a range of ids (both ends included), unsorted."""
        return readable(
            self._oned.documents(DocumentType.RUNTIME, whose, first_id=first_id, last_id=last_id)
        )

    def at(self, offset: int, count: int, whose: int = MINE) -> list[Document]:
        """Return documents of a user's runtimes from an offset on, the newest first."""
        return self._oned.newest_documents(DocumentType.RUNTIME, count, whose, offset=offset)

    def add(self, runtime: Runtime) -> Runtime:
        """Write an intent of the caller. Returns the runtime with its id."""
        runtime = dataclasses.replace(runtime, worker=worker_identity.current())
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
        """Write down an intent of this process. Returns the runtime in its new phase."""
        intended_at = int(self._cloud.now())
        return self.claim(dataclasses.replace(runtime, phase=phase, intended_at=intended_at))

    def claim(self, runtime: Runtime) -> Runtime:
        """Write down that this process works on a runtime, which it has locked or just created.

        Another process on this host then knows when this one has gone.
        """
        claimed = dataclasses.replace(
            runtime, worker=worker_identity.current(), claimed_at=runtime.locked_at
        )
        self.save(claimed)
        return claimed

    def settle(self, runtime: Runtime, phase: Phase = Phase.READY) -> Runtime:
        """Write down that no process works on a runtime any more. Returns it in its new phase."""
        settled = dataclasses.replace(runtime, phase=phase).released()
        self.save(settled)
        return settled

    def remove(self, runtime_id: int) -> None:
        """Delete the document of a runtime."""
        self._oned.delete_document(runtime_id)


def readable(documents: Iterable[Document]) -> list[Runtime]:
    """Return the runtimes in documents, without those that this engine cannot read."""
    found = []
    for document in documents:
        try:
            found.append(stored.to_runtime(document))
        except EngineError as error:
            log.engine.warning("Document %s cannot be read: %s", document.id, error)
    return found
