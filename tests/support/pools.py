"""Ids of a user's 2,000 runtimes, spread in different ways among those of other documents."""

from __future__ import annotations

import itertools

COUNT = 2_000
FAR = 1_000_000


def _shrinking() -> list[int]:
    """Dense at the newest end: distances that shrink by a thousandth each."""
    distances = [int(1.002**number) for number in range(COUNT)]
    return list(itertools.accumulate(reversed(distances)))


def _clusters() -> list[int]:
    return [50_000 * cluster + number for cluster in range(50) for number in range(COUNT // 50)]


POOLS = {
    "dense": list(range(COUNT)),
    "gap in front": list(range(FAR, FAR + COUNT)),
    "three, then a gap": [0, 1, 2, *range(FAR, FAR + COUNT - 3)],
    "geometric, dense at the newest end": _shrinking(),
    "clusters": _clusters(),
}
