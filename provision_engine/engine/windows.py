"""Ranges of ids that hold few of a user's runtimes each, from which a page of a list is filled.

Ids are shared with all other documents of the cloud, so how wide a range may be depends on where
the user's runtimes lie. Offsets in the user's pool tell that: reading the runtime at an offset
costs the same whatever the size of the pool. Offsets shift while runtimes come and go, so they
only choose the ranges; what a page shows is read by id.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from provision_engine.engine.model import Runtime
from provision_engine.engine.repository import Repository

FIRST_IDS = 64
"""The width of the first range."""
MAX_GUESSED_IDS = 4096
"""The maximum width of a range that is estimated from the one before."""
PRECISION = 64
"""So many runtimes more than wanted may a range hold that was chosen by offset."""
GROWTH = 4
MAX_WANTED = 1024
LARGEST_WINDOW = MAX_WANTED + PRECISION
"""So many runtimes does a range hold at most, as long as few come and go."""


@dataclass(frozen=True)
class Window:
    """The runtimes in a range of ids."""

    runtimes: list[Runtime]
    edge: int | None
    """The id at which the next range begins to differ; None in the last range."""


class Windows:
    """Ranges from ``low`` to ``high``, both included, upwards or downwards.

    ``wanted`` is how many runtimes the first ranges should hold; later ones may hold more, for
    lists in which a filter lets few runtimes through.
    """

    def __init__(
        self, runtimes: Repository, low: int, high: int, wanted: int, *, is_downwards: bool
    ) -> None:
        self._runtimes = runtimes
        self._low, self._high, self._wanted = low, high, wanted
        self._is_downwards = is_downwards
        self._offset: int | None = None

    def __iter__(self) -> Iterator[Window]:
        choose: Callable[[], tuple[int, int]] = self._first
        while self._low <= self._high:
            first, last = choose()
            found = self._runtimes.range(first, last)
            edge = self._advance(first, last)
            yield Window(found, edge if self._low <= self._high else None)
            is_guess_sound = choose == self._first and found
            choose = self._guess(last - first + 1, len(found)) if is_guess_sound else self._measured

    def _advance(self, first: int, last: int) -> int:
        if self._is_downwards:
            self._high = first - 1
            return first
        self._low = last + 1
        return last

    def _first(self) -> tuple[int, int]:
        return self._of_width(max(FIRST_IDS, self._wanted))

    def _of_width(self, ids: int) -> tuple[int, int]:
        if self._is_downwards:
            return max(self._low, self._high - ids + 1), self._high
        return self._low, min(self._high, self._low + ids - 1)

    def _guess(self, ids: int, found: int) -> Callable[[], tuple[int, int]]:
        """The next range, if its runtimes lie as densely as those of the one before."""
        width = math.ceil(1.5 * self._grown() * ids / found)
        return lambda: self._of_width(min(width, max(ids, MAX_GUESSED_IDS)))

    def _measured(self) -> tuple[int, int]:
        """The next range, chosen by offset."""
        if self._offset is None:
            self._offset = self._find()
        wanted = self._grown()
        self._offset += wanted if self._is_downwards else -wanted
        edge = self._runtimes.id_at(self._offset) if self._offset > 0 else None
        if edge is None:
            return self._low, self._high
        if not self._low <= edge <= self._high:  # much has gone or come meanwhile
            self._offset = None
            return self._of_width(FIRST_IDS)
        return (edge, self._high) if self._is_downwards else (self._low, edge)

    def _grown(self) -> int:
        """How many runtimes the next range should hold."""
        wanted, self._wanted = self._wanted, min(self._wanted * GROWTH, MAX_WANTED)
        return wanted

    def _find(self) -> int:
        """The offset at which the next range begins, or up to PRECISION beyond it."""
        if self._is_downwards:
            return self._offset_of(self._high + 1) + PRECISION
        return self._offset_of(self._low)

    def _offset_of(self, runtime_id: int) -> int:
        """An offset up to PRECISION before that of the oldest runtime from this id on."""
        offset, step = 0, PRECISION
        while self._is_from(runtime_id, offset + step):
            offset += step
            step *= GROWTH
        while step > PRECISION:
            step //= 2
            if self._is_from(runtime_id, offset + step):
                offset += step
        return offset

    def _is_from(self, runtime_id: int, offset: int) -> bool:
        found = self._runtimes.id_at(offset)
        return found is not None and found >= runtime_id
