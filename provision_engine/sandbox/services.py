"""oneflow's services: how they are deployed, watched, recovered and undeployed.

`FOLLOWS` says how the state of a service follows those of its VMs. ``role_vms.py`` creates and ends
the VMs.
"""

from __future__ import annotations

import copy
from contextlib import suppress
from dataclasses import replace
from typing import NamedTuple

from provision_engine.sandbox import flow_values, names, states
from provision_engine.sandbox.errors import OneError
from provision_engine.sandbox.lifecycle import Lifecycle
from provision_engine.sandbox.machines import Machines
from provision_engine.sandbox.permissions import MANAGE, allowed
from provision_engine.sandbox.role_vms import DeploymentDied, RoleVms
from provision_engine.sandbox.service_body import (
    UNEXPECTED,
    Crash,
    Json,
    NoResponse,
    Service,
    ServiceError,
    ServiceState,
    compact,
    node_ids,
    nodes_of,
)
from provision_engine.sandbox.states import PASSING_WHILE_UP, position_of
from provision_engine.sandbox.store import (
    SERVICE,
    Document,
    Store,
    User,
    Vm,
)
from provision_engine.sandbox.template import Template

S = ServiceState
CAN_UNDEPLOY = frozenset({S.PENDING, S.RUNNING, S.UNDEPLOYING, S.WARNING, S.HOLD})
CAN_RECOVER_DEPLOY = frozenset({S.PENDING, S.DEPLOYING, S.FAILED_DEPLOYING})
CAN_RECOVER_UNDEPLOY = frozenset({S.UNDEPLOYING, S.FAILED_UNDEPLOYING})
ONEFLOW_USER = 1
_ENDING = frozenset({S.UNDEPLOYING, S.FAILED_UNDEPLOYING, S.DONE})
"""States of roles that another DELETE does not end again."""


class Follows(NamedTuple):
    """A role in `state` whose VMs meet the condition `vms` changes to the state `to`."""

    state: ServiceState
    vms: str
    to: ServiceState
    is_slow: bool = False
    """Does oneflow notice it only after `service_failure_seconds`?"""


FOLLOWS = (
    Follows(S.DEPLOYING, "all deployed", S.RUNNING),
    Follows(S.DEPLOYING, "one failed", S.FAILED_DEPLOYING, is_slow=True),
    Follows(S.RUNNING, "one in trouble", S.WARNING),
    Follows(S.WARNING, "all up", S.RUNNING),
    Follows(S.SCALING, "all up", S.COOLDOWN),
)
_UP = frozenset({states.RUNNING, *PASSING_WHILE_UP})
_DEPLOYED_BUT_STOPPED = frozenset(
    {states.POWEROFF, states.SUSPENDED, states.STOPPED, states.UNDEPLOYED, states.DONE}
)
"""Positions in which a VM counts as deployed although it is not running."""
_NOTICED = states.TROUBLE | _DEPLOYED_BUT_STOPPED | {states.RUNNING}


