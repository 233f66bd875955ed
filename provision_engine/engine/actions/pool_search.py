"""Where in a user's pool the runtimes from an id on end, in few calls.

Offsets count from the newest runtime, and oned can read the runtime at an offset only. An estimate
that takes ids for evenly spread is tried first; where they are not, steps that grow fourfold find
the order of magnitude, and halving does the rest.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

PRECISION = 128
"""The maximum distance between the two offsets that are found."""
FIRST_STEP = 256
GROWTH = 4
MAX_ESTIMATES = 3

IdAt = Callable[[int], int | None]
"""The id at an offset; None beyond the end of the pool."""


@dataclass(frozen=True)
class Bracket:
    """Offsets between which runtimes begin that are older than an id."""

    newer: int
    """Of a runtime that is not older; or 0."""
    older: int
    """Of a runtime that is older, or beyond the end of the pool."""


def find(id_at: IdAt, boundary: int, newest: int) -> Bracket:
    """Where the runtimes with ids below ``boundary`` begin, given the id at offset 0."""
    if newest < boundary:
        return Bracket(0, 0)
    return _Search(id_at, boundary, newest).bracket()


class _Search:
    def __init__(self, id_at: IdAt, boundary: int, newest: int) -> None:
        self._id_at, self._boundary = id_at, boundary
        self._newer, self._newer_id = 0, newest
        self._older: int | None = None
        self._older_id: int | None = None
        self._ids_each = 0.0
        """The average distance of the ids beside the last runtime known not to be older."""
        self._estimates_left = MAX_ESTIMATES

    def bracket(self) -> Bracket:
        while self._older is None or self._older - self._newer > PRECISION:
            estimated = self._estimated()
            if estimated is None:
                self._probe(self._stepped())
            else:
                offset, is_expected_newer = estimated
                is_right = self._probe(offset) is is_expected_newer
                self._estimates_left = self._estimates_left - 1 if is_right else 0
        return Bracket(self._newer, self._older)

    def _probe(self, offset: int) -> bool:
        """Whether the runtime at an offset is not older."""
        found = self._id_at(offset)
        if found is None or found < self._boundary:
            self._older, self._older_id = offset, found
            return False
        self._ids_each = (self._newer_id - found) / (offset - self._newer)
        self._newer, self._newer_id = offset, found
        return True

    def _stepped(self) -> int:
        step = GROWTH * self._newer + FIRST_STEP
        return step if self._older is None else min(step, (self._newer + self._older) // 2)

    def _estimated(self) -> tuple[int, bool] | None:
        """An offset just before or behind the estimate, and whether it should not be older."""
        distance = self._distance()
        if distance is None or not self._estimates_left:
            return None
        margin = PRECISION // 2
        before, behind = (int(self._newer + distance + side) for side in (-margin, margin))
        if before > self._newer and (self._older is None or before < self._older):
            return before, True
        if self._newer < behind and (self._older is None or behind < self._older):
            return behind, False
        return None

    def _distance(self) -> float | None:
        """The number of runtimes from the last that is not older on, if ids are evenly spread."""
        ids = self._newer_id - self._boundary
        if self._older is not None and self._older_id is not None:
            each = (self._newer_id - self._older_id) / (self._older - self._newer)
        else:
            each = self._ids_each
        return ids / each if each else None
