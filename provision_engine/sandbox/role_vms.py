"""The VMs of a service's roles: oneflow creates, retries and ends them through oned.

Whatever oned refuses goes into the log of the service, in oneflow's words.
"""

from __future__ import annotations

import re
from typing import Any
from xml.etree import ElementTree

from provision_engine.sandbox import errors, render, states, template
from provision_engine.sandbox.errors import OneError
from provision_engine.sandbox.lifecycle import Lifecycle
from provision_engine.sandbox.machines import Machines
from provision_engine.sandbox.service_body import (
    Json,
    Service,
    ServiceState,
    merged_contents,
    node_ids,
    node_of,
    raw,
    text_with_identity,
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
from provision_engine.sandbox.template import Template, TemplateError

_APPEND = re.compile(r'^\s*APPEND="?(.*?)"?\s*$', re.MULTILINE)
_HOLD = 11
"""The state of a role whose VMs wait on hold; it is another one for a service."""
_PARENT = re.compile(r"\$\{(.*?)\}")


class DeploymentDied(Exception):
    """oneflow's deployment thread ended with an internal error, and never writes the state."""


class RoleVms:
    """Creates, retries and ends the VMs of roles."""

    def __init__(self, store: Store, machines: Machines, vms: Lifecycle) -> None:
        self._store = store
        self._machines = machines
        self._vms = vms

    # ---- creation ----------------------------------------------------------------------------

    def create(self, service: Service, role: Json, first: int, count: int, owner: User) -> bool:
        """Creates `count` VMs, numbered from `first`; False after the first that is refused."""
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
        role["state"] = _HOLD if role.get("on_hold") else int(ServiceState.DEPLOYING)
        return True

    def prepare_contents(self, owner: User, role: Json) -> None:
        """Reads the VM template of a role with contents, as 7.x does before it creates VMs.

        DeploymentDied if the owner may not use it: the service stays in DEPLOYING_NETS for ever
        (scenario missing-vm-template-with-contents).
        """
        release = self._store.release
        if release.contents_are_object and role.get(release.role_contents_key):
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
        contents = role.get(self._store.release.role_contents_key)
        text = self._resolved(service, role, self._attributes(source, contents, service, role))
        try:
            extra = template.parse(text)
        except TemplateError as error:
            raise OneError(errors.INTERNAL, str(error)) from None
        if self._store.release.trims_values:
            extra.change_values(str.strip)
        vm = self._machines.create(owner, source, extra, name, bool(role.get("on_hold")))
        vm.service_id = service.id
        return vm

    def _attributes(self, source: VmTemplate, contents: Any, service: Service, role: Json) -> str:
        """What oneflow sends with one.template.instantiate; 7.x repeats the VM template."""
        if self._store.release.contents_are_object:
            merged = merged_contents(source.template, contents) if contents else {}
            return raw(merged | {"SERVICE_ID": service.id, "ROLE_NAME": role["name"]})
        text = str(contents or "")
        if found := _APPEND.search(text):
            names = found[1].split(",")
            kept = (item for item in source.template.items if item[0] in names)
            text = f"{Template(kept).to_text()}\n{text}"
        return text_with_identity(text, service.id, role["name"])

    def _resolved(self, service: Service, role: Json, text: str) -> str:
        """A text in which ``${PARENT.NAME}`` stands for an attribute of a parent role's VM.

        Whatever is not found is nothing.
        """

        def value_of(found: re.Match[str]) -> str:
            parent, *path = found[1].split(".")
            if parent not in (role.get("parents") or ()):
                return ""
            vms = [
                self._store.vms.get(number)
                for other in service.roles
                if other.get("name") == parent
                for number in node_ids(other)
            ]
            trees = [ElementTree.fromstring(render.vm(self._store, vm)) for vm in vms]
            place = f".//{'/'.join(path).upper()}"
            return next((text for tree in trees if (text := tree.findtext(place))), "")

        return _PARENT.sub(value_of, text)

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
