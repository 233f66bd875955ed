"""Calls to oned that several reads of one user share, and an oned that answers from them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from provision_engine.cloud.enums import DocumentType
from provision_engine.cloud.objects import Document, Vm
from provision_engine.cloud.oned import (
    MINE,
    Call,
    Oned,
    document_call,
    documents_call,
    vms_call,
)
from provision_engine.errors import EngineError, Forbidden, NotFound

NEAR_IDS = 16
"""Ids this close to each other are read as one range: oned takes as long for 64 small documents as
for one, and parsing the eight that may lie between costs less than another call."""


@dataclass
class Responses:
    """What the shared calls returned. What is missing has to be read by its own call."""

    documents: dict[int, Document] = field(default_factory=dict)
    vms: dict[int, Vm] = field(default_factory=dict)
    vm_ids: frozenset[int] = frozenset()
    """The VMs that were asked for; those that are not in ``vms`` do not exist for this user."""


class AnsweredOned:
    """oned for one read: its document, and then its VMs, are taken from shared responses.

    Each of them once; after any other call they might be older than what that call has changed.
    """

    def __init__(self, oned: Oned, responses: Responses, document_id: int) -> None:
        self._oned = oned
        self._document = responses.documents.get(document_id)
        self._vms: Mapping[int, Vm] = responses.vms
        self._vm_ids = responses.vm_ids

    def document(self, document_id: int) -> Document:
        document, self._document = self._document, None
        if document is not None and document.id == document_id:
            return document
        return self._oned.document(document_id)

    def vms(self, vm_ids: Sequence[int], *, with_actions: bool = True) -> dict[int, Vm]:
        known, self._vm_ids = self._vm_ids, frozenset()
        if with_actions or not known.issuperset(vm_ids):
            return self._oned.vms(vm_ids, with_actions=with_actions)
        return {vm_id: self._vms[vm_id] for vm_id in vm_ids if vm_id in self._vms}

    def __getattr__(self, method: str) -> Any:
        self._document, self._vm_ids = None, frozenset()
        return getattr(self._oned, method)


def shared_calls(document_ids: Collection[int], vm_ids: Collection[int]) -> list[SharedCall]:
    """The calls that read all these documents and VMs; the one that most reads need comes first."""
    vms = [_Vms(tuple(sorted(set(vm_ids))))] if vm_ids else []
    return [*vms, *(_Documents(first, last) for first, last in _ranges(document_ids))]


def responses_to(oned: Oned, calls: Sequence[SharedCall]) -> Responses:
    """Make the calls, until one fails. Never raises: who lacks a response reads by itself."""
    responses = Responses()
    for call in calls:
        try:
            call.make(oned, responses)
        except (NotFound, Forbidden):
            continue
        except EngineError:
            break
    return responses


@dataclass(frozen=True)
class _Documents:
    """The caller's runtimes in a range of ids, both ends included: strangers' may lie between."""

    first_id: int
    last_id: int

    @property
    def call(self) -> Call:
        if self.first_id == self.last_id:
            return document_call(self.first_id)
        return documents_call(DocumentType.RUNTIME, MINE, self.first_id, self.last_id)

    def make(self, oned: Oned, responses: Responses) -> None:
        responses.documents |= {document.id: document for document in self._read(oned)}

    def _read(self, oned: Oned) -> list[Document]:
        if self.first_id == self.last_id:
            return [oned.document(self.first_id)]
        first_id, last_id = self.first_id, self.last_id
        return oned.documents(DocumentType.RUNTIME, MINE, first_id=first_id, last_id=last_id)


@dataclass(frozen=True)
class _Vms:
    """VMs, without their scheduled actions."""

    vm_ids: tuple[int, ...]

    @property
    def call(self) -> Call:
        return vms_call(self.vm_ids)

    def make(self, oned: Oned, responses: Responses) -> None:
        responses.vms = oned.vms(self.vm_ids, with_actions=False)
        responses.vm_ids = frozenset(self.vm_ids)


SharedCall = _Documents | _Vms


def _ranges(ids: Collection[int]) -> Iterator[tuple[int, int]]:
    """The least and the greatest of each group of ids that lie near each other."""
    first = last = None
    for number in sorted(set(ids)):
        if first is None or last is None:
            first = number
        elif number - last > NEAR_IDS:
            yield first, last
            first = number
        last = number
    if first is not None and last is not None:
        yield first, last
