"""Long ranges of ids in which a user has no runtimes, so that a page is not searched for twice.

Ids only grow, so such a range stays empty, unless an administrator gives a user older runtimes.
What is remembered only says how wide a range to read: what lies in it is read all the same.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence

from provision_engine.engine.memory import Lru

MIN_IDS = 64
"""Shorter gaps are not worth remembering."""
MAX_GAPS = 128
"""So many gaps of one user are remembered; those seen last stay."""
MAX_USERS = 1000


class Gaps:
    """The gaps of one user. Safe for threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._gaps: OrderedDict[tuple[int, int], None] = OrderedDict()

    def add(self, first_id: int, last_id: int) -> None:
        """Remember that no runtime lies from ``first_id`` to ``last_id``, both included."""
        if last_id - first_id + 1 < MIN_IDS:
            return
        with self._lock:
            for gap in [gap for gap in self._gaps if first_id <= gap[0] and gap[1] <= last_id]:
                del self._gaps[gap]
            self._gaps[first_id, last_id] = None
            while len(self._gaps) > MAX_GAPS:
                self._gaps.popitem(last=False)

    def upwards(self, first_id: int, ids: int) -> int:
        """The last id of the range from ``first_id`` on that has so many ids outside of gaps."""
        return _end(self._sorted(), first_id, ids)

    def downwards(self, last_id: int, ids: int) -> int:
        """The first id of the range up to ``last_id`` that has so many ids outside of gaps."""
        mirrored = [(-last, -first) for first, last in reversed(self._sorted())]
        return -_end(sorted(mirrored), -last_id, ids)

    def _sorted(self) -> list[tuple[int, int]]:
        with self._lock:
            return sorted(self._gaps)


def _end(gaps: list[tuple[int, int]], first_id: int, ids: int) -> int:
    """Gaps may overlap: each id counts once."""
    end, seen = first_id + ids - 1, first_id - 1
    for first, last in gaps:
        start = max(first, seen + 1)
        if start > end + 1:
            break
        if last >= start:
            end += last - start + 1
            seen = last
    return end


class Recorder:
    """Adds the gaps between the first runtimes of a list to those of its user."""

    def __init__(self, gaps: Gaps, count: int, beside: int | None) -> None:
        """``beside`` is the id before the list's first; None where runtimes may still come."""
        self._gaps, self._count, self._beside = gaps, count, beside

    def begin(self, beside: int) -> None:
        """The id before the list's first, unless there has been one: newer runtimes exist."""
        if self._beside is None:
            self._beside = beside

    def add(self, ids: Sequence[int]) -> None:
        """The ids that follow, upwards or downwards."""
        for runtime_id in ids[: self._count]:
            if self._beside is not None:
                low, high = sorted((self._beside, runtime_id))
                self._gaps.add(low + 1, high - 1)
            self._beside = runtime_id
            self._count -= 1


class GapsOfUsers:
    """The gaps of many users, each apart from the others. Safe for threads."""

    def __init__(self, max_users: int = MAX_USERS) -> None:
        self._users: Lru[bytes, Gaps] = Lru(max_users)

    def of(self, owner: bytes) -> Gaps:
        """``owner`` tells users apart, password included."""
        return self._users.get_or_put(owner, Gaps)
