"""Runtimes, flavours and timelines as the API represents them, and the body of a request."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

Json = dict[str, Any]

STATES = ("PENDING", "RUNNING", "UPDATING", "SUSPENDED", "ERROR")
_WORST_FIRST = ("ERROR", "PENDING", "UPDATING", "SUSPENDED")


@dataclass(frozen=True)
class Function:
    """A function, as requested or as it is. None means: left to the engine, or unknown."""

    flavour: str = ""
    cpu: int | None = None
    """Cores."""
    memory_mb: int | None = None
    disk_size_mb: int | None = None
    vm_id: int | None = None
    state: str = ""
    """One of STATES."""
    endpoint: str = ""
    """The address of its VM; empty as long as there is none."""
    reason: str = ""
    """Why it is not running, for people."""
    since: datetime | None = None
    reason_code: str = ""
    """The same for programs, such as NO_MATCHING_HOST or BOOT; empty if the engine sent none."""

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> Function:
        return cls(
            flavour=str(body.get("FLAVOUR", "")),
            cpu=body.get("CPU"),
            memory_mb=body.get("MEMORY"),
            disk_size_mb=body.get("DISK_SIZE"),
            vm_id=body.get("VM_ID"),
            state=str(body.get("STATE", "")),
            endpoint=str(body.get("ENDPOINT", "")),
            reason=str(body.get("REASON") or body.get("ERROR") or ""),
            since=_time(body.get("SINCE")),
            reason_code=str(body.get("REASON_CODE", "")),
        )

    def to_request(self) -> Json:
        """Return the members that a request sends: the flavour and the sizes that are given."""
        sizes = {"CPU": self.cpu, "MEMORY": self.memory_mb, "DISK_SIZE": self.disk_size_mb}
        return {"FLAVOUR": self.flavour} | {
            name: size for name, size in sizes.items() if size is not None
        }


@dataclass(frozen=True)
class Runtime:
    """A serverless runtime as the engine described it."""

    id: int
    name: str
    faas: Function
    daas: Function | None = None
    service_id: int | None = None
    scheduling: Mapping[str, str] = field(default_factory=dict)
    device_info: Mapping[str, str | int | float] = field(default_factory=dict)
    lease_seconds: int | None = None
    expires: datetime | None = None
    created: datetime | None = None
    etag: str = ""
    """Identifies exactly this state, for ``if_match``; empty if the engine sent none."""
    owner: str = ""
    """The name of its user, where the runtimes of all users were requested."""
    warnings: tuple[str, ...] = ()
    """Members of the request that the engine ignored, such as misspelt ones."""
    body: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)
    """The JSON object it was read from."""

    @classmethod
    def from_json(
        cls, body: Mapping[str, Any], etag: str = "", warnings: tuple[str, ...] = ()
    ) -> Runtime:
        lease = body.get("LEASE", {})
        return cls(
            id=int(body["ID"]),
            name=str(body.get("NAME", "")),
            faas=Function.from_json(body["FAAS"]),
            daas=Function.from_json(body["DAAS"]) if "DAAS" in body else None,
            service_id=body.get("SERVICE_ID"),
            scheduling=body.get("SCHEDULING", {}),
            device_info=body.get("DEVICE_INFO", {}),
            lease_seconds=lease.get("TTL"),
            expires=_time(lease.get("EXPIRES")),
            created=_time(body.get("CREATED")),
            etag=etag,
            owner=str(body.get("OWNER", "")),
            warnings=warnings,
            body=body,
        )

    @property
    def functions(self) -> dict[str, Function]:
        """Return the functions by role: FAAS and, if there is one, DAAS."""
        return {"FAAS": self.faas} | ({"DAAS": self.daas} if self.daas else {})

    @property
    def flavours(self) -> str:
        """Return the flavour tuple, for example nature-s3."""
        return "-".join(function.flavour for function in self.functions.values())

    @property
    def state(self) -> str:
        """Return ERROR, PENDING, UPDATING or SUSPENDED if a function is in it, else RUNNING."""
        states = [function.state for function in self.functions.values()]
        return next((state for state in _WORST_FIRST if state in states), "RUNNING")

    @property
    def reason(self) -> str:
        """Return why it is not running, by role; empty if it is."""
        reasons = [f"{role}: {f.reason}" for role, f in self.functions.items() if f.reason]
        return "; ".join(reasons)


@dataclass(frozen=True)
class Flavour:
    """A flavour tuple. If the user cannot deploy it, ``findings`` say why."""

    name: str
    flow_template_id: int | None
    is_deployable: bool
    functions: Mapping[str, Function]
    """The sizes that a request gets if it names none, by role."""
    findings: tuple[str, ...] = ()
    owner: str = ""
    """The user who owns the flow template."""
    body: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> Flavour:
        return cls(
            name=str(body["FLAVOURS"]),
            flow_template_id=body.get("FLOW_TEMPLATE"),
            is_deployable=bool(body.get("DEPLOYABLE", True)),
            functions={
                role: Function.from_json(body[role]) for role in ("FAAS", "DAAS") if role in body
            },
            findings=tuple(str(finding["TEXT"]) for finding in body.get("FINDINGS", ())),
            owner=str(body.get("OWNER", "")),
            body=body,
        )


@dataclass(frozen=True)
class Quota:
    """How much of something a user uses, and may use."""

    used: float
    limit: float | None
    """None if there is no limit."""

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> Quota:
        return cls(body["USED"], body["LIMIT"])


@dataclass(frozen=True)
class Step:
    """A step of a runtime's creation."""

    name: str
    at: datetime
    role: str = ""
    """FAAS or DAAS, empty if it concerns the whole runtime."""
    body: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> Step:
        at = datetime.fromisoformat(body["AT"])
        return cls(str(body["STEP"]), at, str(body.get("FUNCTION", "")), body)


def specification(
    *,
    faas: Function | None = None,
    daas: Function | None = None,
    name: str = "",
    policy: str = "",
    requirements: str = "",
    device_info: Mapping[str, str | int | float] | None = None,
    lease_seconds: int | None = None,
    lift_lease: bool = False,
) -> Json:
    """Return the body of a create or an update, with the given members only.

    ``policy`` ranks hosts, ``requirements`` say which hosts are acceptable. ``lift_lease`` removes
    the lease of a runtime.
    """
    members: Json = {"NAME": name} if name else {}
    members |= {r: f.to_request() for r, f in (("FAAS", faas), ("DAAS", daas)) if f is not None}
    scheduling = {"POLICY": policy, "REQUIREMENTS": requirements}
    if given := {member: text for member, text in scheduling.items() if text}:
        members["SCHEDULING"] = given
    if device_info:
        members["DEVICE_INFO"] = dict(device_info)
    if lease_seconds is not None:
        members["LEASE"] = {"TTL": lease_seconds}
    elif lift_lease:
        members["LEASE"] = None
    return {"SERVERLESS_RUNTIME": members}


def _time(text: Any) -> datetime | None:
    return datetime.fromisoformat(text) if isinstance(text, str) else None
