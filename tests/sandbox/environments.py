"""What the machines of the recordings were like: the table the replay sets each sandbox up with.

OpenNebula decides what happens in which order; the machine decided how fast, and its drivers were
made slow or failing on purpose in some scenarios. That, and the ids at which earlier, unrecorded
work had left the counters, is written down here.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from provision_engine.sandbox import Sandbox, Timings
from provision_engine.sandbox.template import Template, parse

from . import derived

# Scenarios that are one story, because later ones use what earlier ones made.
_BOTH: tuple[tuple[str, ...], ...] = (
    ("authentication",),
    ("service-templates",),
    ("vm-templates",),
    ("documents",),
    ("create-faas", "update", "delete-faas"),
    ("create-faas-daas",),
    ("instantiate-errors",),
    ("failed-deploy-missing-vm-template",),
    ("failed-deploy-denied-vm-template",),
    ("failed-deploy-bad-contents",),
    ("vm-boot-failure",),
    ("slow-boot",),
    ("resize-failure",),
    ("quota-exceeded",),
    ("unknown-method",),
    ("pending-unsatisfiable-requirements",),
    ("report-ready",),
    ("oned-view-of-flow",),
    ("same-name-and-lock",),
    ("lock-levels-allow-update",),
    ("lease-by-scheduled-action",),
    ("lease-renewal",),
    ("template-syntax",),
    ("vm-user-template-update",),
    ("hostile-values-through-oneflow",),
)
# In the recording of 6.8.0 these three are entangled: the first two were made twice.
_LEASES = ("lock-levels-allow-update", "lease-by-scheduled-action", "lease-renewal")
_STATES: tuple[tuple[str, ...], ...] = (
    ("delete-while-booting", "order-to-end-while-booting"),
    ("delete-while-pending",),
    ("delete-while-resizing",),
    ("slow-shutdown",),
    ("scheduled-actions-in-pool", "suspend-resume"),
    ("poweroff-and-back",),
    ("scheduling-expressions",),
    ("missing-vm-template-with-contents",),
    ("names",),
    ("pool-ranges",),
)
STORIES = {
    "6.8.0": (*[names for names in _BOTH if names[0] not in _LEASES], _LEASES, *_STATES),
    "7.4.0": (*_BOTH, *_STATES, ("rank-that-stops-the-scheduler",)),
}

EPOCHS: dict[str, tuple[float, ...]] = {
    "6.8.0": (1795484881.95, 1795486133.70, 1795487288.10, 1795487412.40, 1795515042.3),
    "7.4.0": (1795485759.20, 1795486336.20, 1795487354.50, 1795515042.3),
}
"""When each part of a recording began, in seconds since the epoch."""


@dataclass(frozen=True)
class Moment:
    """Something done to the machine when the recording had come to `at` seconds."""

    at: float
    apply: Callable[[Sandbox], object]


@dataclass(frozen=True)
class Environment:
    """One story's machine."""

    release: str
    next_document: int | None = None
    next_vm: int | None = None
    next_scheduled: int = 0
    taken_addresses: tuple[int, ...] = ()
    last_address: int = 0
    left_behind: Callable[[Sandbox], object] = lambda sandbox: None
    timings: Timings = field(default_factory=Timings)
    paces: dict[int, dict[str, float]] = field(default_factory=dict)
    """Which services of the story were made at another pace: the first is 0."""
    moments: tuple[Moment, ...] = ()
    seeds_at: int = 0
    """When the flow templates were made; 0 for the time of the first recording."""
    first_flow_template: int | None = None
    network_id: int | None = None

    @property
    def vm_templates_at(self) -> int:
        """When the VM templates were made."""
        return {"6.8.0": 1795479803, "7.4.0": 1795485650}[self.release]

    def epoch(self, part: int) -> float:
        """When that part of the recording began."""
        return EPOCHS[self.release][part]

    def timings_of(self, service: int) -> Timings:
        """The durations of one service."""
        return replace(self.timings, **_seconds(self.paces.get(service, {})))

    def prepare(self, sandbox: Sandbox) -> None:
        """Brings a fresh sandbox to the beginning of the story."""
        store = sandbox.world.store
        if self.first_flow_template is not None:
            _renumber_flow_templates(sandbox, self.first_flow_template)
        if self.network_id is not None:
            store.release = replace(store.release, network_id=self.network_id)
        for vm_template in store.vm_templates.all():
            vm_template.registration_time = self.vm_templates_at
        self.left_behind(sandbox)
        if self.next_document is not None:
            store.documents.next_id = self.next_document
        if self.next_vm is not None:
            store.vms.next_id = self.next_vm
        store.next_scheduled_id = self.next_scheduled
        store.addresses.update(self.taken_addresses)
        store.last_address = self.last_address


