"""A runtime as it is kept: the body of an OpenNebula document of type 1337.

The Ruby engine's documents have the same members but ENGINE, so either engine reads both.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from provision_engine.cloud.objects import Document
from provision_engine.cloud.template import why_not
from provision_engine.engine.specification import ROLES
from provision_engine.errors import BadGateway, NotFound

RUNTIME_TYPE, SERVICE_TYPE, FLOW_TEMPLATE_TYPE = 1337, 100, 101
"""Document types: ours and oneflow's two."""
DOCUMENT_NAME_BYTES = 128

Json = dict[str, Any]


class Phase(StrEnum):
    """How far the life of a runtime has come; CREATING and DELETING are unfinished business."""

    CREATING = "CREATING"
    READY = "READY"
    DELETING = "DELETING"


@dataclass(frozen=True)
class StoredFunction:
    """One function: what it was made with, and its VM."""

    flavour: str
    cpu: int
    memory_mb: int
    disk_size_mb: int
    vm_id: int | None = None

    @classmethod
    def of(cls, body: Mapping[str, Any]) -> StoredFunction:
        return cls(
            flavour=str(body.get("FLAVOUR", "")),
            cpu=_number(body.get("CPU")) or 0,
            memory_mb=_number(body.get("MEMORY")) or 0,
            disk_size_mb=_number(body.get("DISK_SIZE")) or 0,
            vm_id=_number(body.get("VM_ID")),
        )

    def as_json(self) -> Json:
        body: Json = {
            "FLAVOUR": self.flavour,
            "CPU": self.cpu,
            "MEMORY": self.memory_mb,
            "DISK_SIZE": self.disk_size_mb,
        }
        return body if self.vm_id is None else body | {"VM_ID": self.vm_id}


@dataclass(frozen=True)
class Runtime:
    """A serverless runtime, without the fresh states of its VMs."""

    id: int
    name: str
    functions: Mapping[str, StoredFunction]
    """By role, FAAS first."""
    service_id: int | None = None
    service_name: str = ""
    """Unique; it finds the service of a runtime whose service id was never written."""
    phase: Phase = Phase.READY
    scheduling: Mapping[str, str] = field(default_factory=dict)
    device_info: Mapping[str, str | int | float] = field(default_factory=dict)
    created_at: int = 0
    """Unix time."""
    lease_seconds: int | None = None
    """How long the runtime was wanted from its making or last renewal; None: for ever."""
    lease_ends_at: int | None = None
    """When that is over (Unix time)."""
    key: str = ""
    """The idempotency key that it was made with, and the digest of the body sent along."""
    digest: str = ""
    locked_at: int | None = None

    @classmethod
    def of(cls, document: Document) -> Runtime:
        """Raises NotFound where the document is of another type: it is no runtime."""
        if document.type != RUNTIME_TYPE:
            raise NotFound(f"Document {document.id} is no serverless runtime")
        body = document.body
        ours = _object(body.get("ENGINE"))
        return cls(
            id=document.id,
            name=str(ours.get("NAME") or document.name),
            functions={r: StoredFunction.of(body[r]) for r in ROLES if _object(body.get(r))},
            service_id=_number(body.get("SERVICE_ID")),
            service_name=str(ours.get("SERVICE_NAME", "")),
            phase=_phase(document, ours),
            scheduling=_object(body.get("SCHEDULING")),
            device_info=_object(body.get("DEVICE_INFO")),
            created_at=_number(ours.get("CREATED_AT")) or 0,
            lease_seconds=_number(_object(body.get("LEASE")).get("TTL")),
            lease_ends_at=_number(ours.get("LEASE_ENDS_AT")),
            key=str(ours.get("KEY", "")),
            digest=str(ours.get("DIGEST", "")),
            locked_at=document.locked_at,
        )

    @property
    def vm_ids(self) -> list[int]:
        return [f.vm_id for f in self.functions.values() if f.vm_id is not None]

    @property
    def document_name(self) -> str:
        """The name of the document: the runtime's, where OpenNebula can hold it."""
        fits = len(self.name.encode()) <= DOCUMENT_NAME_BYTES and self.name == self.name.strip()
        return self.name if fits and not why_not(self.name) else self.service_name

    @property
    def body(self) -> str:
        """The body of the document, in plain ASCII so that any text survives."""
        return json.dumps(self._members(), separators=(",", ":")).replace(">", "\\u003e")

    def _members(self) -> Json:
        ours: Json = {"PHASE": self.phase, "SERVICE_NAME": self.service_name}
        ours["CREATED_AT"] = self.created_at
        if self.lease_ends_at is not None:
            ours["LEASE_ENDS_AT"] = self.lease_ends_at
        if self.key:
            ours |= {"KEY": self.key, "DIGEST": self.digest}
        if self.document_name != self.name:
            ours["NAME"] = self.name
        members: Json = {role: f.as_json() for role, f in self.functions.items()}
        if self.service_id is not None:
            members["SERVICE_ID"] = self.service_id
        if self.lease_seconds is not None:
            members["LEASE"] = {"TTL": self.lease_seconds}
        return members | {
            "SCHEDULING": dict(self.scheduling),
            "DEVICE_INFO": dict(self.device_info),
            "ENGINE": ours,
        }

    def with_vms(self, vm_ids: Mapping[str, int | None]) -> Runtime:
        """The same runtime, its functions with these VMs, by role."""
        functions = {
            role: dataclasses.replace(function, vm_id=vm_ids.get(role, function.vm_id))
            for role, function in self.functions.items()
        }
        return dataclasses.replace(self, functions=functions)


def _phase(document: Document, ours: Json) -> Phase:
    phase = ours.get("PHASE", Phase.READY)
    if phase not in tuple(Phase):
        raise BadGateway(f"Document {document.id} is in phase {phase}, which a later engine made")
    return Phase(phase)


def _object(value: Any) -> Json:
    return value if isinstance(value, dict) else {}


def _number(value: Any) -> int | None:
    """A number that the Ruby engine may have written as text."""
    try:
        return int(value)
    except (TypeError, ValueError, OverflowError):
        return None
