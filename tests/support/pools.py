"""Ids of a user's 5,000 runtimes, spread in different ways among those of other documents."""

from __future__ import annotations

import random

COUNT = 5_000
FAR = 1_000_000


def _growing() -> list[int]:
    """Distances that grow by a thousandth each."""
    ids, distance, last = [], 1.0, 0.0
    for _ in range(COUNT):
        ids.append(int(last))
        distance *= 1.001
        last += distance
    return ids


def _mirrored(ids: list[int]) -> list[int]:
    return [ids[-1] - number for number in reversed(ids)]


def _clusters() -> list[int]:
    return [50_000 * cluster + number for cluster in range(50) for number in range(COUNT // 50)]


POOLS = {
    "dense": list(range(COUNT)),
    "every hundredth": list(range(0, 100 * COUNT, 100)),
    "at random": sorted(random.Random(7).sample(range(300 * COUNT), COUNT)),
    "gap in front": list(range(FAR, FAR + COUNT)),
    "three, then a gap": [0, 1, 2, *range(FAR, FAR + COUNT - 3)],
    "gap in the middle": [*range(COUNT // 2), *range(FAR, FAR + COUNT // 2)],
    "geometric": _growing(),
    "geometric, dense at the newest end": _mirrored(_growing()),
    "clusters": _clusters(),
}
