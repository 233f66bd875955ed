"""A page of the caller's runtimes, at a cost that does not grow with their number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from provision_engine.cloud.calls import ALL
from provision_engine.cloud.objects import Service, Vm
from provision_engine.engine.actions.windows import LARGEST_WINDOW, Windows
from provision_engine.engine.context import Context
from provision_engine.engine.runtime.model import Phase, Runtime
from provision_engine.engine.runtime.snapshot import Snapshot
from provision_engine.engine.runtime.states import State
from provision_engine.engine.safety import leases, unfinished
from provision_engine.engine.safety.ownership import Holdings

CHUNK = 200
"""So many runtimes are looked at together where their states decide which are shown."""
MAX_READ = 2000
"""So many runtimes are read for one page at most: where few of them match, it stays short."""
NEAR_IDS = 64
"""Services whose ids are as near as that are read in one call."""
MAX_SERVICE_CALLS = 20


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
        """Whether a runtime may be shown, as far as it tells without its VMs."""
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


@dataclass(frozen=True)
class Cursor:
    """Where a page begins, in which direction, and how long it is."""

    after: int = -1
    """Only runtimes with a greater id: pages stay right while runtimes come and go."""
    before: int | None = None
    """Only runtimes with a lower id."""
    is_newest_first: bool = False
    limit: int | None = None

    @property
    def is_empty(self) -> bool:
        """Whether no id lies between both ends."""
        return self.before is not None and self.before - self.after <= 1


@dataclass
class Page:
    """Some runtimes in the order that was asked for."""

    snapshots: list[Snapshot] = field(default_factory=list)
    next_id: int | None = None
    """The id behind which the next page begins; None on the last."""


def list_runtimes(context: Context, wanted: Filter, cursor: Cursor) -> Page:
    """A page of the caller's runtimes with fresh states.

    What dead engines left and what OpenNebula has ended is not shown, and removed as far as a
    moment allows.
    """
    listing = _Listing(context, wanted, cursor)
    page = listing.page()
    unfinished.resolve_all(context, listing.left)
    unfinished.remove_expired(context, listing.expired)
    return page


class _Listing:
    def __init__(self, context: Context, wanted: Filter, cursor: Cursor) -> None:
        self._context, self._filter, self._cursor = context, wanted, cursor
        self.left: list[Runtime] = []
        self.expired: list[Runtime] = []

    def page(self) -> Page:
        """Read parts of the runtimes until the page is full or no runtime is left."""
        if self._cursor.is_empty:
            self._context.cloud.oned.version()  # nothing else would check the credentials
            return Page()
        if self._cursor.limit is None:
            return self._whole()
        page, read, pending = Page(), 0, list[Runtime]()
        windows = self._windows(self._cursor.limit + 1)
        for runtimes in windows:
            read += len(runtimes)
            pending += self._matching(runtimes)
            is_long = read > MAX_READ - LARGEST_WINDOW
            if self._filter.state is None and len(pending) < self._cursor.limit and not is_long:
                continue  # so that their VMs are read together
            more, pending = self._add(page, pending), []
            if more or self._room(page) == 0:
                is_last = not more and windows.edge() is None
                page.next_id = None if is_last else page.snapshots[-1].id
                return page
            if is_long:
                page.next_id = windows.edge()
                return page
        self._add(page, pending)
        return page

    def _whole(self) -> Page:
        page = Page()
        last_id = ALL if self._cursor.before is None else self._cursor.before - 1
        found = self._context.runtimes.range(self._cursor.after + 1, last_id)
        self._add(page, self._matching(found))
        return page

    def _windows(self, wanted: int) -> Windows:
        cursor, context = self._cursor, self._context
        return Windows(
            context.runtimes,
            context.memory.gaps.of(context.owner),
            cursor.after + 1,
            None if cursor.before is None else cursor.before - 1,
            wanted,
            is_downwards=cursor.is_newest_first,
        )

    def _matching(self, runtimes: Sequence[Runtime]) -> list[Runtime]:
        """In the order of the page, as far as they tell without their VMs."""
        left, visible = unfinished.partition(self._context, runtimes)
        self.left += left
        return sorted(
            filter(self._filter.matches, visible),
            key=lambda runtime: runtime.id,
            reverse=self._cursor.is_newest_first,
        )

    def _add(self, page: Page, matching: list[Runtime]) -> bool:
        """Show runtimes as far as the page has room; whether more would follow."""
        while matching:
            room = self._room(page)
            if room == 0:
                return True
            size = len(matching) if room is None else self._chunk(room)
            chunk, matching = matching[:size], matching[size:]
            shown = list(filter(self._filter.shows, self._observe(chunk)))
            page.snapshots += shown[:room]
            if room is not None and len(shown) > room:
                return True
        return False

    def _chunk(self, room: int) -> int:
        """How many runtimes to look at together, to fill so much room."""
        return room if self._filter.state is None else max(room, CHUNK)

    def _room(self, page: Page) -> int | None:
        limit = self._cursor.limit
        return None if limit is None else limit - len(page.snapshots)

    def _observe(self, runtimes: Sequence[Runtime]) -> list[Snapshot]:
        vms = self._context.cloud.oned.vms([vm_id for r in runtimes for vm_id in r.vm_ids])
        shown: list[tuple[Runtime, dict[int, Vm]]] = []
        for runtime in runtimes:
            own = _own(self._context.holdings(runtime), runtime, vms)
            if leases.is_over(runtime, own, self._context.now()):
                self.expired.append(runtime)
            else:
                shown.append((runtime, own))
        services = self._services([runtime for runtime, own in shown if _lacks_vms(runtime, own)])
        return [
            Snapshot.taken(runtime, own, services.get(runtime.service_id)) for runtime, own in shown
        ]

    def _services(self, runtimes: Sequence[Runtime]) -> dict[int | None, Service]:
        """The services of the caller's runtimes, by id."""
        ids = [runtime.service_id for runtime in runtimes if runtime.service_id is not None]
        return {
            service.id: service
            for first_id, last_id in near(ids)
            for service in self._context.holdings(runtimes[0]).services(first_id, last_id)
        }


def near(ids: Sequence[int]) -> list[tuple[int, int]]:
    """Ranges that hold these ids and few others; a single one where they would be too many."""
    ranges: list[tuple[int, int]] = []
    for number in sorted(ids):
        if ranges and number - ranges[-1][1] <= NEAR_IDS:
            ranges[-1] = ranges[-1][0], number
        else:
            ranges.append((number, number))
    if len(ranges) > MAX_SERVICE_CALLS:
        return [(ranges[0][0], ranges[-1][1])]
    return ranges


def _own(holdings: Holdings, runtime: Runtime, vms: Mapping[int, Vm]) -> dict[int, Vm]:
    return holdings.owned(vms[vm_id] for vm_id in runtime.vm_ids if vm_id in vms)


def _lacks_vms(runtime: Runtime, own: Mapping[int, Vm]) -> bool:
    return len(own) < len(runtime.functions)
