"""List runtimes of a user, or of all, by pages, at a cost that does not grow with their number.

oned reads a user's documents by their offset from the newest one. Offsets shift while runtimes
come and go, ids stay: a cursor says with an id where a page begins, and with an offset where to
look for that. What is read there counts only if it holds documents on both sides of the id, or
reaches the end of the pool: then nothing is missing between them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from provision_engine.cloud.objects import Document, Service, Vm
from provision_engine.cloud.oned import MINE, USABLE_BY_ME
from provision_engine.engine import answering
from provision_engine.engine.context import Context
from provision_engine.engine.repository import readable
from provision_engine.engine.runtime.model import Phase, Runtime
from provision_engine.engine.runtime.snapshot import Snapshot
from provision_engine.engine.runtime.states import State
from provision_engine.engine.safety import abandoned, leases
from provision_engine.errors import Forbidden

CHUNK = 200
"""How many runtimes are observed together where their states decide which are shown."""
MAX_READ = 2000
"""How many runtimes are read for one page at most: where few of them match, it stays short."""
NEAR_IDS = 64
"""Services whose ids are as near as that are read in one call."""
MAX_SERVICE_CALLS = 20
LARGEST = 2**31 - 1
"""The largest id, offset or count that OpenNebula knows."""
OVERLAP = 16
"""How many more documents are read on each side, since others may have come or gone."""
GROWTH, MAX_COUNT = 4, 1024
"""Each part is larger than the one before, for lists in which a filter shows few runtimes."""
MAX_ATTEMPTS = 24
"""How many parts are read in vain before the whole pool is read."""


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
    is_of_all_users: bool = False
    """Whether it is a page of everybody's runtimes, for an administrator."""

    @property
    def whose(self) -> int:
        """Return the filter of the pool that is read."""
        return USABLE_BY_ME if self.is_of_all_users else MINE

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
class Filter:
    """Which runtimes a list shows. Empty texts let everything through."""

    name: str = ""
    flavour: str = ""
    """A flavour tuple, or the flavour of one function."""
    state: State | None = None
    """That of any function."""
    shows_standby: bool = False
    """Whether runtimes that wait for their create are shown too."""

    def matches(self, runtime: Runtime) -> bool:
        """Return whether a runtime may be shown, as far as that is known without its VMs."""
        flavours = [f.flavour for f in runtime.functions.values()]
        if runtime.phase is Phase.STANDBY and not self.shows_standby:
            return False
        return self.name in ("", runtime.name) and self.flavour in (
            "",
            runtime.flavour_tuple,
            *flavours,
        )

    def shows(self, snapshot: Snapshot) -> bool:
        return self.state is None or self.state in snapshot.states


@dataclass
class Page:
    """Some runtimes, in the requested direction."""

    snapshots: list[Snapshot] = field(default_factory=list)
    following: Cursor | None = None
    """Where the next page begins; None on the last."""


def list_runtimes(context: Context, shown: Filter, cursor: Cursor) -> Page:
    """Return a page of the caller's runtimes, or of all users', with fresh states.

    Runtimes that a dead engine abandoned or OpenNebula has ended are not shown; the caller's
    are removed, as far as a moment allows. Raises Forbidden unless an administrator asks for all.
    """
    if cursor.is_of_all_users and not context.user().is_administrator:
        raise Forbidden("Only an administrator may list the runtimes of all users")
    listing = _Listing(context, shown, cursor)
    page = listing.page()
    abandoned.resolve_all(context, listing.abandoned)
    abandoned.remove_expired(context, listing.expired)
    return page


