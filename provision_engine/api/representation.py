"""The JSON representation: the only place that knows the shape of a response."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from provision_engine.cloud.objects import Attributes
from provision_engine.engine.actions.timeline import Step
from provision_engine.engine.preflight import Preflight
from provision_engine.engine.runtime import sizes
from provision_engine.engine.runtime.model import Function, Phase
from provision_engine.engine.runtime.plan import Plan
from provision_engine.engine.runtime.snapshot import Observation, Snapshot
from provision_engine.engine.runtime.states import State
from provision_engine.errors import ActionRefused, EngineError

RUNTIME = "SERVERLESS_RUNTIME"
REASON_BYTES = 1500
"""The maximum length of a reason: a small device reads a response into 30,000 bytes, and there may
be four of them: ERROR and REASON of two functions."""
REMEDIES = {
    "recover": ". POST …/recover lets it run again",
    "resume": ": POST …/resume lets it run again",
    "replace": ": repeat with ?replace=true if it may",
}
"""How a client does what an error names as its remedy."""
ADDRESSES = ("EXTERNAL_IP", "IP6", "IP")
"""The attributes of a NIC that may hold the endpoint; the first one that exists counts."""

MAX_ENDPOINT = 255
"""Owners may write any text into a NIC of their VMs."""

Json = dict[str, Any]


def runtime(snapshot: Snapshot) -> Json:
    """A runtime, wrapped in the object that clients send and receive."""
    return {RUNTIME: members(snapshot)}


def members(snapshot: Snapshot) -> Json:
    """The members of a runtime."""
    stored = snapshot.runtime
    body: Json = {"NAME": stored.name, "ID": stored.id}
    if stored.service_id is not None:
        body["SERVICE_ID"] = stored.service_id
    for role, function in stored.functions.items():
        body[role] = _function(function, snapshot.observed[role])
    if stored.scheduling:
        body["SCHEDULING"] = dict(stored.scheduling)
    if stored.device_info:
        body["DEVICE_INFO"] = dict(stored.device_info)
    if stored.lease_seconds is not None:
        ends_at = snapshot.ends_at
        body["LEASE"] = {"TTL": stored.lease_seconds}
        body["LEASE"] |= {"EXPIRES": rfc3339(ends_at)} if ends_at else {}
    if stored.phase is Phase.STANDBY:
        body["PHASE"] = str(stored.phase)
    if stored.created_at:
        body["CREATED"] = rfc3339(stored.created_at)
    return body


def etag(snapshot: Snapshot) -> str:
    """The entity tag: it changes whenever the representation changes."""
    return etag_of(members(snapshot))


def etag_of(members: Json) -> str:
    """The entity tag of a runtime with these members."""
    return hashlib.sha256(json.dumps(members, sort_keys=True).encode()).hexdigest()[:32]


def preflights(found: Iterable[Preflight]) -> list[Json]:
    """The flavours, and whether the caller can deploy them."""
    return [_preflight(flavour) for flavour in found]


def plan(planned: Plan) -> Json:
    """What a create would make: the flow template, and the attributes of its roles' VMs.

    The owner's credentials, which the VMs get as well, are left out.
    """
    roles = {
        role: {"NAME": name, "ATTRIBUTES": _without_credentials(planned.attributes[name])}
        for role, name in planned.role_names.items()
    }
    flow = planned.flow
    return {"FLOW_TEMPLATE": flow.id, "OWNER": flow.owner_name, "ROLES": roles}


def timeline(steps: Iterable[Step]) -> Json:
    """The timeline of a runtime's creation."""
    return {"STEPS": [_step(step) for step in steps]}


def message(error: EngineError) -> Any:
    """Return the details of an error, with how a client remedies it."""
    if isinstance(error, ActionRefused) and error.remedy:
        return f"{error.message}{REMEDIES[error.remedy]}"
    if isinstance(error.message, dict):
        parts = error.message.items()
        return {n: message(part) if isinstance(part, EngineError) else part for n, part in parts}
    return error.message


def endpoint(nic: Mapping[str, Any]) -> str:
    """The endpoint of a VM, from its first NIC; empty if there is no address."""
    return next((str(nic[name])[:MAX_ENDPOINT] for name in ADDRESSES if nic.get(name)), "")


def rfc3339(at: int) -> str:
    """A Unix time in the format of RFC 3339, in UTC."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _function(function: Function, seen: Observation) -> Json:
    condition, vm = seen.condition, seen.vm
    body = _sizes(function)
    if vm is not None:
        body |= sizes.from_vm(vm)
    body |= {"STATE": str(condition.state), "ENDPOINT": endpoint(vm.nic) if vm else ""}
    if text := _shortened(condition.text):
        body |= {"ERROR": text} if condition.state is State.ERROR else {}
        body["REASON"] = text
    if condition.reason is not None:
        body["REASON_CODE"] = str(condition.reason)
    return body | ({"SINCE": rfc3339(seen.since)} if seen.since else {})


def _sizes(function: Function) -> Json:
    body: Json = {"FLAVOUR": function.flavour, **function.sizes}
    return body if function.vm_id is None else body | {"VM_ID": function.vm_id}


def _preflight(flavour: Preflight) -> Json:
    findings = [
        {"TEXT": finding.text, "HINT": finding.hint, "FATAL": finding.is_fatal}
        for finding in flavour.findings
    ]
    return {
        "FLAVOURS": flavour.flavours,
        "FLOW_TEMPLATE": flavour.template_id,
        "OWNER": flavour.owner,
        "DEPLOYABLE": flavour.is_deployable,
        **{role: _sizes(function) for role, function in flavour.functions.items()},
        "FINDINGS": findings,
    }


def _step(step: Step) -> Json:
    body: Json = {"STEP": str(step.name)}
    if step.role:
        body["FUNCTION"] = step.role
    return body | {"AT": rfc3339(step.at)}


def _without_credentials(attributes: Attributes) -> Attributes:
    context = {k: v for k, v in attributes.get("CONTEXT", {}).items() if k != "SR_AUTH"}
    return attributes | ({"CONTEXT": context} if context else {})


def _shortened(text: str) -> str:
    """Truncates a text to REASON_BYTES in the response (JSON and UTF-8)."""
    if len(_encoded(text)) <= REASON_BYTES:
        return text
    while len(_encoded(text)) > REASON_BYTES:
        text = text[: len(text) * REASON_BYTES // (len(_encoded(text)) + 1)]
    return f"{text}…"


def _encoded(text: str) -> bytes:
    return json.dumps(text, ensure_ascii=False).encode(errors="backslashreplace")
