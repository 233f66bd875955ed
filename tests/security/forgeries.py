"""What an attacker writes into OpenNebula: kinds of objects, and what they claim."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from provision_engine.engine.safety import worker_identity
from tests.support.opennebula import FLOW_TEMPLATE, RUNTIME, SERVICE

Json = dict[str, Any]
FAR_PAST, FAR = 1, 1_000_000
"""A Unix time, and seconds."""
TOO_LARGE = 2**70
TOO_MANY_DIGITS = int("9" * 400)
MANY = 50_000
NO_ID = 2**31 - 2
"""There is no object with this id."""
ESCAPES = "\x1b[2K\x1b]0;owned\x07\nE, all is well\r\u202e\ud800"
SERVICE_STATES = {"DEPLOYING": 1, "RUNNING": 2, "UNDEPLOYING": 3, "FAILED_UNDEPLOYING": 6}
NO_JSON = ("{broken", "5", "null", "[]", '"text"', "")


@dataclass(frozen=True)
class Facts:
    """What the attacker has found out about others."""

    flavour: str
    """A flavour that an administrator has published."""
    vm_template_id: int
    template_member: str
    """By which a role of a flow template names its VM template."""
    runtime_id: int = NO_ID
    service_id: int = NO_ID
    service_name: str = ""
    vm_id: int = NO_ID
    key: str = ""
    digest: str = ""
    lone_vm_id: int = NO_ID
    """A VM of the victim that no engine made."""
    plain_service_id: int = NO_ID
    plain_service_name: str = ""
    administrators_vm_id: int = NO_ID
    administrators_service_id: int = NO_ID


class Forgery(NamedTuple):
    """An object that the attacker owns."""

    kind: int
    """Of a document."""
    name: str
    body: str
    lock_level: int = 0
    """At which the attacker has locked it; 0: not at all."""


Content = Callable[[Facts], Json]
"""The members of a runtime's document; those of ENGINE, but for its PHASE, are among them."""


LOCKED = "locked"
"""Content that is locked: nobody may update or delete it, not even an administrator."""


def function(vm_id: object, flavour: str = "x") -> Json:
    return {"FLAVOUR": flavour, "CPU": 1, "MEMORY": 128, "DISK_SIZE": 1024, "VM_ID": vm_id}


NESTED, LEVELS = "nested so deeply as no encoder does", 100_000


def dump(value: Any) -> str:
    """As JSON, also with what is NESTED."""
    return json.dumps(value).replace(json.dumps(NESTED), "[" * LEVELS + "]" * LEVELS)


# ---- runtimes ------------------------------------------------------------------------------------


def _foreign_all(facts: Facts) -> Json:
    return {"SERVICE_ID": facts.service_id, "FAAS": function(facts.vm_id)}


def _named(name: str) -> Json:
    return {"FAAS": function(None), "ENGINE": {"SERVICE_NAME": name}}


