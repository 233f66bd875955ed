"""Read parts of a user's runtimes, from which a page of a list is filled.

oned reads a user's documents by their offset from the newest one. Offsets shift while runtimes
come and go, ids stay: a cursor says with an id where a page begins, and with an offset where to
look for that. What is read there counts only if it holds documents on both sides of the id, or
reaches the end of the pool: then nothing is missing between them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from provision_engine.cloud.objects import Document
from provision_engine.engine.repository import Repository, readable

LARGEST = 2**31 - 1
"""The largest id, offset or count that OpenNebula knows."""
OVERLAP = 16
"""So many more documents are read on each side, since others may have come or gone."""
GROWTH, MAX_COUNT = 4, 1024
"""Each part is larger than the one before, for lists in which a filter shows few runtimes."""
MAX_ATTEMPTS = 24
"""After so many parts that were read in vain, the whole pool is read."""


@dataclass(frozen=True)
class Cursor:
    """Where a page begins, in which direction, and how long it is."""

    after: int = -1
    """Only runtimes with a greater id: pages stay right while runtimes come and go."""
    before: int = LARGEST + 1
    """Only runtimes with a lower id."""
    offset: int | None = None
    """Where the page before was cut, counted from the newest document. Any number is safe."""
    is_newest_first: bool = True
    limit: int | None = None

    @property
    def is_empty(self) -> bool:
        """Return whether no id lies between both ends."""
        return self.before - self.after <= 1

    def behind(self, runtime_id: int, offset: int) -> Cursor:
        """Return the cursor of what follows a runtime."""
        if self.is_newest_first:
            return replace(self, before=runtime_id, offset=offset)
        return replace(self, after=runtime_id, offset=offset)


@dataclass(frozen=True)
class Part:
    """Some of the runtimes, sorted as the list is, as documents."""

    documents: list[Document]
    offsets: dict[int, int]
    """Those of the documents by id, when they were read."""
    rest: Cursor | None
    """Where the next part begins; None after the last one."""


def parts(runtimes: Repository, cursor: Cursor) -> Iterator[Part]:
    """Read the runtimes that a cursor with a limit leads to, as many as are needed at a time."""
    rest: Cursor | None = cursor
    count = min(cursor.limit or LARGEST, LARGEST - 1) + 1  # that one more tells of a next page
    while rest is not None:
        part = _part(runtimes, rest, count)
        yield part
        rest = part.rest
        count = min(count * GROWTH, max(count, MAX_COUNT))


def _part(runtimes: Repository, cursor: Cursor, count: int) -> Part:
    window = _window(runtimes, cursor, count)
    offsets = {d.id: offset for offset, d in enumerate(window.documents, window.offset)}
    documents = [d for d in window.documents if cursor.after < d.id < cursor.before]
    is_end = window.is_oldest
    if not cursor.is_newest_first:
        documents, is_end = documents[::-1], window.is_newest
    rest = None
    if documents and not is_end:
        rest = cursor.behind(documents[-1].id, offsets[documents[-1].id])
    return Part(documents, offsets, None if rest is None or rest.is_empty else rest)


# ---- a part by offset ---------------------------------------------------------------------------


@dataclass(frozen=True)
class _Window:
    """Documents that lay side by side in the user's pool, the newest first."""

    offset: int
    documents: list[Document]
    is_oldest: bool
    """Whether the pool ends with them."""

    @property
    def is_newest(self) -> bool:
        """Return whether the pool begins with them."""
        return self.offset == 0

    def reaches_newer(self, edge: int) -> bool:
        """Return whether nothing is missing between these and ids from ``edge`` on."""
        return self.is_newest or (bool(self.documents) and self.documents[0].id >= edge)

    def reaches_older(self, edge: int) -> bool:
        """Return whether nothing is missing between these and ids below ``edge``."""
        return self.is_oldest or self.documents[-1].id < edge


def _window(runtimes: Repository, cursor: Cursor, count: int) -> _Window:
    """Read what is on both sides of the id at which a cursor begins.

    If it is no longer where the cursor says, it is searched for in steps that double, and are
    halved once they have gone too far.
    """
    if cursor.is_newest_first:
        edge, newer, older = cursor.before, OVERLAP, count + OVERLAP
        offset = cursor.offset or 0
    else:
        edge, newer, older = cursor.after + 1, count + OVERLAP, OVERLAP
        offset = _size(runtimes) if cursor.offset is None else cursor.offset
    step, has_turned = 0, False
    for _ in range(MAX_ATTEMPTS):
        window = _read(runtimes, offset - newer, offset + older)
        if not window.reaches_newer(edge):
            direction = -1
        elif not window.reaches_older(edge):
            direction = 1
        else:
            return window
        has_turned = has_turned or step * direction < 0
        distance = abs(step) // 2 if has_turned else abs(step) * 2
        step = direction * (distance or newer + older)
        offset = max(0, offset + step)
    return _read(runtimes, 0, LARGEST)


def _read(runtimes: Repository, first: int, end: int) -> _Window:
    first = max(0, first)
    count = min(end - first, LARGEST)
    documents = runtimes.at(first, count)
    return _Window(first, documents, is_oldest=len(documents) < count)


def _size(runtimes: Repository) -> int:
    """Estimate the number of a user's runtimes, as if each had as many VMs as the newest one.

    OpenNebula counts a user's VMs, but no documents.
    """
    newest = runtimes.at(0, 1)
    if not newest:
        return 0
    vms_each = max((len(runtime.vm_ids) for runtime in readable(newest)), default=1)
    return runtimes.vms_in_use() // max(1, vms_each)
