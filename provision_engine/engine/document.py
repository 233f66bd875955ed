"""A runtime as OpenNebula stores it: the body of a document of type 1337.

The Ruby engine's documents have the same members but ENGINE, so either engine reads both.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from provision_engine.cloud.enums import DocumentType
from provision_engine.cloud.objects import Document
from provision_engine.engine.model import ROLES, Function, Phase, Runtime
from provision_engine.errors import BadGateway, NotFound

NAME_BYTES = 128
"""OpenNebula counts characters; bytes are never fewer."""
_REFUSED = re.compile(r"[&|:\\\";/'#{}$<>\x00-\x1f\x7f]")
"""What ``document.allocate`` or ``document.rename`` refuse in a name (scenario ``names``)."""

Json = dict[str, Any]


def to_runtime(document: Document) -> Runtime:
    """The runtime that a document holds.

    Raises NotFound where the document is of another type, BadGateway where nobody can read it.
    """
    if document.type != DocumentType.RUNTIME:
        raise NotFound(f"Document {document.id} is not a serverless runtime")
    body = document.body
    ours = _object(body.get("ENGINE"))
    created_at = _number(ours.get("CREATED_AT")) or 0
    return Runtime(
        id=document.id,
        name=str(ours.get("NAME") or document.name),
        functions={role: _function(body[role]) for role in ROLES if _object(body.get(role))},
        service_id=_number(body.get("SERVICE_ID")),
        service_name=str(ours.get("SERVICE_NAME", "")),
        phase=_phase(document, ours),
        scheduling=_object(body.get("SCHEDULING")),
        device_info=_object(body.get("DEVICE_INFO")),
        created_at=created_at,
        intended_at=_number(ours.get("INTENDED_AT")) or created_at,
        lease_seconds=_number(_object(body.get("LEASE")).get("TTL")),
        lease_ends_at=_number(ours.get("LEASE_ENDS_AT")),
        is_lease_renewed=ours.get("LEASE_RENEWED") is True,
        is_suspended=ours.get("SUSPENDED") is True,
        key=str(ours.get("KEY", "")),
        digest=str(ours.get("DIGEST", "")),
        blueprint=str(ours.get("BLUEPRINT", "")),
        worker=str(ours.get("WORKER", "")),
        claimed_at=_number(ours.get("CLAIMED_AT")),
        locked_at=document.locked_at,
    )


def name_of(runtime: Runtime) -> str:
    """The name of a runtime's document: the runtime's own in a form that OpenNebula accepts."""
    plain = "".join(c if ord(c) <= 0xFFFF else "_" for c in _REFUSED.sub("_", runtime.name))
    return plain.encode()[:NAME_BYTES].decode(errors="ignore").strip() or runtime.service_name


def body_of(runtime: Runtime) -> str:
    """The body of a runtime's document, in plain ASCII so that any text survives."""
    return json.dumps(_members(runtime), separators=(",", ":")).replace(">", "\\u003e")


def _members(runtime: Runtime) -> Json:
    members: Json = {role: _stored(function) for role, function in runtime.functions.items()}
    if runtime.service_id is not None:
        members["SERVICE_ID"] = runtime.service_id
    if runtime.lease_seconds is not None:
        members["LEASE"] = {"TTL": runtime.lease_seconds}
    return members | {
        "SCHEDULING": dict(runtime.scheduling),
        "DEVICE_INFO": dict(runtime.device_info),
        "ENGINE": _own_members(runtime),
    }


def _own_members(runtime: Runtime) -> Json:
    ours: Json = {
        "PHASE": runtime.phase,
        "SERVICE_NAME": runtime.service_name,
        "CREATED_AT": runtime.created_at,
        "WORKER": runtime.worker,
        "CLAIMED_AT": runtime.claimed_at,
        "LEASE_ENDS_AT": runtime.lease_ends_at,
        "LEASE_RENEWED": runtime.is_lease_renewed or None,
        "SUSPENDED": runtime.is_suspended or None,
        "KEY": runtime.key or None,
        "DIGEST": runtime.digest or None,
        "BLUEPRINT": runtime.blueprint or None,
        "NAME": None if name_of(runtime) == runtime.name else runtime.name,
    }
    if runtime.phase.is_unfinished and runtime.intended_at != runtime.created_at:
        ours["INTENDED_AT"] = runtime.intended_at
    return {name: value for name, value in ours.items() if value not in (None, "")}


def _function(body: Mapping[str, Any]) -> Function:
    return Function(
        flavour=str(body.get("FLAVOUR", "")),
        cpu=_number(body.get("CPU")) or 0,
        memory_mb=_number(body.get("MEMORY")) or 0,
        disk_size_mb=_number(body.get("DISK_SIZE")) or 0,
        vm_id=_number(body.get("VM_ID")),
    )


def _stored(function: Function) -> Json:
    body: Json = {
        "FLAVOUR": function.flavour,
        "CPU": function.cpu,
        "MEMORY": function.memory_mb,
        "DISK_SIZE": function.disk_size_mb,
    }
    return body if function.vm_id is None else body | {"VM_ID": function.vm_id}


def _phase(document: Document, ours: Json) -> Phase:
    phase = ours.get("PHASE", Phase.READY)
    try:
        return Phase(phase)
    except ValueError as error:
        message = f"Document {document.id} is in phase {phase}, written by a later engine"
        raise BadGateway(message) from error


def _object(value: Any) -> Json:
    return value if isinstance(value, dict) else {}


def _number(value: Any) -> int | None:
    """A number that the Ruby engine may have written as text."""
    try:
        return int(value)
    except (TypeError, ValueError, OverflowError):
        return None
