"""The machines on which stories were recorded, from ``recordings/environments.json``.

A story's scenarios use what earlier ones of it have made. The order of events depends on
OpenNebula and on the speed of the machine, and in some scenarios drivers were slow or failing on
purpose; `recordings/README.md` describes what the file tells of that.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from provision_engine.sandbox import Sandbox, Timings
from provision_engine.sandbox.store import PUBLIC, Image, Network, Store, VmGroup
from provision_engine.sandbox.template import Template, parse

FILE = Path(__file__).parent / "recordings/environments.json"
USUAL: dict[str, Any] = {
    "scenarios": [], "next": {}, "users": [], "documents": [], "has_stuck_vm": False,
    "resources": {},
    "first_flow_template": None, "role_order": [], "network_id": None, "taken_addresses": 0,
    "last_address": 0, "timings": {}, "paces": {}, "moments": [], "tolerance_seconds": 2,
    "differs": [],
}  # fmt: skip
"""The members that a story may leave out."""


@functools.cache
def _releases() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
    return found


def environments(release: str) -> Iterator[Environment]:
    """Those of a release's stories, in the order of the recordings."""
    for name, story in _releases()[release]["stories"].items():
        yield Environment(release, name, USUAL | story)


@dataclass(frozen=True)
class Environment:
    release: str
    name: str
    story: dict[str, Any]

    @property
    def scenarios(self) -> tuple[str, ...]:
        return tuple(self.story["scenarios"]) or (self.name,)

    @property
    def differences(self) -> set[tuple[str, float]]:
        """Scenario and time of calls whose responses are known to differ in the sandbox."""
        return {(scenario, at) for scenario, at, _ in self.story["differs"]}

    def epoch(self, part: int) -> float:
        """The start of that part of the recording, in seconds since the epoch."""
        return float(_releases()[self.release]["epochs"][part])

    def timings(self, service: int | None = None) -> Timings:
        """The durations, or those of one service of the story, by position: the first is 0."""
        pace = self.story["paces"].get(str(service), {})
        return replace(Timings.measured(self.release), **self.story["timings"] | pace)

    def prepare(self, sandbox: Sandbox) -> None:
        """Puts a new sandbox into the state at the beginning of the story."""
        story, store = self.story, sandbox.world.store
        if story["first_flow_template"] is not None:
            self._renumber_flow_templates(sandbox)
        (network,) = store.networks.all()
        if story["network_id"] is not None:
            store.release = replace(store.release, network_id=story["network_id"])
            store.networks.remove(network)
            network.id = story["network_id"]
            store.networks.add(network)
        for vm_template in store.vm_templates.all():
            vm_template.registration_time = _releases()[self.release]["vm_templates_at"]
        owner = store.users_by_name["devuser"]
        for number, name, body in story["documents"]:
            store.documents.next_id = number
            store.new_document(owner, 1337, name, Template([("BODY", body)]))
        if story["has_stuck_vm"]:
            with sandbox.world.moment():
                size = parse('CPU=4\nMEMORY=400\nDISK=[IMAGE="img",SIZE="1025"]')
                sandbox.world.machines.create(owner, store.vm_templates.get(0), size)
        for name in story["users"]:
            store.add_user(name, f"{name}pass")
        for kind, number in story["next"].items():
            if kind == "scheduled":
                store.next_scheduled_id = number
            else:
                getattr(store, f"{kind}s").next_id = number
        network.taken.update(range(1, story["taken_addresses"] + 1))
        network.last = story["last_address"]
        if resources := story["resources"]:
            _add_resources(store, **resources)

    def _renumber_flow_templates(self, sandbox: Sandbox) -> None:
        """Later recordings have other ids, and another order of the members of a role."""
        documents, order = sandbox.world.store.documents, self.story["role_order"]
        templates = list(documents.all(101))
        for template in templates:
            documents.remove(template)
        for number, template in enumerate(templates, self.story["first_flow_template"]):
            template.id = number
            flow = json.loads(template.template.text("BODY") or "")
            flow["roles"] = [
                {k: role[k] for k in order if k in role} | role for role in flow["roles"]
            ]
            template.template.set("BODY", json.dumps(flow, separators=(",", ":")))
            template.changed()
            documents.add(template)

    def moments(self) -> list[dict[str, Any]]:
        """Changes of the machine, in order; they are the caller's."""
        return list(self.story["moments"])


def _add_resources(store: Store, network: int, image: int, vm_group: int) -> None:
    """What the scenario operator-objects creates and the following ones use."""
    owner, grows = (0, 0, "oneadmin", "oneadmin"), store.release.addresses_only_grow
    mode = list(PUBLIC)
    store.networks.add(
        Network(network, *owner, "net6", mode, prefix6="2001:db8::", only_grows=grows)
    )
    store.images.add(Image(image, *owner, "file", mode))
    roles = parse('ROLE=[NAME="one"]')
    store.vm_groups.add(VmGroup(vm_group, *owner, "group", mode, template=roles))


def apply(moment: dict[str, Any], sandbox: Sandbox) -> None:
    """Make drivers slow or failing, or steps shorter or longer."""
    if "driver" in moment:
        change = {name: moment[name] for name in ("fails", "slow_seconds") if name in moment}
        sandbox.faults.drivers.set(moment["driver"], **change)
    else:
        sandbox.timings = replace(sandbox.timings, **moment["timings"])
