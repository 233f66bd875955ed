"""The JSON representation: the only place that knows the shape of a response."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from provision_engine.engine.actions.timeline import Step
from provision_engine.engine.plan import Plan
from provision_engine.engine.preflight import Preflight
from provision_engine.engine.quota import Quota
from provision_engine.engine.runtime import sizes
from provision_engine.engine.runtime.model import Function, Phase
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
QUOTA_METRICS = ("VMS", *(size.quota for size in sizes.SIZES.values()))
"""The metrics of a quota; MEMORY and SYSTEM_DISK_SIZE in MB."""

Json = dict[str, Any]


def runtime(snapshot: Snapshot, *, with_owner: bool = False) -> Json:
    """Return a runtime, wrapped in the object that clients send and receive."""
    stored = snapshot.runtime
    body: Json = {"NAME": stored.name, "ID": stored.id}
    if with_owner:
        body["OWNER"] = stored.owner_name
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
    return {RUNTIME: body}


def etag(body: Json) -> str:
    """Return the entity tag of a runtime, which changes whenever its representation does."""
    return hashlib.sha256(json.dumps(body[RUNTIME], sort_keys=True).encode()).hexdigest()[:32]


def preflight(flavour: Preflight) -> Json:
    """Return a flavour, and whether the caller can deploy it."""
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


def plan(planned: Plan, ignored: Iterable[str]) -> Json:
    """Return what a create would make: the flow template, and the attributes of its roles' VMs.

    The owner's credentials, which the VMs get as well, are left out.
    """
    warnings = [{"CODE": "IGNORED", "PATH": path, "TEXT": warning(path)} for path in ignored]
    roles = {
        role: {"NAME": name, "ATTRIBUTES": _without_credentials(planned.vm_attributes(name))}
        for role, name in planned.role_names.items()
    }
    return {
        "FLOW_TEMPLATE": planned.flow.id,
        "OWNER": planned.flow.owner_name,
        "ROLES": roles,
        "WARNINGS": warnings,
    }


def warning(path: str) -> str:
    """Return what a client is told about a member that the engine does not know."""
    return f"{path} is unknown and was ignored"


def quota(of_user: Quota) -> Json:
    """Return usage and limit by metric; the limit is None if there is none."""
    return {
        name: {
            "LIMIT": None if of_user.limits[name] < 0 else _number(of_user.limits[name]),
            "USED": _number(of_user.used[name]),
        }
        for name in QUOTA_METRICS
    }


def timeline(steps: Iterable[Step]) -> Json:
    """Return the timeline of a runtime's creation."""
    return {
        "STEPS": [
            {"STEP": str(step.name)}
            | ({"FUNCTION": step.role} if step.role else {})
            | {"AT": rfc3339(step.at)}
            for step in steps
        ]
    }


def message(error: EngineError) -> Any:
    """Return the details of an error, with how a client remedies it."""
    if isinstance(error, ActionRefused) and error.remedy:
        return f"{error.message}{REMEDIES[error.remedy]}"
    if isinstance(error.message, dict):
        parts = error.message.items()
        return {n: message(part) if isinstance(part, EngineError) else part for n, part in parts}
    return error.message


def rfc3339(at: int) -> str:
    """Return a Unix time in the format of RFC 3339, in UTC."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _function(function: Function, observation: Observation) -> Json:
    condition, vm = observation.condition, observation.vm
    body = _sizes(function)
    if vm is not None:
        body |= sizes.from_vm(vm)
    body |= {"STATE": str(condition.state), "ENDPOINT": vm.endpoint if vm else ""}
    if text := _shortened(condition.text):
        body |= {"ERROR": text} if condition.state is State.ERROR else {}
        body["REASON"] = text
    if condition.reason is not None:
        body["REASON_CODE"] = str(condition.reason)
    return body | ({"SINCE": rfc3339(observation.since)} if observation.since else {})


def _number(value: float) -> float:
    """Return an integer if the value is one."""
    return int(value) if value.is_integer() else value


def _sizes(function: Function) -> Json:
    body: Json = {"FLAVOUR": function.flavour, **function.sizes}
    return body if function.vm_id is None else body | {"VM_ID": function.vm_id}


def _without_credentials(attributes: Mapping[str, Any]) -> Json:
    context = attributes.get("CONTEXT")
    if not isinstance(context, dict):
        return dict(attributes)
    return {**attributes, "CONTEXT": {k: v for k, v in context.items() if k != "SR_AUTH"}}


def _shortened(text: str) -> str:
    """Truncate a text to REASON_BYTES in the response (JSON and UTF-8)."""
    if len(encoded(text)) <= REASON_BYTES:
        return text
    while (size := len(encoded(text))) > REASON_BYTES:
        text = text[: len(text) * REASON_BYTES // (size + 1)]
    return f"{text}…"


def encoded(value: Any) -> bytes:
    """Return a value as JSON; half a surrogate pair is escaped."""
    return json.dumps(value, ensure_ascii=False).encode(errors="backslashreplace")
