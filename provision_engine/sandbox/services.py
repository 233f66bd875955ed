"""oneflow's services: how they deploy, run, fail, recover and go.

`FOLLOWS` says what a service's state becomes when the VMs of its roles have come to a state; the
rest of the file makes and ends the VMs and writes the service's log.
"""

from __future__ import annotations

from typing import NamedTuple

from provision_engine.sandbox import errors, states, template
from provision_engine.sandbox.errors import OneError
from provision_engine.sandbox.lifecycle import Lifecycle
from provision_engine.sandbox.machines import Machines
from provision_engine.sandbox.service_body import (
    Json,
    Service,
    ServiceError,
    ServiceState,
    compact,
    contents_text,
    node_of,
    substitute,
)
from provision_engine.sandbox.states import PASSING_WHILE_UP, position_of
from provision_engine.sandbox.store import (
    ADMIN,
    MANAGE,
    SERVICE,
    USE,
    Document,
    Store,
    User,
    Vm,
    VmTemplate,
    allowed,
    not_authorized,
)
from provision_engine.sandbox.template import Template, TemplateError

S = ServiceState
CAN_UNDEPLOY = frozenset({S.PENDING, S.RUNNING, S.UNDEPLOYING, S.WARNING, S.HOLD})
CAN_RECOVER_DEPLOY = frozenset({S.PENDING, S.DEPLOYING, S.FAILED_DEPLOYING})
CAN_RECOVER_UNDEPLOY = frozenset({S.UNDEPLOYING, S.FAILED_UNDEPLOYING})
_ENDING = frozenset({S.UNDEPLOYING, S.FAILED_UNDEPLOYING, S.DONE})
"""States of roles that a further DELETE leaves alone."""


class Follows(NamedTuple):
    """If, in `state`, the VMs of a role are all (or one of them is) so, the role gets `to`."""

    state: ServiceState
    vms: str
    to: ServiceState
    is_slow: bool = False
    """Is it noticed only after `service_failure_seconds`?"""


FOLLOWS = (
    Follows(S.DEPLOYING, "all deployed", S.RUNNING),
    Follows(S.DEPLOYING, "one failed", S.FAILED_DEPLOYING, is_slow=True),
    Follows(S.RUNNING, "one in trouble", S.WARNING),
    Follows(S.WARNING, "all up", S.RUNNING),
)
_UP = frozenset({states.RUNNING, *PASSING_WHILE_UP})
_ENOUGH = frozenset(
    {states.POWEROFF, states.SUSPENDED, states.STOPPED, states.UNDEPLOYED, states.DONE}
)
"""Where a VM counts as deployed without running."""
_NOTICED = states.TROUBLE | _ENOUGH | {states.RUNNING}


class _DeploymentDied(Exception):
    """oneflow's deployment thread ended by an error of its own: nobody writes the state."""


