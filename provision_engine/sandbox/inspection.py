"""Direct access to the store for tests: small methods that inspect it or set it up."""

from __future__ import annotations

import json
from typing import Any

from provision_engine.sandbox import population, render, seeds, states
from provision_engine.sandbox.states import position_of, state_name
from provision_engine.sandbox.store import (
    RUNTIME,
    SERVICE,
    SERVICE_TEMPLATE,
    Document,
    Host,
    User,
    Vm,
    VmTemplate,
)
from provision_engine.sandbox.template import parse
from provision_engine.sandbox.world import World


class Inspection:
    """Inspects and sets up a world; each method first carries out all due steps."""

    def __init__(self, world: World) -> None:
        self._world = world

    # ---- inspection ------------------------------------------------------------------------------

    def documents(self, kind: int = RUNTIME) -> list[Document]:
        """The documents of a type, the oldest first."""
        with self._world.moment():
            return list(self._world.store.documents.all(kind))

    def services(self) -> list[dict[str, Any]]:
        """The bodies of all services, each with its `id`."""
        found = self.documents(SERVICE)
        return [_parsed(d.template.text("BODY") or "{}") | {"id": d.id} for d in found]

    def service(self, service_id: int) -> dict[str, Any] | None:
        """The body of a service, or None if there is no such service."""
        return next((body for body in self.services() if body["id"] == service_id), None)

    def flow_templates(self) -> dict[str, int]:
        """Names and ids of the flow templates."""
        return {d.name: d.id for d in self.documents(SERVICE_TEMPLATE)}

    def live_vms(self) -> list[Vm]:
        """The VMs that are not DONE, the oldest first."""
        with self._world.moment():
            return list(self._world.store.live_vms.values())

    def living_vms(self) -> dict[int, str]:
        """The states of the VMs that are not DONE, by id, with or without a service."""
        return {vm.id: state_name(vm) for vm in self.live_vms()}

    def orphaned_vms(self) -> list[int]:
        """The live VMs of services whose documents are gone."""
        services = {document.id for document in self.documents(SERVICE)}
        return [
            vm.id
            for vm in self.live_vms()
            if vm.service_id is not None and vm.service_id not in services
        ]

    def vm(self, vm_id: int) -> Vm:
        """A VM, DONE or not; OneError if it does not exist."""
        with self._world.moment():
            return self._world.store.vms.get(vm_id)

    def vm_state(self, vm_id: int) -> str:
        """The state of a VM by the name oned gives it: RUNNING, POWEROFF, HOTPLUG_RESIZE …"""
        return state_name(self.vm(vm_id))

    def vm_xml(self, vm_id: int) -> str:
        """A VM as in the response of one.vm.info."""
        return render.vm(self._world.store, self.vm(vm_id))

    def user(self, name: str) -> User:
        """A user; KeyError if it does not exist."""
        return self._world.store.users_by_name[name]

    def hosts(self) -> list[Host]:
        """The hosts, with the capacity in use on each."""
        with self._world.moment():
            return list(self._world.store.hosts)

    def count(self) -> dict[str, int]:
        """The numbers of runtimes, services and live VMs, to check that nothing is left behind."""
        return {
            "runtimes": len(self.documents(RUNTIME)),
            "services": len(self.documents(SERVICE)),
            "vms": len(self.live_vms()),
        }

    # ---- set-up ----------------------------------------------------------------------------------

    def add_user(self, name: str, password: str, gid: int = 1) -> int:
        """Adds a user and returns its id."""
        with self._world.moment():
            return self._world.store.add_user(name, password, gid).id

    def set_quota(self, user_name: str, **limits: float) -> None:
        """Sets limits by metric, e.g. ``VMS=1, CPU=4, MEMORY=1024``; -1 means unlimited."""
        with self._world.moment():
            quotas = self.user(user_name).quotas
            quotas.set_limits({metric: str(limit) for metric, limit in limits.items()})

    def add_flow_template(
        self,
        name: str,
        roles: list[tuple[str, int]] | list[dict[str, Any]],
        owner: str = "oneadmin",
        is_public: bool = True,
    ) -> int:
        """Adds a flow template and returns its id.

        Roles are pairs of name and VM template id, or whole roles.
        """
        with self._world.moment():
            cloud = self._world.store
            whole = [r if isinstance(r, dict) else seeds.role(cloud, *r) for r in roles]
            return seeds.add_flow(cloud, self.user(owner), name, whole, is_public)

    def add_vm_template(
        self, name: str, text: str, owner: str = "oneadmin", is_public: bool = True
    ) -> VmTemplate:
        """Adds a VM template, given in template syntax."""
        with self._world.moment():
            cloud = self._world.store
            return seeds.add_vm_template(cloud, self.user(owner), name, text, is_public)

    def vm_template(self, template_id: int) -> VmTemplate:
        """A VM template; OneError if it does not exist."""
        with self._world.moment():
            return self._world.store.vm_templates.get(template_id)

    def set_vm_template(self, template_id: int, text: str) -> None:
        """Replaces the attributes of a VM template."""
        with self._world.moment():
            self._world.store.vm_templates.get(template_id).template = parse(text)

    def set_user_template(self, vm_id: int, text: str) -> None:
        """Merges attributes into a VM's user template, as the VM itself may (``READY="YES"``)."""
        with self._world.moment():
            vm = self._world.store.vms.get(vm_id)
            vm.user_template = vm.user_template.merged(parse(text))
            vm.changed()
            self._world.user_template_changed(vm)

    def put_vm(self, vm_id: int, state: str, stays: bool = False) -> None:
        """Puts a VM into a state that an accident would cause: POWEROFF, UNKNOWN, BOOT_FAILURE …

        It leaves a transient state according to the timings, unless it `stays`.
        """
        with self._world.moment():
            vm = self._world.store.vms.get(vm_id)
            if state in states.LcmState.__members__:
                to = states.VmState.ACTIVE, states.LcmState[state]
            else:
                to = states.VmState[state], states.LcmState.LCM_INIT
            if to != position_of(vm):
                self._world.vms.enter(vm, to)
            if stays:
                vm.step += 1  # so that the scheduled step is skipped

    def set_hosts(self, count: int, cpu_percent: int = 800, memory_kb: int = 16_777_216) -> None:
        """Replaces the hosts; only while no VM runs."""
        with self._world.moment():
            self._world.store.hosts = [
                Host(i, f"host{i:02}", cpu_percent, memory_kb) for i in range(count)
            ]

    def populate(
        self,
        users: int,
        runtimes: int,
        flow_templates: int,
        body: population.RuntimeBody = population.plain_body,
    ) -> None:
        """Adds users (user0/pass0 …), running runtimes and flow templates (flavour0 …).

        `body` makes the BODY of a runtime's document from its name, service id and VM id.
        """
        population.populate(self._world, users, runtimes, flow_templates, body)


def _parsed(text: str) -> dict[str, Any]:
    """A BODY; empty if somebody wrote one that is not a JSON object."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    return value if isinstance(value, dict) else {}