class Services:
    """All services: the steps that oneflow takes by itself, and those that callers request."""

    def __init__(self, store: Store, machines: Machines, vms: Lifecycle) -> None:
        self._store = store
        self._role_vms = RoleVms(store, machines, vms)
        self._parsed: dict[int, Service] = {}
        self.is_killed = False

    def get(self, document: Document) -> Service:
        """The service of a document, parsed again if the document has changed."""
        service = self._parsed.get(document.id)
        if (
            service is None
            or service.document is not document
            or service.text != document.template.text("BODY")
        ):
            service = self._parsed[document.id] = Service(document)
        return service

    def get_for(self, document: Document, user: User) -> Service:
        """The service of a document; a copy, so that changes are lost, unless the user may MANAGE.

        oneflow begins to undeploy even then (scenario services-by-mode).
        """
        service = self.get(document)
        if allowed(user, document, MANAGE):
            return service
        return Service(replace(document, template=document.template.copy()))

    def _find(self, service_id: int) -> Service | None:
        """None if there is no such service, or if oneflow cannot read it."""
        document = self._store.documents.find(service_id)
        if document is None or document.type != SERVICE:
            return None
        try:
            return self.get(document)
        except (Crash, NoResponse):
            return None

    # ---- oneflow is killed, and started again ------------------------------------------------

    def kill(self) -> None:
        """Ends oneflow in the middle of each deployment: its VMs are in no service's document.

        What it knew of all others is gone with it.
        """
        for service in self._in(S.DEPLOYING_NETS):
            with suppress(OneError, Crash, DeploymentDied, *UNEXPECTED):
                self._deploy_roles(service, self._store.owner_of(service.document))
        self._parsed.clear()
        self.is_killed = True

    def catch_up(self) -> None:
        """Starts oneflow: it goes on with services on their way, with its own credentials."""
        self.is_killed = False
        for service in self._in(S.DEPLOYING_NETS, S.DEPLOYING):
            with suppress(OneError, Crash, *UNEXPECTED):
                self.deploy(service.id, self._store.users.get(ONEFLOW_USER))
        for service in self._in(S.UNDEPLOYING_NETS):
            self._store.agenda.put(0.0, "service-gone", service.id)
        for service in self._in(S.DEPLOYING, S.RUNNING, S.WARNING, S.UNDEPLOYING, S.SCALING):
            self._store.agenda.put(0.0, "service-watch", service.id)

    def _in(self, *wanted: ServiceState) -> list[Service]:
        found = [self._find(document.id) for document in self._store.documents.all(SERVICE)]
        return [service for service in found if service is not None and service.state in wanted]

    # ---- deployment --------------------------------------------------------------------------

    def create(self, owner: User, body: Json) -> Service:
        """Creates a service from a merged body; its VMs are created a little later.

        OneError if its name is not allowed.
        """
        name = str(body.get("name", ""))
        names.check_flow_name(name)
        allocated = self._store.authorization(owner).needs_creation("DOCUMENT")
        try:
            allocated.check()
        except OneError as error:
            raise OneError(error.code, f"[one.document.allocate] {error.message}") from None
        for role in body["roles"]:
            role["state"] = int(S.PENDING)
        body |= {"state": int(S.PENDING), "start_time": self._store.agenda.seconds()}
        content = Template([("BODY", compact(body))])
        document = self._store.new_document(owner, SERVICE, name, content)
        self._store.agenda.put(0.0, "service-nets", document.id)
        return self.get(document)

    def deploy_nets(self, service_id: int) -> None:
        """Starts the deployment: DEPLOYING_NETS."""
        service = self._find(service_id)
        if service is None or service.state != S.PENDING:
            return
        for role in service.roles:
            del role["nodes"]
            for member, default in self._store.release.role_defaults:
                role.setdefault(member, copy.copy(default))
        flow_values.resolve_early(self._store.release, service.body)
        self._enter(service, S.DEPLOYING_NETS)
        self._store.agenda.put(
            self._store.timings.vms_visible_seconds, "service-deploy", service_id
        )

    def deploy(self, service_id: int, user: User | None = None) -> None:
        """Creates the VMs, as the service's owner or another user.

        FAILED_DEPLOYING after the first that oned refuses.
        """
        service = self._find(service_id)
        if service is None or service.state not in CAN_RECOVER_DEPLOY | {S.DEPLOYING_NETS}:
            return
        try:
            is_deployed = self._deploy_roles(
                service, user or self._store.owner_of(service.document)
            )
        except DeploymentDied:
            self._parsed.pop(service_id)  # drops the changes that were not saved
            return
        if not service.roles:
            self._enter(service, S.RUNNING)
        elif not is_deployed:
            self._enter(service, S.FAILED_DEPLOYING)
        elif service.state != S.DEPLOYING:
            self._enter(service, S.DEPLOYING)

    def _deploy_roles(self, service: Service, user: User) -> bool:
        flow_values.resolve_late(self._store.release, service.body)
        return all(self._deploy_role(service, role, user) for role in self._next_roles(service))

    def _next_roles(self, service: Service) -> list[Json]:
        """The roles without VMs whose parents, if any, are RUNNING."""
        running = {r.get("name") for r in service.roles if r.get("state") == S.RUNNING}
        return [
            role
            for role in service.roles
            if not role.get("nodes") and set(role.get("parents") or ()) <= running
        ]

    def _deploy_role(self, service: Service, role: Json, user: User) -> bool:
        self._role_vms.prepare_contents(user, role)
        return self._role_vms.create(service, role, 0, int(role.get("cardinality", 1)), user)

    # ---- watching ----------------------------------------------------------------------------

    def vm_changed(self, vm: Vm) -> None:
        """Schedules a check of the VM's service, if the change matters to it."""
        if vm.service_id is None:
            return
        timings = self._store.timings
        here = position_of(vm)
        if here not in _NOTICED:
            return
        self._store.agenda.put(timings.service_notice_seconds, "service-watch", vm.service_id)
        if here in states.FAILURES:
            self._store.agenda.put(timings.service_failure_seconds, "service-failed", vm.service_id)

    def watch(self, service_id: int, failures: bool = False) -> None:
        """Updates the state of a service from the states of its VMs."""
        service = self._find(service_id)
        if service is None:
            return
        if service.state in (S.RUNNING, S.WARNING):
            self._drop_ended_vms(service)
        if service.state == S.UNDEPLOYING:
            self._roles_ended(service, failures)
        for follows in FOLLOWS:
            if service.state == follows.state and (failures or not follows.is_slow):
                self._follow(service, follows)

    def _drop_ended_vms(self, service: Service) -> None:
        """Removes VMs that are DONE from their roles; the service stays, even without VMs."""
        ended = [
            (role, node)
            for role in service.roles
            for node in nodes_of(role)
            if not self._is_alive(node["deploy_id"])
        ]
        for role, node in ended:
            before, role["cardinality"] = role["cardinality"], max(0, role["cardinality"] - 1)
            role["nodes"].remove(node)
            self._log_scaling(service, role, "down", before)
        if ended and service.body.get("automatic_deletion") and not any(service.vm_ids()):
            self.undeploy(service, self._store.users.get(0))
        elif ended:
            self._store.agenda.put(
                self._store.timings.autoscale_seconds, "service-scale", service.id
            )

    def scale_up(self, service_id: int) -> None:
        """The autoscaler: creates VMs for roles that have fewer than their `min_vms`.

        So a VM that ends is replaced if its service stays (scenario
        vm-is-replaced-by-its-service).
        """
        service = self._find(service_id)
        if service is None or service.state != S.RUNNING:
            return
        short = [r for r in service.roles if r["cardinality"] < int(r.get("min_vms") or 0)]
        for role in short:
            before, role["cardinality"] = role["cardinality"], int(role["min_vms"])
            self._log_scaling(service, role, "up", before)
            owner, more = self._store.owner_of(service.document), role["cardinality"] - before
            self._role_vms.create(service, role, role["last_vmname"], more, owner)
            role |= {"state": int(S.SCALING), "cooldown": 0, "scale_way": 0}
        if short:
            self._enter(service, S.SCALING)

    def cooled_down(self, service_id: int) -> None:
        """Ends the cooldown of a service that was scaled up: RUNNING."""
        service = self._find(service_id)
        if service is not None and service.state == S.COOLDOWN:
            for role in service.roles:
                role["state"] = int(S.RUNNING)
            self._enter(service, S.RUNNING)
            self.watch(service.id)

    def _is_alive(self, vm_id: int) -> bool:
        vm = self._store.vms.find(vm_id)
        return vm is not None and position_of(vm) != states.DONE

    def _roles_ended(self, service: Service, failures: bool) -> None:
        for role in service.roles:
            if role.get("state") != S.UNDEPLOYING:
                continue
            vms = [self._store.vms.find(number) for number in node_ids(role)]
            positions = {position_of(vm) for vm in vms if vm is not None}
            if failures and positions & states.FAILURES:
                role["state"] = int(S.FAILED_UNDEPLOYING)
                self._enter(service, S.FAILED_UNDEPLOYING)
            elif positions <= {states.DONE}:
                self._role_ended(service, role)

    def _role_ended(self, service: Service, role: Json) -> None:
        if all(r is role or r.get("state") == S.DONE for r in service.roles):
            # In the recordings this state appears neither in the log nor in the roles.
            service.body["state"] = int(S.UNDEPLOYING_NETS)
            service.save()
            self._store.agenda.put(self._store.timings.nets_seconds, "service-gone", service.id)
            return
        role |= {"state": int(S.DONE), "nodes": []}
        self._end_roles(service, self._store.owner_of(service.document))
        service.save()

    def _follow(self, service: Service, follows: Follows) -> None:
        changed = False
        for role in service.roles:
            if role.get("state") == follows.state and self._role_is(service, role, follows.vms):
                role["state"] = int(follows.to)
                changed = True
        if not changed:
            return
        if follows.to == S.RUNNING and self._next_roles(service):
            self._store.agenda.put(0.0, "service-deploy", service.id)
        if follows.to == S.COOLDOWN:
            notice = self._store.timings.service_notice_seconds
            self._store.agenda.put(notice, "service-cooled", service.id)
        if follows.to != S.RUNNING or all(r["state"] == S.RUNNING for r in service.roles):
            self._enter(service, follows.to)
            if service.state == S.RUNNING:
                self.watch(service.id)
        else:
            service.save()

    def _role_is(self, service: Service, role: Json, condition: str) -> bool:
        vms = [self._store.vms.find(number) for number in node_ids(role)]
        live = [vm for vm in vms if vm is not None]
        positions = [position_of(vm) for vm in live]
        if condition == "one failed":
            return any(position in states.FAILURES for position in positions)
        if condition == "one in trouble":
            return any(position in states.TROUBLE for position in positions)
        if condition == "all up":
            return bool(live) and all(position in _UP for position in positions)
        gate = bool(service.body.get("ready_status_gate"))
        return bool(live) and all(self._is_deployed(vm, gate) for vm in live)

    def _is_deployed(self, vm: Vm, gate: bool) -> bool:
        position = position_of(vm)
        if position in _DEPLOYED_BUT_STOPPED:
            return True
        return position in _UP and (not gate or vm.user_template.text("READY") == "YES")

    # ---- undeployment and recovery -------------------------------------------------------------

    def undeploy(self, service: Service, user: User, is_forced: bool = False) -> None:
        """DELETE, or (if forced) recover with delete: ends the VMs.

        Roles that a previous DELETE tried to end are skipped, whatever the states of their VMs; if
        none is left, the service just disappears (scenarios delete-while-booting, slow-shutdown).
        ServiceError if the state of the service or of a VM does not allow it.
        """
        if service.state not in CAN_UNDEPLOY and not is_forced:
            raise ServiceError(f"Service cannot be undeployed in state: {service.state_name}")
        if not self._roles_to_end(service):
            self._forget(service)
            return
        refused = self._end_roles(service, user)
        self._enter(service, S.FAILED_UNDEPLOYING if refused else S.UNDEPLOYING)
        if refused:
            raise ServiceError(
                f"Error undeploying role {refused}: Error undeploying nodes for role `{refused}`"
            )
        delay = self._store.timings.service_notice_seconds
        self._store.agenda.put(delay, "service-watch", service.id)

    def _roles_to_end(self, service: Service) -> list[Json]:
        """The roles to end next: not tried yet, and without children that still have to end."""
        needed = {
            parent
            for role in service.roles
            if role.get("state") != S.DONE
            for parent in role.get("parents") or ()
        }
        return [
            role
            for role in service.roles
            if role.get("state") not in _ENDING and role.get("name") not in needed
        ]

    def _end_roles(self, service: Service, user: User) -> str | None:
        """Ends the VMs of the next roles; returns the name of the role that fails, or None."""
        for role in self._roles_to_end(service):
            ended = [self._role_vms.end(service, role, number, user) for number in node_ids(role)]
            role["state"] = int(S.UNDEPLOYING if all(ended) else S.FAILED_UNDEPLOYING)
            if not all(ended):
                return str(role["name"])
        return None

    def recover(self, service: Service, user: User) -> None:
        """Retries what failed; ServiceError in a state without a failure."""
        if service.state in CAN_RECOVER_DEPLOY:
            self._recover_deploy(service, user)
        elif service.state in CAN_RECOVER_UNDEPLOY:
            for role in service.roles:
                if role.get("state") == S.FAILED_UNDEPLOYING:
                    role["state"] = int(S.RUNNING)
            service.body["state"] = int(S.RUNNING)
            self.undeploy(service, user)
        elif service.state == S.DEPLOYING_NETS:
            self._store.agenda.put(0.0, "service-deploy", service.id)
        elif service.state == S.UNDEPLOYING_NETS:
            self._store.agenda.put(0.0, "service-gone", service.id)
        else:
            raise ServiceError(f"Service cannot be recovered in state: {service.state_name}")

    def _recover_deploy(self, service: Service, user: User) -> None:
        tried = [
            self._role_vms.retry(service, role, vm_id, user)
            for role in service.roles
            for vm_id in node_ids(role)
        ]
        if not all(r.get("nodes") for r in service.roles):
            self._store.agenda.put(0.0, "service-deploy", service.id)
        elif tried and not all(tried):
            # oneflow assumes success, and then notices the VMs (scenario vm-boot-failure).
            for role in service.roles:
                role["state"] = int(S.RUNNING)
            self._enter(service, S.RUNNING)
            self.watch(service.id)
        else:
            for role in service.roles:
                role["state"] = int(S.DEPLOYING)
            if service.state != S.DEPLOYING:
                self._enter(service, S.DEPLOYING)

    def gone(self, service_id: int) -> None:
        """Deletes the document, once the networks are gone too."""
        service = self._find(service_id)
        if service is not None and service.state in (S.UNDEPLOYING, S.UNDEPLOYING_NETS):
            self._forget(service)

    def _forget(self, service: Service) -> None:
        if self._store.documents.find(service.id) is service.document:
            self._parsed.pop(service.id, None)
            self._store.documents.remove(service.document)

    # ---- state -----------------------------------------------------------------------------------

    def _enter(self, service: Service, state: ServiceState) -> None:
        service.body["state"] = int(state)
        service.log(self._store.agenda.seconds(), "I", f"New state: {state.name}")

    def _log_scaling(self, service: Service, role: Json, direction: str, before: int) -> None:
        counts = f"from {before} to {role['cardinality']} nodes"
        message = f"Role {role['name']} scaling {direction} {counts}"
        service.log(self._store.agenda.seconds(), "I", message)