def _renumber_flow_templates(sandbox: Sandbox, first: int) -> None:
    documents = sandbox.world.store.documents
    templates = list(documents.all(101))
    for template in templates:
        documents.remove(template)
    for number, template in enumerate(templates, first):
        template.id = number
        template.template.set("BODY", _by_cardinality(template.template.text("BODY") or ""))
        template.changed()
        documents.add(template)


def _by_cardinality(body: str) -> str:
    """Flow templates of the second recordings were made with another order of a role's members."""
    flow = json.loads(body)
    flow["roles"] = [
        {"name": r["name"], "cardinality": r["cardinality"]} | r for r in flow["roles"]
    ]
    return json.dumps(flow, separators=(",", ":"))


def _seconds(pace: dict[str, float]) -> dict[str, float]:
    return {f"{name}_seconds": seconds for name, seconds in pace.items()}


def _six(**different: Any) -> Environment:
    different.setdefault("seeds_at", 1795479906)
    return Environment("6.8.0", timings=Timings.measured("6.8.0"), **different)


def _seven(**different: Any) -> Environment:
    different.setdefault("seeds_at", 1795485729)
    return Environment("7.4.0", timings=Timings.measured("7.4.0"), **different)


def _fails(driver: str) -> Callable[[Sandbox], object]:
    return lambda sandbox: sandbox.faults.drivers.set(driver, fails=True)


def _slow(driver: str, seconds: float) -> Callable[[Sandbox], object]:
    return lambda sandbox: sandbox.faults.drivers.set(driver, slow_seconds=seconds)


def _three_documents(sandbox: Sandbox) -> None:
    """Three runtimes of devuser's from an earlier try."""
    store = sandbox.world.store
    store.documents.next_id = 62
    for name, body in (("sr-one", '{"x": 1}'), (None, '{"x": 1}'), (None, "{}")):
        content = Template([("BODY", body)])
        store.new_document(store.users_by_name["devuser"], 1337, name, content)


def _stuck_vm(sandbox: Sandbox) -> None:
    """The VM that scenario resize-failure leaves in HOTPLUG_RESIZE."""
    world = sandbox.world
    with world.moment():
        owner = world.store.users_by_name["devuser"]
        size = parse('CPU=4\nMEMORY=400\nDISK=[IMAGE="img",SIZE="1025"]')
        world.machines.create(owner, world.store.vm_templates.get(0), size)