class _Listing:
    def __init__(self, context: Context, shown: Filter, cursor: Cursor) -> None:
        self._context, self._filter, self._cursor = context, shown, cursor
        self.abandoned: list[Runtime] = []
        self.expired: list[Runtime] = []

    def page(self) -> Page:
        """Read parts of the runtimes until the page is full or no runtime is left."""
        cursor = self._cursor
        if cursor.is_empty:
            self._context.cloud.oned.version()  # nothing else would check the credentials
            return Page()
        if cursor.limit is None:
            ends = cursor.after + 1, cursor.before - 1
            found = self._context.runtimes.range(*ends, cursor.whose)
            return Page(self._shown(self._matching(found)))
        return self._limited(cursor.limit)

    def _limited(self, limit: int) -> Page:
        page, pending, read = Page(), list[Runtime](), 0
        offsets: dict[int, int] = {}
        rest: Cursor | None = self._cursor
        count = min(limit, LARGEST - 1) + 1  # that one more tells of a next page
        while rest is not None:
            documents, known, rest = _part(self._context, rest, count)
            count = min(count * GROWTH, max(count, MAX_COUNT))
            read += len(documents)
            offsets |= known
            pending += self._matching(readable(documents))
            is_last = rest is None or read > MAX_READ - MAX_COUNT
            if not is_last and self._filter.state is None and len(pending) < limit:
                continue  # so that their VMs are read together
            has_more, pending = self._fill(page, pending, limit), []
            page.following = rest
            if has_more:
                last_id = page.snapshots[-1].id
                page.following = self._cursor.behind(last_id, offsets[last_id])
            if has_more or is_last or len(page.snapshots) == limit:
                break
        return page

    def _matching(self, runtimes: Sequence[Runtime]) -> list[Runtime]:
        """Return the runtimes that may be shown, sorted as the page is, still without their VMs."""
        unresolved, visible = abandoned.partition(self._context, runtimes)
        self.abandoned += unresolved
        return sorted(
            filter(self._filter.matches, visible),
            key=lambda runtime: runtime.id,
            reverse=self._cursor.is_newest_first,
        )

    def _fill(self, page: Page, matching: list[Runtime], limit: int) -> bool:
        """Show runtimes as far as the page has room. Returns whether more would follow."""
        while matching:
            room = limit - len(page.snapshots)
            size = room if self._filter.state is None else max(room, CHUNK)
            shown = self._shown(matching[:size]) if room else []
            page.snapshots += shown[:room]
            if len(shown) > room or not room:
                return True
            matching = matching[size:]
        return False

    def _shown(self, runtimes: Sequence[Runtime]) -> list[Snapshot]:
        return list(filter(self._filter.shows, self._observe(runtimes)))

    def _observe(self, runtimes: Sequence[Runtime]) -> list[Snapshot]:
        vms = self._context.cloud.oned.vms([vm_id for r in runtimes for vm_id in r.vm_ids])
        shown: list[tuple[Runtime, dict[int, Vm]]] = []
        for runtime in runtimes:
            holdings = self._context.holdings(runtime)
            own = holdings.owned(vms[n] for n in runtime.vm_ids if n in vms)
            if leases.is_over(runtime, own, self._context.now()):
                self.expired.append(runtime)
            else:
                shown.append((runtime, own))
        services = self._services([r for r, own in shown if len(own) < len(r.functions)])
        observed = [Snapshot.from_vms(r, own, services.get(r.service_id)) for r, own in shown]
        return answering.check(self._context, observed)

    def _services(self, runtimes: Sequence[Runtime]) -> dict[int | None, Service]:
        """Return the services of runtimes by id, those of each owner by themselves."""
        ids = defaultdict[int, list[int]](list)
        for runtime in runtimes:
            if runtime.service_id is not None:
                ids[runtime.owner_id].append(runtime.service_id)
        return {
            service.id: service
            for owner_id, owned_ids in ids.items()
            for first_id, last_id in near(owned_ids)
            for service in self._context.holdings_of(owner_id).services(first_id, last_id)
        }


def near(ids: Sequence[int]) -> list[tuple[int, int]]:
    """Return ranges that hold these ids and few others; a single one if there would be too many."""
    ranges: list[tuple[int, int]] = []
    for number in sorted(ids):
        if ranges and number - ranges[-1][1] <= NEAR_IDS:
            ranges[-1] = ranges[-1][0], number
        else:
            ranges.append((number, number))
    if len(ranges) > MAX_SERVICE_CALLS:
        return [(ranges[0][0], ranges[-1][1])]
    return ranges


# ---- parts of the pool --------------------------------------------------------------------------


def _part(
    context: Context, cursor: Cursor, count: int
) -> tuple[list[Document], dict[int, int], Cursor | None]:
    """Read the next documents that a cursor leads to, sorted as the list is.

    Returns them, the offsets by id, and where the next part begins; None after the last one.
    """
    first, found, is_end = _around(context, cursor, count)
    offsets = {document.id: offset for offset, document in enumerate(found, first)}
    documents = [d for d in found if cursor.after < d.id < cursor.before]
    if not cursor.is_newest_first:
        documents, is_end = documents[::-1], first == 0
    if not documents or is_end:
        return documents, offsets, None
    rest = cursor.behind(documents[-1].id, offsets[documents[-1].id])
    return documents, offsets, None if rest.is_empty else rest


def _around(context: Context, cursor: Cursor, count: int) -> tuple[int, list[Document], bool]:
    """Read what is on both sides of the id at which a cursor begins.

    If it is no longer where the cursor says, it is searched for in steps that double, and are
    halved once they have gone too far. Returns the offset of the newest document, the documents
    side by side from there on, and whether the pool ends with them.
    """
    if cursor.is_newest_first:
        edge, newer, older = cursor.before, OVERLAP, count + OVERLAP
        offset = cursor.offset or 0
    else:
        edge, newer, older = cursor.after + 1, count + OVERLAP, OVERLAP
        offset = _size(context, cursor) if cursor.offset is None else cursor.offset
    step, has_turned = 0, False
    for _ in range(MAX_ATTEMPTS):
        first = max(0, offset - newer)
        size = min(offset + older - first, LARGEST)
        documents = context.runtimes.at(first, size, cursor.whose)
        is_oldest = len(documents) < size
        if first > 0 and (not documents or documents[0].id < edge):
            direction = -1
        elif not is_oldest and documents[-1].id >= edge:
            direction = 1
        else:
            return first, documents, is_oldest
        has_turned = has_turned or step * direction < 0
        distance = abs(step) // 2 if has_turned else abs(step) * 2
        step = direction * (distance or newer + older)
        offset = max(0, offset + step)
    return 0, context.runtimes.at(0, LARGEST, cursor.whose), True


def _size(context: Context, cursor: Cursor) -> int:
    """Estimate the number of a user's runtimes, as if each had as many VMs as the newest one.

    OpenNebula counts a user's VMs, but no documents, and nothing of all users.
    """
    newest = [] if cursor.is_of_all_users else context.runtimes.at(0, 1)
    if not newest:
        return 0
    vms_each = max((len(runtime.vm_ids) for runtime in readable(newest)), default=1)
    return int(context.cloud.oned.quota().used["VMS"]) // max(1, vms_each)