class Services:
    """All services; what oneflow does by itself and what it is asked for."""

    def __init__(self, store: Store, machines: Machines, vms: Lifecycle) -> None:
        self._store = store
        self._machines = machines
        self._vms = vms
        self._read: dict[int, Service] = {}

    def get(self, document: Document) -> Service:
        """The service of a document, read again if somebody changed the document."""
        service = self._read.get(document.id)
        if (
            service is None
            or service.document is not document
            or service.text != document.template.text("BODY")
        ):
            service = self._read[document.id] = Service(document)
        return service

    def _find(self, service_id: int) -> Service | None:
        document = self._store.documents.find(service_id)
        return self.get(document) if document is not None and document.type == SERVICE else None

    # ---- birth -------------------------------------------------------------------------------

    def create(self, owner: User, body: Json) -> Service:
        """A service of a body that is merged already; its VMs come a little later."""
        for role in body["roles"]:
            role["state"] = int(S.PENDING)
        body |= {"state": int(S.PENDING), "start_time": self._store.agenda.seconds()}
        content = Template([("BODY", compact(body))])
        document = self._store.new_document(owner, SERVICE, str(body.get("name", "")), content)
        self._store.agenda.put(0.0, "service-nets", document.id)
        return self.get(document)

    def deploy_nets(self, service_id: int) -> None:
        """oneflow has begun: DEPLOYING_NETS."""
        service = self._find(service_id)
        if service is None or service.state != S.PENDING:
            return
        for role in service.roles:
            role |= {"nodes": [], "on_hold": False}
        self._enter(service, S.DEPLOYING_NETS)
        self._store.agenda.put(
            self._store.timings.vms_visible_seconds, "service-deploy", service_id
        )

    def deploy(self, service_id: int) -> None:
        """The VMs are made; the first refusal makes the service FAILED_DEPLOYING."""
        service = self._find(service_id)
        if service is None or service.state not in CAN_RECOVER_DEPLOY | {S.DEPLOYING_NETS}:
            return
        try:
            is_deployed = all(self._deploy_role(service, r) for r in self._next_roles(service))
        except _DeploymentDied:
            self._read.pop(service_id)  # what was not saved is lost
            return
        if not is_deployed:
            self._enter(service, S.FAILED_DEPLOYING)
        elif service.state != S.DEPLOYING:
            self._enter(service, S.DEPLOYING)

    def _next_roles(self, service: Service) -> list[Json]:
        """Roles without VMs whose parents, if any, run already."""
        running = {r["name"] for r in service.roles if r.get("state") == S.RUNNING}
        return [
            role
            for role in service.roles
            if not role.get("nodes") and set(role.get("parents") or ()) <= running
        ]

    def _deploy_role(self, service: Service, role: Json) -> bool:
        owner = self._store.users[service.document.uid]
        self._prepare_contents(owner, role)
        for number in range(int(role.get("cardinality", 1))):
            role["last_vmname"] = number + 1
            try:
                name = f"{role['name']}_{number}_(service_{service.id})"
                vm = self._instantiate(owner, service, role, name)
            except OneError as error:
                self._log(
                    service,
                    "E",
                    f"Role {role['name']} : Instantiate failed for template"
                    f" {self._template_text(role)}; [one.template.instantiate] {error.message}",
                )
                role["state"] = int(S.FAILED_DEPLOYING)
                return False
            role["nodes"].append(node_of(vm))
        role["state"] = int(S.DEPLOYING)
        return True

    def _prepare_contents(self, owner: User, role: Json) -> None:
        """7.x reads the VM template first where a role has contents, and dies if it may not.

        Scenario missing-vm-template-with-contents: the service stays in DEPLOYING_NETS for ever.
        """
        if not self._store.release.contents_are_object:
            return
        if not role.setdefault(self._store.release.role_contents_key, {}):
            return
        try:
            self._vm_template(owner, role)
        except OneError as error:
            raise _DeploymentDied from error

    def _vm_template(self, owner: User, role: Json) -> VmTemplate:
        wanted = role.get(self._store.release.role_template_key)
        source = self._store.vm_templates.get(wanted if isinstance(wanted, int) else -1)
        self._store.authorize(owner, source, USE, "TEMPLATE")
        return source

    def _template_text(self, role: Json) -> str:
        value = role.get(self._store.release.role_template_key)
        return "" if value is None else str(value)

    def _instantiate(self, owner: User, service: Service, role: Json, name: str) -> Vm:
        source = self._vm_template(owner, role)
        text = contents_text(role, service.id, self._store.release.contents_are_object)
        try:
            extra = template.parse(text)
        except TemplateError as error:
            raise OneError(errors.INTERNAL, str(error)) from None
        substitute(extra, self._store.release.strips_substituted)
        vm = self._machines.create(owner, source, extra, name)
        vm.service_id = service.id
        return vm

    # ---- watching ----------------------------------------------------------------------------

    def vm_changed(self, vm: Vm) -> None:
        """oneflow will notice this in a moment."""
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
        """Looks at the VMs of a service and lets its state follow."""
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
        """A VM that is DONE leaves its role; the service stays in its state, even without VMs."""
        changed = False
        for role in service.roles:
            nodes = role.get("nodes", [])
            living = [node for node in nodes if self._is_alive(node["deploy_id"])]
            if len(living) < len(nodes):
                role["cardinality"] = max(0, role["cardinality"] - len(nodes) + len(living))
                role["nodes"] = living
                changed = True
        if changed:
            service.save()
            if service.body.get("automatic_deletion") and not any(service.vm_ids()):
                self.undeploy(service, self._store.users[0])

    def _is_alive(self, vm_id: int) -> bool:
        vm = self._store.vms.find(vm_id)
        return vm is not None and position_of(vm) != states.DONE

    def _roles_ended(self, service: Service, failures: bool) -> None:
        for role in service.roles:
            if role.get("state") != S.UNDEPLOYING:
                continue
            vms = [self._store.vms.find(number) for number in _node_ids(role)]
            places = {position_of(vm) for vm in vms if vm is not None}
            if failures and places & states.FAILURES:
                role["state"] = int(S.FAILED_UNDEPLOYING)
                self._enter(service, S.FAILED_UNDEPLOYING)
            elif places <= {states.DONE}:
                self._role_ended(service, role)

    def _role_ended(self, service: Service, role: Json) -> None:
        if all(r is role or r.get("state") == S.DONE for r in service.roles):
            # Neither the log nor the roles tell of this state: nobody has seen them do so.
            service.body["state"] = int(S.UNDEPLOYING_NETS)
            service.save()
            self._store.agenda.put(self._store.timings.nets_seconds, "service-gone", service.id)
            return
        role |= {"state": int(S.DONE), "nodes": []}
        self._end_roles(service, self._store.users[service.document.uid])
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
        if follows.to != S.RUNNING or all(r["state"] == S.RUNNING for r in service.roles):
            self._enter(service, follows.to)
            if service.state == S.RUNNING:
                self.watch(service.id)
        else:
            service.save()

    def _role_is(self, service: Service, role: Json, condition: str) -> bool:
        vms = [self._store.vms.find(number) for number in _node_ids(role)]
        live = [vm for vm in vms if vm is not None]
        places = [position_of(vm) for vm in live]
        if condition == "one failed":
            return any(place in states.FAILURES for place in places)
        if condition == "one in trouble":
            return any(place in states.TROUBLE for place in places)
        if condition == "all up":
            return bool(live) and all(place in _UP for place in places)
        gate = bool(service.body.get("ready_status_gate"))
        return bool(live) and all(self._is_deployed(vm, gate) for vm in live)

    def _is_deployed(self, vm: Vm, gate: bool) -> bool:
        place = position_of(vm)
        if place in _ENOUGH:
            return True
        return place in _UP and (not gate or vm.user_template.text("READY") == "YES")

    # ---- what it is asked for ------------------------------------------------------------------

    def undeploy(self, service: Service, user: User, is_forced: bool = False) -> None:
        """DELETE, or recover with delete if forced: ends the VMs.

        Roles that were to be ended before are not looked at again, whatever became of their VMs:
        the service then just vanishes (scenarios delete-while-booting, slow-shutdown).
        ServiceError if the service or a VM is not in a state for it.
        """
        if service.state not in CAN_UNDEPLOY and not is_forced:
            raise ServiceError(f"Service cannot be undeployed in state: {service.state.name}")
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
        """Roles that nobody has tried to end; parents come after their children."""
        needed = {
            parent
            for role in service.roles
            if role.get("state") != S.DONE
            for parent in role.get("parents") or ()
        }
        return [
            role
            for role in service.roles
            if role.get("state") not in _ENDING and role["name"] not in needed
        ]

    def _end_roles(self, service: Service, user: User) -> str | None:
        """Ends the VMs of the roles whose turn it is; the name of the first that refuses."""
        for role in self._roles_to_end(service):
            ended = [self._end(service, role, number, user) for number in _node_ids(role)]
            role["state"] = int(S.UNDEPLOYING if all(ended) else S.FAILED_UNDEPLOYING)
            if not all(ended):
                return str(role["name"])
        return None

    def _end(self, service: Service, role: Json, vm_id: int, user: User) -> bool:
        vm = self._store.vms.get(vm_id)
        refusal = self._refused(vm, "terminate", user)
        if refusal is None:
            return True
        who = f"Role {role['name']} :"
        self._log(
            service,
            "E",
            f"{who} Terminate failed for VM {vm_id}, will perform a Delete;"
            f" [one.vm.action] {refusal.message}",
        )
        if self._refused(vm, "terminate-hard", user) is None:
            return True
        return self._delete(service, who, vm, user)

    def _refused(self, vm: Vm, action: str, user: User) -> OneError | None:
        try:
            self._store.authorize(user, vm, MANAGE, "VM")
            self._vms.act(vm, action, user, self._store.current_request_id)
        except OneError as error:
            return error
        return None

    def _delete(self, service: Service, who: str, vm: Vm, user: User) -> bool:
        if allowed(user, vm, ADMIN):
            self._vms.delete(vm, user, self._store.current_request_id)
            return True
        refusal = not_authorized(user, ADMIN, "VM", vm.id).message
        self._log(service, "E", f"{who} Delete failed for VM {vm.id}; [one.vm.recover] {refusal}")
        return False

    def recover(self, service: Service, user: User) -> None:
        """Tries again what failed; ServiceError in a state in which nothing failed."""
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
            raise ServiceError(f"Service cannot be recovered in state: {service.state.name}")

    def _recover_deploy(self, service: Service, user: User) -> None:
        tried = [self._retry(service, r, i, user) for r in service.roles for i in _node_ids(r)]
        if not all(r.get("nodes") for r in service.roles):
            self._store.agenda.put(0.0, "service-deploy", service.id)
        elif tried and not all(tried):
            # oneflow believes in its retries, and then sees the VMs (scenario vm-boot-failure).
            for role in service.roles:
                role["state"] = int(S.RUNNING)
            self._enter(service, S.RUNNING)
            self.watch(service.id)
        else:
            for role in service.roles:
                role["state"] = int(S.DEPLOYING)
            self._enter(service, S.DEPLOYING)

    def _retry(self, service: Service, role: Json, vm_id: int, user: User) -> bool:
        vm = self._store.vms.get(vm_id)
        if position_of(vm) not in states.FAILURES:
            return True
        if allowed(user, vm, ADMIN):
            request = self._store.current_request_id
            self._vms.recover(vm, states.RECOVER_RETRY, user, request)
            return True
        refusal = not_authorized(user, ADMIN, "VM", vm.id).message
        self._log(
            service,
            "E",
            f"Role {role['name']} : Retry failed for VM {vm_id}; [one.vm.recover] {refusal}",
        )
        return False

    def gone(self, service_id: int) -> None:
        """The networks are gone too: so is the document."""
        service = self._find(service_id)
        if service is not None and service.state in (S.UNDEPLOYING, S.UNDEPLOYING_NETS):
            self._forget(service)

    def _forget(self, service: Service) -> None:
        self._read.pop(service.id, None)
        self._store.documents.remove(service.document)

    # ---- bookkeeping -----------------------------------------------------------------------------

    def _enter(self, service: Service, state: ServiceState) -> None:
        service.body["state"] = int(state)
        self._log(service, "I", f"New state: {state.name}")

    def _log(self, service: Service, severity: str, message: str) -> None:
        entry = {
            "timestamp": self._store.agenda.seconds(), "severity": severity, "message": message,
        }  # fmt: skip
        service.body.setdefault("log", []).append(entry)
        service.save()


def _node_ids(role: Json) -> list[int]:
    return [node["deploy_id"] for node in role.get("nodes", ())]
