"""Parts of a user's runtimes that hold few of them each, from which a page of a list is filled.

Ids are shared with all other documents of the cloud, so how many runtimes a range of ids holds
depends on where the user's runtimes lie. The first part is a short range of ids. Where that holds
too few, the next ones are read by offset in the user's pool. Offsets shift while runtimes come and
go, so such a part counts only where it certainly leaves out nothing: if it reaches what is beyond
its edge, or the end of the pool.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cached_property

from provision_engine.cloud.objects import Document
from provision_engine.engine.actions import pool_search
from provision_engine.engine.actions.gaps import Gaps, Recorder
from provision_engine.engine.actions.pool_search import PRECISION, Bracket
from provision_engine.engine.repository import Repository, readable
from provision_engine.engine.runtime.model import Runtime

FIRST_IDS = 48
"""The width of the first range."""
MAX_GUESSED_IDS = 512
"""The maximum width of a range that is estimated from the one before, if few are wanted."""
GROWTH = 4
MAX_WANTED = 1024
MARGIN = 32
"""By so many runtimes may an estimate be wrong."""
OVERLAP = 32
"""By so many runtimes a part reaches beyond its edge, since others may have come or gone."""
LARGEST_WINDOW = MAX_WANTED + PRECISION
"""The maximum number of runtimes in a part, as long as few come and go."""
MAX_SEARCHES = 4
"""After so many parts that may have left something out, all that remains is read."""


class Windows:
    """The runtimes with ids from ``low`` to ``high``, both included, upwards or downwards.

    Without ``high`` they end with the newest. ``wanted`` is how many runtimes the first parts
    should hold; later ones may hold more, for lists in which a filter lets few runtimes through.
    """

    def __init__(
        self,
        runtimes: Repository,
        gaps: Gaps,
        low: int,
        high: int | None,
        wanted: int,
        *,
        is_downwards: bool,
    ) -> None:
        self._runtimes = runtimes
        self._gaps, self._recorder = gaps, Recorder(gaps, wanted, None if is_downwards else low - 1)
        self._low, self._high, self._wanted = low, high, wanted
        self._beside = high + 1 if is_downwards and high is not None else low - 1
        self._is_downwards = is_downwards
        self._is_from_newest = is_downwards and high is None
        self._bracket = Bracket(0, 0) if self._is_from_newest else None
        self._searches = 0

    def __iter__(self) -> Iterator[list[Runtime]]:
        if self._is_from_newest:
            yield self._measured()
        elif self._high is None or self._low <= self._high:
            yield from self._ranges()
        while self.edge() is not None:
            yield self._measured()

    def edge(self) -> int | None:
        """The id at which the next part begins to differ; None after the last part."""
        if self._low > self._last():
            return None
        return self._last() + 1 if self._is_downwards else self._low - 1

    def _last(self) -> int:
        """The greatest id that is still to come, or one beyond it."""
        if self._high is None:
            self._high = self._newest
        return self._high

    @cached_property
    def _newest_document(self) -> list[Document]:
        """Empty if there is none."""
        return self._runtimes.at(0, 1)

    @property
    def _newest(self) -> int:
        return self._newest_document[0].id if self._newest_document else -1

    def _id_at(self, offset: int) -> int | None:
        found = self._runtimes.at(offset, 1)
        return found[0].id if found else None

    # ---- ranges of ids --------------------------------------------------------------------------

    def _ranges(self) -> Iterator[list[Runtime]]:
        """A short range, and a second one where the first one tells how wide that should be."""
        ids = max(FIRST_IDS, self._wanted)
        found = self._range(*self._of_width(ids))
        yield readable(found)
        if found and self.edge() is not None:
            guess = math.ceil(1.5 * self._grown() * ids / len(found))
            width = min(guess, max(GROWTH * ids, MAX_GUESSED_IDS))
            yield readable(self._range(*self._of_width(width)))

    def _of_width(self, ids: int) -> tuple[int, int]:
        """The next range with so many ids outside of known gaps."""
        if self._is_downwards:
            return max(self._low, self._gaps.downwards(self._last(), ids)), self._last()
        last = self._gaps.upwards(self._low, ids)
        return self._low, last if self._high is None else min(self._high, last)

    def _range(self, first: int, last: int) -> list[Document]:
        found = self._runtimes.between(first, last)
        self._recorder.add(sorted((d.id for d in found), reverse=self._is_downwards))
        if self._is_downwards:
            self._high = first - 1
        else:
            self._low = last + 1
        return found

    # ---- parts by offset ------------------------------------------------------------------------

    def _measured(self) -> list[Runtime]:
        if self._searches == MAX_SEARCHES:
            return readable(self._range(self._low, self._last()))
        if self._bracket is None:
            self._bracket = self._found_or_estimated()
        return readable(self._part(self._bracket, self._grown()))

    def _grown(self) -> int:
        """How many runtimes the next part should hold."""
        wanted, self._wanted = self._wanted, min(self._wanted * GROWTH, MAX_WANTED)
        return wanted

    def _found_or_estimated(self) -> Bracket:
        self._searches += 1
        if self._searches == 1 and self._beside == -1 and not self._is_downwards:
            return self._estimated()
        return self._search()

    def _estimated(self) -> Bracket:
        """Where the pool ends, if each runtime has as many VMs as the newest one.

        OpenNebula counts a user's VMs, but no documents.
        """
        newest = readable(self._newest_document)
        count = self._runtimes.vms_in_use() // max(1, len(newest[0].vm_ids) if newest else 1)
        return Bracket(max(0, count - MARGIN), count + MARGIN)

    def _search(self) -> Bracket:
        boundary = self._last() + 1 if self._is_downwards else self._low
        return pool_search.find(self._id_at, boundary, self._newest)

    def _part(self, bracket: Bracket, wanted: int) -> list[Document]:
        """The next runtimes, about so many; none where some may be missing."""
        if self._is_downwards:
            part = self._below(bracket.newer, bracket.older + wanted)
        else:
            part = self._above(max(0, bracket.newer - wanted), bracket.older)
        self._recorder.add([document.id for document in part])
        if self._is_downwards and self._low > self._last():
            self._recorder.add([self._low - 1])
        return part

    def _above(self, first: int, last: int) -> list[Document]:
        """The next runtimes upwards, at these offsets or before."""
        page, is_end = self._at(first, last)
        is_whole = page[-1].id < self._low or is_end if page else first == 0
        if not is_whole:
            self._bracket = None
            return []
        part = [d for d in reversed(page) if self._low <= d.id <= self._last()]
        newest = self._last() if first == 0 or not page else page[0].id
        self._low = max(self._low, newest + 1)
        self._bracket = Bracket(first, first + OVERLAP) if part else None
        return part

    def _below(self, first: int, last: int) -> list[Document]:
        """The next runtimes downwards, at these offsets or behind."""
        page, is_end = self._at(first, last)
        if self._high is None:
            self._high = page[0].id if page else -1
        if first > 0 and not (page and page[0].id > self._high):
            self._bracket = None
            return []
        part = [d for d in page if self._low <= d.id <= self._high]
        if first > 0:
            self._recorder.begin(self._beside)
        self._high = self._low - 1 if is_end else min(self._high, page[-1].id - 1)
        self._bracket = Bracket(max(0, last - OVERLAP), last) if part else None
        return part

    def _at(self, first: int, last: int) -> tuple[list[Document], bool]:
        """The runtimes at offsets, the newest first, and whether the pool ends with them."""
        count = last - first + 1
        page = self._runtimes.at(first, count)
        return page, len(page) < count
