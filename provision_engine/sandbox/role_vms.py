"""The VMs of a service's roles: oneflow creates, retries and ends them through oned.

Whatever oned refuses goes into the log of the service, in oneflow's words.
"""

from __future__ import annotations

from provision_engine.sandbox import errors, states, template
from provision_engine.sandbox.errors import OneError
from provision_engine.sandbox.lifecycle import Lifecycle
from provision_engine.sandbox.machines import Machines
from provision_engine.sandbox.service_body import (
    Json,
    Service,
    ServiceState,
    contents_text,
    node_of,
    substitute,
)
from provision_engine.sandbox.states import position_of
from provision_engine.sandbox.store import (
    ADMIN,
    MANAGE,
    USE,
    Store,
    User,
    Vm,
    VmTemplate,
)
from provision_engine.sandbox.template import TemplateError


class DeploymentDied(Exception):
    """oneflow's deployment thread ended with an internal error, and never writes the state."""


class RoleVms:
    """Creates, retries and ends the VMs of roles."""

    def __init__(self, store: Store, machines: Machines, vms: Lifecycle) -> None:
        self._store = store
        self._machines = machines
        self._vms = vms

    # ---- creation ----------------------------------------------------------------------------

    def create(self, service: Service, role: Json, first: int, count: int) -> bool:
        """Creates `count` VMs, numbered from `first`; False after the first that is refused."""
        owner = self._store.owner_of(service.document)
        for number in range(first, first + count):
            role["last_vmname"] = number + 1
            try:
                name = f"{role['name']}_{number}_(service_{service.id})"
                vm = self._instantiate(owner, service, role, name)
            except OneError as error:
                self._log_error(
                    service,
                    role,
                    f"Instantiate failed for template {self._template_text(role)};"
                    f" [one.template.instantiate] {error.message}",
                )
                role["state"] = int(ServiceState.FAILED_DEPLOYING)
                return False
            role["nodes"].append(node_of(vm))
        role["state"] = int(ServiceState.DEPLOYING)
        return True

    def prepare_contents(self, owner: User, role: Json) -> None:
        """Reads the VM template of a role with contents, as 7.x does before it creates VMs.

        DeploymentDied if the owner may not use it: the service stays in DEPLOYING_NETS for ever
        (scenario missing-vm-template-with-contents).
        """
        if not self._store.release.contents_are_object:
            return
        if not role.setdefault(self._store.release.role_contents_key, {}):
            return
        try:
            self._vm_template(owner, role)
        except OneError as error:
            raise DeploymentDied from error

    def _vm_template(self, owner: User, role: Json) -> VmTemplate:
        wanted = role.get(self._store.release.role_template_key)
        source = self._store.vm_templates.get(wanted if isinstance(wanted, int) else -1)
        self._store.authorize(owner, source, USE)
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
        substitute(extra)
        if self._store.release.trims_values:
            extra.change_values(str.strip)
        vm = self._machines.create(owner, source, extra, name)
        vm.service_id = service.id
        return vm

    # ---- end and recovery --------------------------------------------------------------------

    def end(self, service: Service, role: Json, vm_id: int, user: User) -> bool:
        """Terminates a VM, or deletes it if oned refuses that; False if it refuses both."""
        refusal = self._refused(vm_id, "terminate", user)
        if refusal is None:
            return True
        self._log_error(
            service,
            role,
            f"Terminate failed for VM {vm_id}, will perform a Delete;"
            f" [one.vm.action] {refusal.message}",
        )
        if self._refused(vm_id, "terminate-hard", user) is None:
            return True
        return self._delete(service, role, vm_id, user)

    def _refused(self, vm_id: int, action: str, user: User) -> OneError | None:
        try:
            vm = self._store.vms.get(vm_id)
            self._store.authorize(user, vm, MANAGE)
            self._vms.act(vm, action, user, self._store.current_request_id)
        except OneError as error:
            return error
        return None

    def _delete(self, service: Service, role: Json, vm_id: int, user: User) -> bool:
        vm = self._recoverable(service, role, "Delete", vm_id, user)
        if vm is not None:
            self._vms.delete(vm, user, self._store.current_request_id)
        return vm is not None

    def retry(self, service: Service, role: Json, vm_id: int, user: User) -> bool:
        """Retries the step at which a VM failed; False if oned refuses."""
        vm = self._store.vms.find(vm_id)
        if vm is not None and position_of(vm) not in states.FAILURES:
            return True
        vm = self._recoverable(service, role, "Retry", vm_id, user)
        if vm is not None:
            request = self._store.current_request_id
            self._vms.recover(vm, states.RECOVER_RETRY, user, request)
        return vm is not None

    def _recoverable(
        self, service: Service, role: Json, what: str, vm_id: int, user: User
    ) -> Vm | None:
        """A VM that this user may recover; None, with an entry in the log, if oned refuses."""
        try:
            vm = self._store.vms.get(vm_id)
            self._store.authorize(user, vm, ADMIN)
        except OneError as error:
            text = f"{what} failed for VM {vm_id}; [one.vm.recover] {error.message}"
            self._log_error(service, role, text)
            return None
        return vm

    def _log_error(self, service: Service, role: Json, message: str) -> None:
        service.log(self._store.agenda.seconds(), "E", f"Role {role.get('name')} : {message}")