CONTENTS: dict[str, Content] = {
    "VM": lambda facts: {"FAAS": function(facts.vm_id, facts.flavour)},
    "lone VM": lambda facts: {"FAAS": function(facts.lone_vm_id)},
    "administrator's": lambda facts: {
        "SERVICE_ID": facts.administrators_service_id,
        "FAAS": function(facts.administrators_vm_id),
    },
    "service": _foreign_all,
    "plain service": lambda facts: {
        "SERVICE_ID": facts.plain_service_id,
        "FAAS": function(facts.lone_vm_id),
    },
    "service name": lambda facts: _named(facts.service_name),
    "plain name": lambda facts: _named(facts.plain_service_name),
    "document": lambda facts: {
        "SERVICE_ID": facts.runtime_id,
        "FAAS": function(facts.vm_id),
        "ENGINE": {"SERVICE_NAME": facts.service_name},
    },
    "key": lambda facts: (
        _foreign_all(facts) | {"ENGINE": {"KEY": facts.key, "DIGEST": facts.digest}}
    ),
    "standby": lambda facts: (
        _foreign_all(facts)
        | {"ENGINE": {"KEY": f"standby:{facts.flavour}", "BLUEPRINT": facts.digest}}
    ),
    "lease over": lambda facts: (
        _foreign_all(facts)
        | {
            "LEASE": {"TTL": 1},
            "ENGINE": {"LEASE_ENDS_AT": FAR_PAST, "LEASE_RENEWED": True},
        }
    ),
    "suspended": lambda facts: _foreign_all(facts) | {"ENGINE": {"SUSPENDED": True}},
    "now": lambda facts: _foreign_all(facts) | {"ENGINE": {"CREATED_AT": int(time.time())}},
    LOCKED: lambda facts: _foreign_all(facts),
    "future": lambda facts: (
        _foreign_all(facts) | {"ENGINE": {"CREATED_AT": int(time.time()) + FAR}}
    ),
    "dead worker": lambda facts: (
        _foreign_all(facts) | {"ENGINE": {"CREATED_AT": int(time.time()), "WORKER": dead_worker()}}
    ),
    "numbers": lambda facts: {
        "SERVICE_ID": TOO_LARGE,
        "FAAS": function(TOO_LARGE) | {"CPU": 1e308, "MEMORY": -TOO_LARGE, "DISK_SIZE": 0.1},
        "DAAS": function(float("inf")),
        "LEASE": {"TTL": TOO_MANY_DIGITS},
        "ENGINE": {"CREATED_AT": TOO_MANY_DIGITS, "LEASE_ENDS_AT": 1e400, "CLAIMED_AT": -1},
    },
    "types": lambda facts: {
        "SERVICE_ID": {"a": []},
        "FAAS": [function(facts.vm_id)],
        "DAAS": {"FLAVOUR": 5, "VM_ID": "²", "CPU": None, "MEMORY": True, "DISK_SIZE": []},
        "SCHEDULING": "x",
        "DEVICE_INFO": {"A": {}, "B": [1], "C": float("nan")},
        "LEASE": 7,
        "ENGINE": {"CREATED_AT": "now", "SERVICE_NAME": 5, "WORKER": [], "KEY": {}, "NAME": 1},
    },
    "depth": lambda facts: _foreign_all(facts) | {"DEVICE_INFO": NESTED},
    "size": lambda facts: (
        _foreign_all(facts)
        | {"DEVICE_INFO": {"A": "x" * 900_000}, "SCHEDULING": {"POLICY": "e" * 50_000}}
    ),
    "many VMs": lambda facts: {"MENTIONED": [{"VM_ID": n} for n in range(MANY)]},
    "texts": lambda facts: {
        "FAAS": function(None, ESCAPES),
        "SCHEDULING": {"POLICY": ESCAPES, "REQUIREMENTS": ESCAPES},
        "DEVICE_INFO": {ESCAPES: ESCAPES},
        "ENGINE": {"NAME": ESCAPES, "SERVICE_NAME": ESCAPES, "WORKER": ESCAPES, "KEY": ESCAPES},
    },
}
PHASES: dict[str, Any] = {
    "CREATING": "CREATING",
    "READY": "READY",
    "REPLACING": "REPLACING",
    "STANDBY": "STANDBY",
    "TAKEN": "TAKEN",
    "DELETING": "DELETING",
    "unknown phase": ESCAPES,
    "phase no text": ["READY"],
    "of Ruby": None,
}
"""None: without a member ENGINE."""


def dead_worker() -> str:
    """A process of this host that does not exist."""
    return f"{worker_identity.current().split()[0]} 4194999 1"


def runtime(phase: str, content: str, facts: Facts) -> Forgery:
    """A document in a phase that claims something."""
    members = CONTENTS[content](facts)
    engine = {"CREATED_AT": FAR_PAST, "INTENDED_AT": None} | members.pop("ENGINE", {})
    engine["INTENDED_AT"] = engine["INTENDED_AT"] or engine["CREATED_AT"]
    if PHASES[phase] is not None:
        members["ENGINE"] = engine | {"PHASE": PHASES[phase]}
    return Forgery(RUNTIME, f"forged-{uuid.uuid4().hex[:8]}", dump(members), content == LOCKED)


TICKETS = {"now": 0, "old": -FAR, "future": FAR}


def ticket(when: str, runtime_id: int, since: int) -> Forgery:
    """A ticket for the lock of somebody's runtime."""
    engine = {"PHASE": "DELETING", "CREATED_AT": int(time.time()) + TICKETS[when]}
    return Forgery(RUNTIME, f"takeover-{runtime_id}-{since}", dump({"ENGINE": engine}))


# ---- services ------------------------------------------------------------------------------------


def _service(state: object, nodes: Mapping[str, object]) -> Json:
    roles = [
        {"name": name, "state": state, "cardinality": 1, "nodes": found}
        for name, found in nodes.items()
    ]
    return {"name": "x", "state": state, "start_time": FAR_PAST, "roles": roles, "log": []}


def _nodes(facts: Facts) -> dict[str, object]:
    foreign = (facts.vm_id, facts.lone_vm_id, facts.administrators_vm_id)
    return {"FAAS": [{"deploy_id": vm_id} for vm_id in foreign]}