ENVIRONMENTS: dict[str, dict[str, Environment]] = {
    "6.8.0": {
        "authentication": _six(),
        "service-templates": _six(),
        "vm-templates": _six(),
        "documents": _six(next_document=76, left_behind=_three_documents),
        "create-faas": _six(
            next_document=80,
            next_vm=35,
            paces={0: {"vms_visible": 0.25, "schedule": 0.05, "service_notice": 0.1}},
        ),
        "create-faas-daas": _six(next_document=81, next_vm=36),
        "instantiate-errors": _six(next_document=82, next_vm=38),
        "failed-deploy-missing-vm-template": _six(
            next_document=84, paces={0: {"vms_visible": 0.3}}
        ),
        "failed-deploy-denied-vm-template": _six(next_document=85),
        "failed-deploy-bad-contents": _six(next_document=86, paces={0: {"vms_visible": 0.1}}),
        "vm-boot-failure": _six(
            next_document=87,
            next_vm=40,
            taken_addresses=(1,),
            paces={0: {"service_failure": 29.5}},
            moments=(Moment(0, _fails("boot")),),
        ),
        "slow-boot": _six(
            next_document=88,
            next_vm=41,
            taken_addresses=(1,),
            paces={0: {"service_notice": 0.05, "nets": 0.3}},
            moments=(Moment(0, _slow("boot", 4.5)),),
        ),
        "resize-failure": _six(
            next_document=89,
            next_vm=42,
            taken_addresses=(1,),
            paces={0: {"schedule": 0.9}},
            moments=(
                Moment(0, _fails("resize")),
                Moment(0, _fails("disk-resize")),
                Moment(82.6, _slow("resize", 20.0)),
            ),
        ),
        "quota-exceeded": _six(
            next_document=90, paces={0: {"vms_visible": 0.1}}, left_behind=_stuck_vm
        ),
        "unknown-method": _six(),
        "pending-unsatisfiable-requirements": _six(
            next_document=91, next_vm=43, taken_addresses=(1, 2)
        ),
        "report-ready": _six(
            next_document=92,
            next_vm=44,
            taken_addresses=(1, 2),
            paces={0: {"schedule": 0.1, "service_notice": 0.05}},
        ),
        "oned-view-of-flow": _six(
            next_document=133,
            next_vm=69,
            paces={0: {"shutdown": 0.05, "service_notice": 0.05, "nets": 0.1}},
        ),
        "same-name-and-lock": _six(next_document=134),
        "lock-levels-allow-update": _six(
            next_document=139,
            next_vm=71,
            taken_addresses=(1, 2),
            paces={
                0: {"boot": 0.8, "service_notice": 0.1, "nets": 0.0, "sched_action": 4.2},
                2: {"sched_action": 7.0, "service_notice": 0.15},
            },
        ),
        "template-syntax": _six(),
        "vm-user-template-update": _six(left_behind=_stuck_vm),
        "hostile-values-through-oneflow": _six(
            next_document=188,
            next_vm=99,
            paces={8: {"schedule": 0.01, "prolog": 0.12, "boot": 0.02}},
        ),
    },
    "7.4.0": {
        "authentication": _seven(),
        "service-templates": _seven(),
        "vm-templates": _seven(),
        "documents": _seven(next_document=13),
        "create-faas": _seven(
            next_document=17,
            next_vm=1,
            last_address=1,
            paces={0: {"schedule": 10.95, "service_notice": 0.27, "nets": 0.1}},
        ),
        "create-faas-daas": _seven(
            next_document=18, next_vm=2, last_address=2, paces={0: {"schedule": 13.2}}
        ),
        "instantiate-errors": _seven(
            next_document=19,
            next_vm=4,
            last_address=4,
            paces={0: {"schedule": 12.4}, 1: {"schedule": 12.4}},
        ),
        "failed-deploy-missing-vm-template": _seven(
            next_document=21, paces={0: {"vms_visible": 0.1}}
        ),
        "failed-deploy-denied-vm-template": _seven(
            next_document=22, paces={0: {"vms_visible": 0.1}}
        ),
        "failed-deploy-bad-contents": _seven(next_document=23),
        "vm-boot-failure": _seven(
            next_document=24,
            next_vm=6,
            last_address=6,
            paces={0: {"service_failure": 19.9}},
            moments=(Moment(0, _fails("boot")),),
        ),
        "slow-boot": _seven(
            next_document=25,
            next_vm=7,
            last_address=7,
            paces={0: {"schedule": 8.1, "service_notice": 0.05, "nets": 0.4}},
            moments=(Moment(0, _slow("boot", 4.5)),),
        ),
        "resize-failure": _seven(
            next_document=26,
            next_vm=8,
            last_address=8,
            paces={0: {"schedule": 11.6}},
            moments=(
                Moment(0, _fails("resize")),
                Moment(0, _fails("disk-resize")),
                Moment(138.1, _slow("resize", 20.0)),
            ),
        ),
        "quota-exceeded": _seven(
            next_document=27, paces={0: {"vms_visible": 0.1}}, left_behind=_stuck_vm
        ),
        "unknown-method": _seven(),
        "pending-unsatisfiable-requirements": _seven(next_document=28, next_vm=9, last_address=9),
        "report-ready": _seven(
            next_document=29, next_vm=10, last_address=10, paces={0: {"schedule": 9.5}}
        ),
        "oned-view-of-flow": _seven(
            next_document=38,
            next_vm=19,
            paces={0: {"schedule": 1.25, "shutdown": 0.05, "service_notice": 0.05, "nets": 0.1}},
        ),
        "same-name-and-lock": _seven(next_document=39),
        "lock-levels-allow-update": _seven(next_document=41),
        "lease-by-scheduled-action": _seven(
            next_document=42,
            next_vm=20,
            last_address=20,
            paces={0: {"schedule": 9.8, "sched_action": 3.2}},
        ),
        "lease-renewal": _seven(
            next_document=43,
            next_vm=21,
            last_address=21,
            paces={0: {"schedule": 20.0, "sched_action": 4.1, "service_notice": 0.2, "nets": 0.0}},
        ),
        "template-syntax": _seven(),
        "vm-user-template-update": _seven(left_behind=_stuck_vm),
        "hostile-values-through-oneflow": _seven(
            next_document=44,
            next_vm=22,
            last_address=22,
            paces={7: {"schedule": 0.01, "prolog": 0.12, "boot": 0.02}},
        ),
    },
}

