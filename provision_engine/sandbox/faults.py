"""Faults that can be switched on while the sandbox runs: of the two services and of VM drivers.

Backend faults (of ``oned`` or ``oneflow``):

=========== =================================================================================
refuse      connections are refused; open ones are closed
hang        the request is read and never answered
cut         the connection is closed in the middle of the answer
garbage     the answer is no XML-RPC and no JSON
error       HTTP 500 with a short text
slow        the answer comes ``seconds`` later
=========== =================================================================================

Each may be limited to one ``method`` (``one.vm.info``; for oneflow ``POST`` or ``POST /service``,
the beginning of the line ``METHOD PATH``), to every n-th call (``every``) and to the next
``times`` calls. Driver faults: ``prolog``, ``boot``, ``resize``, ``disk-resize``, ``save``,
``shutdown`` and ``epilog`` fail or are slow.

Written as one text (``--fault``): ``oned:slow:method=one.vm.info:seconds=2``,
``oneflow:error:every=3``, ``driver:boot:fails``, ``driver:resize:seconds=5``.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

BACKENDS = ("oned", "oneflow")
KINDS = ("refuse", "hang", "cut", "garbage", "error", "slow")
DRIVERS = ("prolog", "boot", "resize", "disk-resize", "save", "shutdown", "epilog")
_MEMBERS: dict[str, Callable[[str], object]] = {
    "method": str, "every": int, "seconds": float, "times": int,
}  # fmt: skip


@dataclass
class Driver:
    """How a VM driver behaves; `slow_seconds` replaces the usual duration."""

    fails: bool = False
    slow_seconds: float = 0.0


class Drivers:
    """The drivers that do not behave."""

    def __init__(self) -> None:
        self._drivers: dict[str, Driver] = {}
        self.before_change: Callable[[], None] = lambda: None
        """Lets happen what was due before a driver changed."""

    def get(self, name: str) -> Driver | None:
        """The misbehaving driver of that name, if it misbehaves."""
        return self._drivers.get(name)

    def set(self, name: str, fails: bool = False, slow_seconds: float = 0.0) -> None:
        """Makes a driver fail or slow; ValueError names the drivers there are."""
        if name not in DRIVERS:
            raise ValueError(f"driver: {name!r} is not known, allowed are {', '.join(DRIVERS)}")
        self.before_change()
        self._drivers[name] = Driver(fails, slow_seconds)

    def reset(self, name: str) -> None:
        """That driver behaves again."""
        self.before_change()
        self._drivers.pop(name, None)

    def clear(self) -> None:
        """All drivers behave again."""
        self.before_change()
        self._drivers.clear()


@dataclass
class Fault:
    """One fault of one backend."""

    backend: str
    kind: str
    method: str = ""
    every: int = 1
    seconds: float = 1.0
    times: int = 0
    """How many calls it hits before it goes by itself; 0 means no end."""
    seen: int = field(default=0, repr=False)
    hits: int = 0

    def strikes(self, line: str) -> bool:
        """Does it hit this call? `line` is the XML-RPC method or ``METHOD PATH``."""
        if self.method and not (line == self.method or line.startswith(f"{self.method} ")):
            is_path = " " in self.method and line.startswith(self.method)
            if not is_path:
                return False
        self.seen += 1
        if self.seen % self.every or (self.times and self.hits >= self.times):
            return False
        self.hits += 1
        return True


class Faults:
    """The faults that are on; safe to change from any thread."""

    def __init__(self) -> None:
        self.drivers = Drivers()
        self._faults: list[Fault] = []
        self._guard = threading.Lock()
        self.on_refuse: Callable[[str, bool], None] = lambda backend, is_on: None
        """Told when a backend is to refuse connections, and when it is to accept them again."""
        self.changed = threading.Event()

    def set(
        self,
        backend: str,
        kind: str,
        *,
        method: str = "",
        every: int = 1,
        seconds: float = 1.0,
        times: int = 0,
    ) -> Fault:
        """Switches a fault on. ValueError tells what is allowed instead."""
        _among("backend", backend, BACKENDS)
        _among("fault", kind, KINDS)
        if every < 1 or seconds < 0 or times < 0:
            raise ValueError("fault: every is at least 1, seconds and times are not negative")
        fault = Fault(backend, kind, method, every, seconds, times)
        with self._guard:
            self._faults.append(fault)
        if kind == "refuse":
            self.on_refuse(backend, True)
        return fault

    def set_text(self, text: str) -> None:
        """Switches on what a text like ``oned:slow:seconds=2`` says."""
        first, *rest = text.split(":")
        if not rest:
            raise ValueError(f"fault: {text!r} is not of the form BACKEND:KIND[:NAME=VALUE...]")
        members = _members(rest[1:])
        if first == "driver":
            seconds = float(str(members.pop("seconds", 0.0)))
            self.drivers.set(rest[0], bool(members.pop("fails", False)), seconds)
        else:
            self.set(first, rest[0], **members)  # type: ignore[arg-type]

    def clear(self, backend: str | None = None) -> None:
        """Switches faults off, of one backend or all of them and the drivers'."""
        with self._guard:
            gone = [f for f in self._faults if backend in (None, f.backend)]
            self._faults = [f for f in self._faults if f not in gone]
        if backend is None:
            self.drivers.clear()
        for name in {f.backend for f in gone if f.kind == "refuse"}:
            self.on_refuse(name, False)
        self.changed.set()  # calls that hang look whether they still have to
        self.changed.clear()

    def striking(self, backend: str, line: str) -> Fault | None:
        """The fault that hits this call, if one does."""
        if not self._faults:
            return None
        with self._guard:
            for fault in self._faults:
                if fault.backend == backend and fault.kind != "refuse" and fault.strikes(line):
                    return fault
        return None

    def is_on(self, fault: Fault) -> bool:
        """Has that fault not been cleared yet?"""
        return any(fault is other for other in self._faults)

    def listed(self) -> list[Fault]:
        """The faults that are on."""
        with self._guard:
            return list(self._faults)


def _among(what: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(f"{what}: {value!r} is not known, allowed are {', '.join(choices)}")


def _members(parts: list[str]) -> dict[str, object]:
    members: dict[str, object] = {}
    for part in parts:
        name, separator, value = part.partition("=")
        if part == "fails":
            members["fails"] = True
        elif not separator or name not in _MEMBERS:
            allowed = ", ".join(f"{n}=" for n in _MEMBERS)
            raise ValueError(f"fault: {part!r} is not known, allowed are {allowed} and fails")
        else:
            try:
                members[name] = _MEMBERS[name](value)
            except ValueError:
                raise ValueError(f"fault: {name}={value!r} is not a number") from None
    return members
