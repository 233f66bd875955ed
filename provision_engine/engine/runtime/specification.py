"""A request: checked, with everything empty left out."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from provision_engine.cloud import template
from provision_engine.engine.runtime.model import ROLES, DeviceInfo, Function
from provision_engine.errors import BadRequest

POLICY, REQUIREMENTS = "POLICY", "REQUIREMENTS"
SENT_BYTES = 20_000
"""Of what a device sends for one runtime: a small one reads a response into 30,000 bytes."""


@dataclass(frozen=True)
class Specification:
    """A serverless runtime as requested."""

    name: str = ""
    functions: Mapping[str, Function] = field(default_factory=dict)
    """By role, FAAS first; what is empty or missing in them is left to the engine."""
    scheduling: Mapping[str, str] = field(default_factory=dict)
    device_info: DeviceInfo = field(default_factory=dict)
    lease_seconds: int | None = None
    """How long it is requested for; None where nothing is said."""
    lifts_lease: bool = False
    """Whether an update asks for a runtime without an end."""
    digest: str = ""
    """Of everything that was sent: the same for the same request."""

    @classmethod
    def from_flavours(cls, flavour_tuple: str, role_names: Sequence[str]) -> Specification:
        """Return the request for a flavour tuple that asks for nothing else."""
        flavours = split_tuple(flavour_tuple, role_names)
        functions = {role: Function(f) for role, f in zip(ROLES, flavours, strict=False)}
        return cls(functions=functions)

    @property
    def flavour_tuple(self) -> str:
        """Return FAAS's flavour, and DAAS's behind a dash; a DAAS without a flavour is none."""
        return "-".join(f.flavour for f in self.functions.values() if f.flavour)

    @property
    def flavours(self) -> dict[str, str]:
        """Return the flavours by role."""
        return {role: function.flavour for role, function in self.functions.items()}

    @property
    def is_about_scheduling(self) -> bool:
        """Return whether an update says where VMs may run, and nothing that needs them to run."""
        return bool(self.scheduling) and not self._is_sized and not self._is_leased

    @property
    def is_about_lease(self) -> bool:
        """Return whether an update changes the lease, and nothing that its VMs have to know."""
        others = self.scheduling or self.device_info or self._is_sized
        return self._is_leased and not others

    @property
    def _is_sized(self) -> bool:
        return any(function.sizes for function in self.functions.values())

    @property
    def _is_leased(self) -> bool:
        return self.lease_seconds is not None or self.lifts_lease

    def texts(self) -> Iterator[tuple[str, str]]:
        """Yield each text that goes to OpenNebula, with its path in the request."""
        yield "NAME", self.name
        for role, function in self.functions.items():
            yield f"{role}.FLAVOUR", function.flavour
        for name, text in self.scheduling.items():
            yield f"SCHEDULING.{name}", text
        for name, value in self.device_info.items():
            if isinstance(value, str):
                yield f"DEVICE_INFO.{name}", value

    def unstorable_texts(self) -> Iterator[tuple[str, str]]:
        """Yield the path of each text that OpenNebula cannot store, and the reason."""
        for path, text in self.texts():
            if reason := template.why_not(text):
                yield path, reason


def split_tuple(flavour_tuple: str, role_names: Sequence[str]) -> list[str]:
    """Return the flavours in a tuple. A flavour may hold a dash, so the template's roles decide.

    Whatever is chosen joins to the same tuple again, and so finds the same template.
    """
    parts = flavour_tuple.split("-")
    pairs = [["-".join(parts[:n]), "-".join(parts[n:])] for n in range(1, len(parts))]
    pairs = [pair for pair in pairs if all(pair)]
    if len(role_names) < 2 or not pairs:
        return [flavour_tuple]
    known = {name.upper() for name in role_names}
    return next((pair for pair in pairs if {p.upper() for p in pair} <= known), pairs[-1])


def check_length(name: str, scheduling: Mapping[str, str], device_info: DeviceInfo) -> None:
    """Raise BadRequest where a small device could not read the runtime any more."""
    sent = json.dumps([name, dict(scheduling), dict(device_info)], ensure_ascii=False)
    size_bytes = len(sent.encode(errors="replace"))
    if size_bytes > SENT_BYTES:
        raise BadRequest(
            f"SERVERLESS_RUNTIME: NAME, SCHEDULING and DEVICE_INFO hold {size_bytes} bytes, "
            f"more than {SENT_BYTES} together"
        )
