"""What a caller asks for: a checked request, with everything empty left out."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from provision_engine.errors import BadRequest

ROLES = ("FAAS", "DAAS")
DEVICE_INFO_NAME = re.compile(r"[A-Z][A-Z0-9_]*")

TOLD_BYTES = 20_000
"""Of what a device tells in one runtime: a small one reads an answer into 30,000 bytes."""

Json = dict[str, Any]


@dataclass(frozen=True)
class Function:
    """One function as asked for; None where the caller leaves it to the engine."""

    flavour: str = ""
    cpu: int | None = None
    """Cores."""
    memory_mb: int | None = None
    disk_size_mb: int | None = None

    @classmethod
    def of(cls, sent: Mapping[str, Any]) -> Function:
        sizes = [sent.get(name) for name in ("CPU", "MEMORY", "DISK_SIZE")]
        return cls(
            sent.get("FLAVOUR", ""), *(None if size is None else int(size) for size in sizes)
        )


@dataclass(frozen=True)
class Specification:
    """A serverless runtime as asked for."""

    name: str = ""
    functions: Mapping[str, Function] = field(default_factory=dict)
    """By role, FAAS first."""
    scheduling: Mapping[str, str] = field(default_factory=dict)
    device_info: Mapping[str, str | int | float] = field(default_factory=dict)
    lease_seconds: int | None = None
    """How long it is wanted; None where nothing is said."""
    sent: Mapping[str, Any] = field(default_factory=dict)
    """The functions as they were sent, for error messages."""
    digest: str = ""
    """Of all that was sent: the same for the same request."""

    @classmethod
    def of(cls, sent: Json) -> Specification:
        """From the object in SERVERLESS_RUNTIME, which fits the schema."""
        return cls(
            name=sent.get("NAME", ""),
            functions={role: Function.of(sent[role]) for role in ROLES if role in sent},
            scheduling=_texts(sent.get("SCHEDULING", {}), ("POLICY", "REQUIREMENTS")),
            device_info=dict(_device_info(sent.get("DEVICE_INFO", {}))),
            lease_seconds=_whole(sent.get("LEASE", {}).get("TTL")),
            sent={role: sent[role] for role in ROLES if role in sent},
            digest=hashlib.sha256(json.dumps(sent, sort_keys=True).encode()).hexdigest(),
        )

    @property
    def flavour_tuple(self) -> str:
        """FAAS's flavour, and DAAS's behind a dash; a DAAS without a flavour is none."""
        return "-".join(f.flavour for f in self.functions.values() if f.flavour)

    def texts(self) -> Iterator[tuple[str, str]]:
        """Each text that goes to OpenNebula, with its place in the request."""
        yield "NAME", self.name
        for role, function in self.functions.items():
            yield f"{role}.FLAVOUR", function.flavour
        for name, text in self.scheduling.items():
            yield f"SCHEDULING.{name}", text
        for name, value in self.device_info.items():
            if isinstance(value, str):
                yield f"DEVICE_INFO.{name}", value


def _whole(number: int | float | None) -> int | None:
    """JSON Schema calls 2.0 an integer."""
    return None if number is None else int(number)


def _texts(sent: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, str]:
    return {name: sent[name] for name in names if sent.get(name)}


def _device_info(sent: Mapping[str, Any]) -> Iterator[tuple[str, str | int | float]]:
    for name, value in sent.items():
        if is_device_info(name, value) and value != "":
            yield name, value


def is_device_info(name: str, value: Any) -> bool:
    """Whether a member of DEVICE_INFO is carried: a plain upper-case name, a text or a number."""
    is_plain = isinstance(value, str | int | float) and not isinstance(value, bool)
    return is_plain and DEVICE_INFO_NAME.fullmatch(name) is not None


def check_length(
    name: str, scheduling: Mapping[str, str], device_info: Mapping[str, str | int | float]
) -> None:
    """Raises BadRequest where a small device could not read the runtime any more."""
    told = json.dumps([name, dict(scheduling), dict(device_info)], ensure_ascii=False)
    size_bytes = len(told.encode(errors="replace"))
    if size_bytes > TOLD_BYTES:
        raise BadRequest(
            f"SERVERLESS_RUNTIME: NAME, SCHEDULING and DEVICE_INFO hold {size_bytes} bytes, "
            f"more than {TOLD_BYTES} together"
        )
