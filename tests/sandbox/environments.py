"""The machine on which a story was recorded.

The order of events depends on OpenNebula, their speed on the machine, and in some scenarios
drivers were slow or failing on purpose. An `Environment` holds all that, together with the ids
that OpenNebula had reached at the beginning of the story.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from provision_engine.sandbox import Sandbox, Timings

from .stories import EPOCHS


@dataclass(frozen=True)
class Moment:
    """A change of the machine, `at` seconds after the start of the recording."""

    at: float
    apply: Callable[[Sandbox], object]


@dataclass(frozen=True)
class Environment:
    """The machine on which one story was recorded."""

    release: str
    next_document: int | None = None
    next_vm: int | None = None
    next_scheduled: int = 0
    next_user: int | None = None
    next_group: int | None = None
    next_rule: int | None = None
    next_vm_template: int | None = None
    taken_addresses: tuple[int, ...] = ()
    last_address: int = 0
    prepare_objects: Callable[[Sandbox], object] = lambda sandbox: None
    timings: Timings = field(default_factory=Timings)
    paces: dict[int, dict[str, float]] = field(default_factory=dict)
    """Durations in seconds for single services of the story, by position: the first is 0."""
    moments: tuple[Moment, ...] = ()
    seeds_at: int = 0
    """When the flow templates were created, in seconds since the epoch."""
    first_flow_template: int | None = None
    role_order: tuple[str, ...] = ()
    """The order of the members of a flow template's roles."""
    network_id: int | None = None
    tolerance_seconds: int = 2
    """How far timestamps may be off; more if the machine was busy."""

    @property
    def vm_templates_at(self) -> int:
        """When the VM templates were created, in seconds since the epoch."""
        return {"6.8.0": 1795479803, "7.4.0": 1795485650}[self.release]

    def epoch(self, part: int) -> float:
        """The start of that part of the recording, in seconds since the epoch."""
        return EPOCHS[self.release][part]

    def timings_of(self, service: int) -> Timings:
        """The durations of one service, by position."""
        return replace(self.timings, **_seconds(self.paces.get(service, {})))

    def prepare(self, sandbox: Sandbox) -> None:
        """Puts a new sandbox into the state at the beginning of the story."""
        store = sandbox.world.store
        if self.first_flow_template is not None:
            _renumber_flow_templates(sandbox, self.first_flow_template, self.role_order)
        if self.network_id is not None:
            store.release = replace(store.release, network_id=self.network_id)
        for vm_template in store.vm_templates.all():
            vm_template.registration_time = self.vm_templates_at
        self.prepare_objects(sandbox)
        for counter, number in (
            (store.documents, self.next_document),
            (store.vms, self.next_vm),
            (store.users, self.next_user),
            (store.groups, self.next_group),
            (store.rules, self.next_rule),
            (store.vm_templates, self.next_vm_template),
        ):
            if number is not None:
                counter.next_id = number
        store.next_scheduled_id = self.next_scheduled
        store.addresses.update(self.taken_addresses)
        store.last_address = self.last_address


def _renumber_flow_templates(sandbox: Sandbox, first: int, role_order: tuple[str, ...]) -> None:
    documents = sandbox.world.store.documents
    templates = list(documents.all(101))
    for template in templates:
        documents.remove(template)
    for number, template in enumerate(templates, first):
        template.id = number
        body = template.template.text("BODY") or ""
        template.template.set("BODY", _with_roles_in_order(body, role_order))
        template.changed()
        documents.add(template)


def _with_roles_in_order(body: str, order: tuple[str, ...]) -> str:
    """Later recordings have another order of a role's members in flow templates."""
    flow = json.loads(body)
    flow["roles"] = [{key: r[key] for key in order if key in r} | r for r in flow["roles"]]
    return json.dumps(flow, separators=(",", ":"))


def _seconds(pace: dict[str, float]) -> dict[str, float]:
    return {f"{name}_seconds": seconds for name, seconds in pace.items()}
