"""The time that is left for a request."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator

SHORTEST_PAUSE_SECONDS = 0.02
LONGEST_PAUSE_SECONDS = 0.5
PAUSE_SHARE = 0.1  # of the time already waited: late by a tenth at most, and few polls in all


class Deadline:
    """A point on the monotonic clock, ``seconds`` from now."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    @property
    def remaining_seconds(self) -> float:
        """Return the seconds that are left; never negative."""
        return max(0.0, self._end - time.monotonic())

    @property
    def is_over(self) -> bool:
        return self.remaining_seconds == 0.0

    def at_least(self, seconds: float) -> Deadline:
        """Return this deadline, or a later one when less than ``seconds`` are left."""
        return self if self.remaining_seconds >= seconds else Deadline(seconds)

    def at_most(self, seconds: float) -> Deadline:
        """Return this deadline, or an earlier one when more than ``seconds`` are left."""
        return self if self.remaining_seconds <= seconds else Deadline(seconds)

    def polls(self) -> Iterator[int]:
        """Count polls until the deadline, sleeping between them: 20 ms first, then growing."""
        start = time.monotonic()
        for number in itertools.count():
            yield number
            if self.is_over:
                return
            growing = max((time.monotonic() - start) * PAUSE_SHARE, SHORTEST_PAUSE_SECONDS)
            time.sleep(min(growing, LONGEST_PAUSE_SECONDS, self.remaining_seconds))