_SLOW_BOOT = (Moment(0, _slow("boot", 8.0)),)


def _quick_poweroff(sandbox: Sandbox) -> None:
    sandbox.timings = replace(sandbox.timings, poweroff_seconds=0.02)


_QUICK_POWEROFF, _QUICK_POWEROFF_OF_7 = Moment(62, _quick_poweroff), Moment(104, _quick_poweroff)
_SLOW_RESIZE = (Moment(0, _slow("resize", 6.0)),)
STATES: dict[str, dict[str, dict[str, Any]]] = {
    "6.8.0": {
        "delete-while-booting": {
            "moments": _SLOW_BOOT,
            "timings": {"sched_action_seconds": 1.2},
        },
        "delete-while-resizing": {"moments": _SLOW_RESIZE},
        "slow-shutdown": {
            "moments": (Moment(36, _slow("shutdown", 5.1)),),
            "timings": {"boot_seconds": 0.3},
        },
        "scheduled-actions-in-pool": {
            "moments": (Moment(47.6, _slow("save", 4.0)),),
            "timings": {"resume_seconds": 0.02},
        },
        "poweroff-and-back": {"moments": (_QUICK_POWEROFF,)},
    },
    "7.4.0": {
        "delete-while-booting": {
            "moments": _SLOW_BOOT,
            "timings": {"sched_action_seconds": 1.2},
        },
        "delete-while-resizing": {"moments": _SLOW_RESIZE},
        "slow-shutdown": {
            "moments": (Moment(42, _slow("shutdown", 5.1)),),
            "timings": {"boot_seconds": 0.3},
        },
        "scheduled-actions-in-pool": {
            "moments": (Moment(78.9, _slow("save", 4.0)),),
            "timings": {"resume_seconds": 0.02},
        },
        "poweroff-and-back": {"moments": (_QUICK_POWEROFF_OF_7,)},
        "rank-that-stops-the-scheduler": {
            "timings": {
                "scheduler_failure_seconds": 63.0,
                "shutdown_seconds": 0.008,
                "epilog_seconds": 0.3,
            },
            "paces": {0: {"schedule": 10.0}, 1: {"schedule": 10.0}},
        },
    },
}
"""What the recordings of states do not tell themselves about their machines."""


_STATES_SEEDED_AT = {"6.8.0": 1795508042, "7.4.0": 1795508620}


def environment_of(
    release: str, names: tuple[str, ...], calls: list[dict[str, Any]]
) -> Environment:
    """The machine of a story."""
    known = ENVIRONMENTS[release].get(names[0])
    if known is not None:
        return known
    told = dict(STATES[release].get(names[0], {}))
    timings = replace(Timings.measured(release), **told.pop("timings", {}))
    counters = derived.counters(calls) | {"seeds_at": _STATES_SEEDED_AT[release]}
    paces = {"paces": derived.paces_by_looks(release, calls)}
    return Environment(release, timings=timings, **(counters | paces | told))
