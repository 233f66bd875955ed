"""A runtime as OpenNebula stores it: the body of a document of type 1337.

The Ruby engine's documents have the same members but ENGINE, so either engine reads both.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from provision_engine.cloud import values
from provision_engine.cloud.enums import DocumentType
from provision_engine.cloud.objects import Document
from provision_engine.engine.runtime.model import ROLES, DeviceInfo, Function, Phase, Runtime
from provision_engine.engine.runtime.sizes import SIZES
from provision_engine.engine.runtime.specification import POLICY, REQUIREMENTS, SENT_BYTES
from provision_engine.errors import BadGateway, NotFound
from provision_engine.text import one_line

MAX_NAME, MAX_FLAVOUR = 256, 128
"""In characters; a runtime without a name of its own is named as its service."""
NAME_BYTES = 128
"""OpenNebula counts characters; bytes are never fewer."""
_REFUSED = re.compile(r"[&|:\\\";/'#{}$<>\x00-\x1f\x7f]")
"""What ``document.allocate`` or ``document.rename`` refuse in a name (scenario ``names``)."""

Json = dict[str, Any]


def _is_true(value: object) -> bool:
    return value is True


_MEMBERS: Mapping[str, tuple[str, Callable[[Any], Any]]] = {
    "SERVICE_NAME": ("service_name", values.text),
    "CREATED_AT": ("created_at", lambda value: values.unix_time(value) or 0),
    "WORKER": ("worker", values.text),
    "CLAIMED_AT": ("claimed_at", values.unix_time),
    "LEASE_ENDS_AT": ("lease_ends_at", values.unix_time),
    "LEASE_RENEWED": ("is_lease_renewed", _is_true),
    "SUSPENDED": ("is_suspended", _is_true),
    "KEY": ("key", values.text),
    "DIGEST": ("digest", values.text),
    "BLUEPRINT": ("blueprint", values.text),
}
"""What only the engine knows of a runtime: its member of ENGINE, and how it is read from there.

PHASE, NAME and INTENDED_AT stand there as well, each by a rule of its own.
"""


def to_runtime(document: Document) -> Runtime:
    """Return the runtime in a document. What is wrong in it is left out: its owner may write it.

    Raises NotFound where the document is of another type, BadGateway where it is unreadable.
    """
    if document.type != DocumentType.RUNTIME:
        raise NotFound(f"Document {document.id} is not a serverless runtime")
    body = document.body
    engine = values.mapping(body.get("ENGINE"))
    scheduling, device_info = _sent(body)
    known = {field: read(engine.get(name)) for name, (field, read) in _MEMBERS.items()}
    return Runtime(
        id=document.id,
        name=values.text(engine.get("NAME"), MAX_NAME) or document.name,
        functions={role: _function(body[role]) for role in ROLES if values.mapping(body.get(role))},
        owner_id=document.user_id,
        owner_name=document.user_name,
        service_id=values.integer(body.get("SERVICE_ID")),
        phase=_phase(document, engine),
        scheduling=scheduling,
        device_info=device_info,
        intended_at=values.unix_time(engine.get("INTENDED_AT")) or known["created_at"],
        lease_seconds=values.integer(values.mapping(body.get("LEASE")).get("TTL")),
        locked_at=document.locked_at,
        **known,
    )


def name_of(runtime: Runtime) -> str:
    """Return the name of a runtime's document: the runtime's, in a form that OpenNebula accepts."""
    plain = "".join(c if ord(c) <= 0xFFFF else "_" for c in _REFUSED.sub("_", runtime.name))
    return plain.encode()[:NAME_BYTES].decode(errors="ignore").strip() or runtime.service_name


def body_of(runtime: Runtime) -> str:
    """Return the body of a runtime's document, in plain ASCII so that any text survives."""
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
        "ENGINE": _engine_members(runtime),
    }


def _engine_members(runtime: Runtime) -> Json:
    members: Json = {"PHASE": runtime.phase}
    members |= {name: getattr(runtime, field) for name, (field, _) in _MEMBERS.items()}
    if name_of(runtime) != runtime.name:
        members["NAME"] = runtime.name
    if runtime.phase.is_unfinished and runtime.intended_at != runtime.created_at:
        members["INTENDED_AT"] = runtime.intended_at
    return {name: value for name, value in members.items() if value}


def _function(body: Mapping[str, Any]) -> Function:
    return Function(
        flavour=values.text(body.get("FLAVOUR"), MAX_FLAVOUR),
        sizes={name: values.integer(body.get(name)) or 0 for name in SIZES},
        vm_id=values.integer(body.get("VM_ID")),
    )


def _sent(body: Json) -> tuple[dict[str, str], DeviceInfo]:
    """Return SCHEDULING and DEVICE_INFO; what is longer than an engine accepts is left out."""
    scheduling, device_info = _scheduling(body), _device_info(body)
    for sent in ((scheduling, device_info), (scheduling, {})):
        if len(json.dumps(sent, ensure_ascii=False).encode()) <= SENT_BYTES:
            return sent
    return {}, {}


def _scheduling(body: Json) -> dict[str, str]:
    """Return POLICY and REQUIREMENTS, as far as they are texts."""
    sent = values.mapping(body.get("SCHEDULING"))
    names = [name for name in (POLICY, REQUIREMENTS) if isinstance(sent.get(name), str)]
    return {name: values.text(sent[name]) for name in names}


def _device_info(body: Json) -> dict[str, str | int | float]:
    """Return the texts and numbers of DEVICE_INFO."""
    sent = values.mapping(body.get("DEVICE_INFO"))
    known: dict[str, str | int | float] = {}
    for name, value in sent.items():
        if isinstance(value, str):
            known[values.text(name)] = values.text(value)
        elif isinstance(value, int) or (isinstance(value, float) and math.isfinite(value)):
            known[values.text(name)] = value
    return known


def _stored(function: Function) -> Json:
    body: Json = {"FLAVOUR": function.flavour, **function.sizes}
    return body if function.vm_id is None else body | {"VM_ID": function.vm_id}


def _phase(document: Document, engine: Json) -> Phase:
    phase = engine.get("PHASE", Phase.READY)
    if phase not in list(Phase):
        named = one_line(str(phase)[:40])
        message = f"Document {document.id} is in phase {named}, written by a later engine"
        raise BadGateway(message)
    return Phase(phase)