SERVICES: dict[str, Content] = {
    **{
        state: lambda facts, number=number: _service(number, _nodes(facts))  # type: ignore[misc]
        for state, number in SERVICE_STATES.items()
    },
    LOCKED: lambda facts: _service(2, _nodes(facts)),
    "numbers": lambda facts: (
        _service(TOO_LARGE, {"FAAS": [{"deploy_id": TOO_LARGE}]})
        | {"start_time": TOO_MANY_DIGITS, "log": [{"timestamp": TOO_MANY_DIGITS, "severity": "E"}]}
    ),
    "types": lambda facts: (
        _service("2", {"FAAS": {"deploy_id": facts.vm_id}, "x": [5, None]})
        | {"log": [5, {"message": 5, "timestamp": "x"}, None]}
    ),
    "roles": lambda facts: {"state": 2, "roles": 5, "log": "x"},
    "depth": lambda facts: _service(2, _nodes(facts)) | {"deep": NESTED},
    "many VMs": lambda facts: _service(2, {"FAAS": [{"deploy_id": n} for n in range(MANY)]}),
    "texts": lambda facts: (
        _service(6, _nodes(facts))
        | {"log": [{"timestamp": 5, "severity": "E", "message": ESCAPES}]}
    ),
}
SERVICE_NAMES: dict[str, Callable[[Facts], str]] = {
    "own": lambda facts: f"x_{uuid.uuid4()}",
    "victim's": lambda facts: facts.service_name,
    "plain": lambda facts: facts.plain_service_name,
}


def service(name: str, content: str, facts: Facts) -> Forgery:
    """A service that nobody deployed."""
    body = content if content in NO_JSON else dump(SERVICES[content](facts))
    return Forgery(SERVICE, SERVICE_NAMES[name](facts), body, content == LOCKED)


def owner_of_service(phase: str, service_id: int, facts: Facts) -> Forgery:
    """A runtime of the attacker to which a forged service belongs."""
    members = {"SERVICE_ID": service_id, "FAAS": function(facts.vm_id)}
    engine = {"CREATED_AT": FAR_PAST, "PHASE": PHASES[phase]}
    return Forgery(RUNTIME, "forged", dump(members | {"ENGINE": engine}))


# ---- flow templates ------------------------------------------------------------------------------


def _flow(roles: object) -> Json:
    return {"name": "x", "deployment": "straight", "description": "", "roles": roles}


def _role(facts: Facts, template_id: object) -> Json:
    return {
        "name": "FAAS",
        "type": "vm",
        "cardinality": 1,
        facts.template_member: template_id,
        "min_vms": 1,
        "cooldown": 5,
        "elasticity_policies": [],
        "scheduled_policies": [],
    }


FLOW_TEMPLATES: dict[str, Content] = {
    "whole": lambda facts: _flow([_role(facts, facts.vm_template_id)]),
    "role 5": lambda facts: _flow(5),
    "role null": lambda facts: _flow(None),
    "roles 5": lambda facts: _flow([5, None, "x"]),
    "depth": lambda facts: _flow([_role(facts, facts.vm_template_id)]) | {"deep": NESTED},
    "digits": lambda facts: _flow([_role(facts, "7" * 5_000)]),
    "superscript": lambda facts: _flow([_role(facts, "²")]),
    "number": lambda facts: _flow([_role(facts, TOO_LARGE)]),
    "missing": lambda facts: _flow([_role(facts, NO_ID)]),
    "texts": lambda facts: _flow([_role(facts, facts.vm_template_id) | {"name": ESCAPES}]),
    "size": lambda facts: _flow([_role(facts, facts.vm_template_id)]) | {"x": "x" * 900_000},
}


def flow_template(name: str, content: str, facts: Facts) -> Forgery:
    body = content if content in NO_JSON else dump(FLOW_TEMPLATES[content](facts))
    return Forgery(FLOW_TEMPLATE, name, body)


# ---- VMs -----------------------------------------------------------------------------------------

VM_CLAIMS: dict[str, Callable[[Facts], str]] = {
    "victim's service": lambda facts: f'SERVICE_ID="{facts.service_id}"',
    "plain service": lambda facts: f'SERVICE_ID="{facts.plain_service_id}"',
    "no service": lambda facts: f'SERVICE_ID="{NO_ID}"',
    "no number": lambda facts: 'SERVICE_ID="abc"',
    "number": lambda facts: f'SERVICE_ID="{TOO_LARGE}"',
    "digits": lambda facts: f'SERVICE_ID="{"7" * 5_000}"',
    "vector": lambda facts: 'SERVICE_ID=[A="5"]\nREADY=[B="1"]\nERROR=[C="1"]',
    "texts": lambda facts: 'SERVICE_ID="\u202e5"\nERROR="a\nb"\nSCHED_MESSAGE="a\n<b>"',
}
"""User templates of a VM of the attacker."""


def vm_claim(content: str, facts: Facts) -> str:
    return f'ROLE_NAME="FAAS"\nFLAVOURS="0"\n{VM_CLAIMS[content](facts)}'
