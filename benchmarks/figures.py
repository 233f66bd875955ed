"""Figures, and how they are computed from measurements."""

from __future__ import annotations

import dataclasses
import json
import math
import statistics
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Figure:
    """One row of the table: the engine against the bare calls of the same run."""

    what: str
    unit: str
    engine: float
    floor: float | None = None
    most: float | None = None
    """The target: the maximum (for rates: minimum) ratio to the floor."""
    most_alone: float | None = None
    """The target without a floor: the maximum value."""
    is_rate: bool = False

    @property
    def ratio(self) -> float | None:
        return self.engine / self.floor if self.floor else None

    @property
    def target(self) -> str:
        if self.most is not None:
            return f"{'≥' if self.is_rate else '≤'} {self.most:.2f} ×"
        return "" if self.most_alone is None else f"≤ {self.most_alone:g} {self.unit}"

    @property
    def is_met(self) -> bool | None:
        """None without a target."""
        if self.most is not None and self.ratio is not None:
            return self.ratio >= self.most if self.is_rate else self.ratio <= self.most
        return None if self.most_alone is None else self.engine <= self.most_alone

    def cells(self) -> list[str]:
        """The texts of a row of the table."""
        met = {True: "yes", False: "no", None: ""}[self.is_met]
        ratio = "" if self.ratio is None else f"{self.ratio:.2f}"
        return [self.what, self._text(self.floor), self._text(self.engine), ratio, self.target, met]

    def _text(self, value: float | None) -> str:
        if value is None or math.isnan(value):
            return ""
        digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 20 else 2
        return f"{value:.{digits}f} {self.unit}"

    def as_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self) | {"ratio": self.ratio, "is_met": self.is_met}


HEAD = ["what", "floor", "engine", "ratio", "target", "met"]


def table(figures: Sequence[Figure]) -> str:
    rows = [HEAD, ["---"] * len(HEAD), *(figure.cells() for figure in figures)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def document(circumstances: dict[str, Any], figures: Sequence[Figure]) -> str:
    """Everything of a run, for programs."""
    return json.dumps(circumstances | {"figures": [f.as_json() for f in figures]}, indent=1)


def p50(values: Sequence[float]) -> float:
    return statistics.median(values)


def p95(values: Sequence[float]) -> float:
    return statistics.quantiles(values, n=20)[18]


def timed_ms(action: Callable[[], T]) -> tuple[float, T]:
    """How long an action took, and its result."""
    began = time.perf_counter()
    result = action()
    return (time.perf_counter() - began) * 1000, result


def times_ms(action: Callable[[], Any], count: int) -> list[float]:
    return [timed_ms(action)[0] for _ in range(count)]


def for_seconds(
    clients: int, seconds: float, connect: Callable[[], Any], action: Callable[[Any], Any]
) -> list[float]:
    """The times in ms of everything that this many parallel clients did."""
    times: list[list[float]] = [[] for _ in range(clients)]
    end = time.perf_counter() + seconds

    def work(number: int) -> None:
        client = connect()
        while time.perf_counter() < end:
            times[number].append(timed_ms(lambda: action(client))[0])
        client.close()

    at_once(work, clients)
    return [time_ms for own in times for time_ms in own]


def at_once(work: Callable[[int], None], count: int) -> None:
    """Run this many threads; raises the first error of any."""
    errors: list[BaseException] = []

    def guarded(number: int) -> None:
        try:
            work(number)
        except BaseException as error:
            errors.append(error)

    threads = [
        threading.Thread(target=guarded, args=(number,), daemon=True) for number in range(count)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
