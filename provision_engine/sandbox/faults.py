"""Faults injected while the sandbox runs, into the two services and into VM drivers.

Backend faults (of ``oned`` or ``oneflow``):

=========== =================================================================================
refuse      connections are refused; open ones are closed
hang        the request is read, and no response is sent
cut         the connection is closed in the middle of the response
garbage     the response is neither XML-RPC nor JSON
error       HTTP 500 with a short text
slow        the response is delayed by ``seconds``
=========== =================================================================================

A fault of a ``method`` also strikes a call of it within a ``system.multicall``. ``hang`` (before
that call) and ``cut`` (after it) end the request there, and no later call is made. ``error`` and
``garbage`` stand in the place of that call's result, an error 0x2000 and a string, and the others
are made. ``oned:cut:method=system.multicall`` loses the response after all of them.

Each may be limited to one ``method`` (``one.vm.info``; for oneflow ``POST`` or ``POST /service``,
the beginning of ``METHOD PATH``), to every n-th call (``every``) and to the next ``times`` calls.
Driver faults make ``prolog``, ``boot``, ``resize``, ``disk-resize``, ``save``, ``shutdown`` or
``epilog`` fail or slow.

In text form (``--fault``): ``oned:slow:method=one.vm.info:seconds=2``,
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
    """The VM drivers that fail or are slow."""

    def __init__(self) -> None:
        self._drivers: dict[str, Driver] = {}
        self.before_change: Callable[[], None] = lambda: None
        """Called before a change, to carry out what was due until then."""

    def get(self, name: str) -> Driver | None:
        """The fault of that driver, or None if it works normally."""
        return self._drivers.get(name)

    def set(self, name: str, fails: bool = False, slow_seconds: float = 0.0) -> None:
        """Makes a driver fail or slow. ValueError if there is no such driver."""
        if name not in DRIVERS:
            raise ValueError(f"driver: {name!r} is unknown, allowed are {', '.join(DRIVERS)}")
        self.before_change()
        self._drivers[name] = Driver(fails, slow_seconds)

    def reset(self, name: str) -> None:
        """Makes that driver work normally again."""
        self.before_change()
        self._drivers.pop(name, None)

    def clear(self) -> None:
        """Makes all drivers work normally again."""
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
    """The number of calls after which it ends by itself; 0 means never."""
    seen: int = field(default=0, repr=False)
    hits: int = 0

    def strikes(self, line: str) -> bool:
        """Does it affect this call? `line` is the XML-RPC method or ``METHOD PATH``."""
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
    """The active faults; safe to change from any thread."""

    def __init__(self) -> None:
        self.drivers = Drivers()
        self._faults: list[Fault] = []
        self._guard = threading.Lock()
        self.on_refuse: Callable[[str, bool], None] = lambda backend, is_on: None
        """Called when a backend starts to refuse connections (True) and when it stops (False)."""
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
        """Activates a fault. ValueError if an argument is not allowed."""
        _among("backend", backend, BACKENDS)
        _among("fault", kind, KINDS)
        if every < 1 or seconds < 0 or times < 0:
            raise ValueError("fault: every must be at least 1, seconds and times at least 0")
        fault = Fault(backend, kind, method, every, seconds, times)
        with self._guard:
            self._faults.append(fault)
        if kind == "refuse":
            self.on_refuse(backend, True)
        return fault

    def set_text(self, text: str) -> None:
        """Activates the fault that a text like ``oned:slow:seconds=2`` describes."""
        first, *rest = text.split(":")
        if not rest:
            raise ValueError(f"fault: {text!r} must have the form BACKEND:KIND[:NAME=VALUE...]")
        members = _members(rest[1:])
        if first == "driver":
            seconds = float(str(members.pop("seconds", 0.0)))
            self.drivers.set(rest[0], bool(members.pop("fails", False)), seconds)
        else:
            self.set(first, rest[0], **members)  # type: ignore[arg-type]

    def clear(self, backend: str | None = None) -> None:
        """Clears the faults of one backend, or all faults, those of drivers included."""
        with self._guard:
            gone = [f for f in self._faults if backend in (None, f.backend)]
            self._faults = [f for f in self._faults if f not in gone]
        if backend is None:
            self.drivers.clear()
        for name in {f.backend for f in gone if f.kind == "refuse"}:
            self.on_refuse(name, False)
        self.changed.set()  # hanging calls check whether their fault is still active
        self.changed.clear()

    def striking(self, backend: str, line: str, is_part: bool = False) -> Fault | None:
        """The fault that affects this call, or None."""
        if not self._faults:
            return None
        with self._guard:
            for fault in self._faults:
                if fault.backend != backend or fault.kind == "refuse":
                    continue
                if (fault.method or not is_part) and fault.strikes(line):
                    return fault
        return None

    def is_on(self, fault: Fault) -> bool:
        """Is that fault still active?"""
        return any(fault is other for other in self._faults)


def _among(what: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(f"{what}: {value!r} is unknown, allowed are {', '.join(choices)}")


def _members(parts: list[str]) -> dict[str, object]:
    members: dict[str, object] = {}
    for part in parts:
        name, separator, value = part.partition("=")
        if part == "fails":
            members["fails"] = True
        elif not separator or name not in _MEMBERS:
            allowed = ", ".join(f"{n}=" for n in _MEMBERS)
            raise ValueError(f"fault: {part!r} is unknown, allowed are {allowed} and fails")
        else:
            try:
                members[name] = _MEMBERS[name](value)
            except ValueError:
                raise ValueError(f"fault: {name}={value!r} must be a number") from None
    return members
