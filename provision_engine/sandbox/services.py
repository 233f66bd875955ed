"""oneflow's services: how they deploy, run, fail, recover and go.

A service is a document of type 100 whose BODY is JSON; its roles hold VMs. `FOLLOWS` says what a
service's state becomes when its roles have come to a state; the rest of the file makes and ends
the VMs and writes the service's log.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator
from enum import IntEnum
from typing import Any, NamedTuple

from provision_engine.sandbox import errors, lifecycle, template
from provision_engine.sandbox.errors import OneError
from provision_engine.sandbox.lifecycle import PASSING_WHILE_UP, Lifecycle, position_of
from provision_engine.sandbox.machines import Machines
from provision_engine.sandbox.store import (
    ADMIN,
    SERVICE,
    USE,
    Document,
    Store,
    User,
    Vm,
    allowed,
    not_authorized,
)
from provision_engine.sandbox.template import Template, TemplateError

Json = dict[str, Any]


class ServiceState(IntEnum):
    """States of a service, and of each of its roles."""

    PENDING = 0
    DEPLOYING = 1
    RUNNING = 2
    UNDEPLOYING = 3
    WARNING = 4
    DONE = 5
    FAILED_UNDEPLOYING = 6
    FAILED_DEPLOYING = 7
    SCALING = 8
    FAILED_SCALING = 9
    COOLDOWN = 10
    DEPLOYING_NETS = 11
    UNDEPLOYING_NETS = 12
    FAILED_DEPLOYING_NETS = 13
    FAILED_UNDEPLOYING_NETS = 14
    HOLD = 15


S = ServiceState
CAN_UNDEPLOY = frozenset({S.RUNNING, S.WARNING, S.COOLDOWN, S.HOLD})
CAN_RECOVER_DEPLOY = frozenset({S.PENDING, S.DEPLOYING, S.FAILED_DEPLOYING})
CAN_RECOVER_UNDEPLOY = frozenset({S.UNDEPLOYING, S.FAILED_UNDEPLOYING})


class _Follows(NamedTuple):
    """If, in `state`, the VMs of a role are all (or one of them is) so, the role gets `to`."""

    state: ServiceState
    vms: str
    to: ServiceState


FOLLOWS = (
    _Follows(S.DEPLOYING, "all ready", S.RUNNING),
    _Follows(S.DEPLOYING, "one failed", S.FAILED_DEPLOYING),
    _Follows(S.RUNNING, "one in trouble", S.WARNING),
    _Follows(S.WARNING, "all ready", S.RUNNING),
)


class ServiceError(Exception):
    """Something oneflow refuses to do now; it answers 500 with this text."""


def compact(body: Json) -> str:
    """JSON as Ruby writes it into a document."""
    return json.dumps(body, separators=(",", ":"), ensure_ascii=False)


class Service:
    """A service's document with its BODY read."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.text = document.template.text("BODY") or "{}"
        self.body: Json = json.loads(self.text)

    @property
    def id(self) -> int:
        """The id of the document."""
        return self.document.id

    @property
    def state(self) -> ServiceState:
        """The service's state."""
        return ServiceState(self.body["state"])

    @property
    def roles(self) -> list[Json]:
        """The service's roles, as they stand in the body."""
        roles: list[Json] = self.body["roles"]
        return roles

    def vm_ids(self) -> Iterator[int]:
        """The VMs of all roles."""
        for role in self.roles:
            for node in role.get("nodes", ()):
                yield node["deploy_id"]

    def save(self) -> None:
        """Writes the body back into the document."""
        self.text = compact(self.body)
        self.document.template.set("BODY", self.text)
        self.document.changed()


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
        if all(self._deploy_role(service, role) for role in self._next_roles(service)):
            if service.state != S.DEPLOYING:
                self._enter(service, S.DEPLOYING)
        else:
            self._enter(service, S.FAILED_DEPLOYING)

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
        key = self._store.release.role_contents_key
        if self._store.release.contents_are_object:
            role.setdefault(key, {})
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

    def _template_text(self, role: Json) -> str:
        value = role.get(self._store.release.role_template_key)
        return "" if value is None else str(value)

    def _instantiate(self, owner: User, service: Service, role: Json, name: str) -> Vm:
        wanted = role.get(self._store.release.role_template_key)
        source = self._store.vm_templates.get(wanted if isinstance(wanted, int) else -1)
        self._store.authorize(owner, source, USE, "TEMPLATE")
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
        if here in lifecycle.FAILURES:
            self._store.agenda.put(timings.service_failure_seconds, "service-failed", vm.service_id)

    def watch(self, service_id: int, failures: bool = False) -> None:
        """Looks at the VMs of a service and lets its state follow."""
        service = self._find(service_id)
        if service is None:
            return
        vms = [self._store.vms.find(i) for i in service.vm_ids()]
        if vms and all(vm is None or position_of(vm) == lifecycle.DONE for vm in vms):
            self._all_gone(service)
            return
        for follows in FOLLOWS:
            if service.state == follows.state and (failures or follows.vms != "one failed"):
                self._follow(service, follows)

    def _all_gone(self, service: Service) -> None:
        if service.state == S.UNDEPLOYING:
            # The log does not tell of this state: nobody has seen an entry of it.
            service.body["state"] = int(S.UNDEPLOYING_NETS)
            service.save()
            self._store.agenda.put(self._store.timings.nets_seconds, "service-gone", service.id)
        elif service.body.get("automatic_deletion") and service.state != S.UNDEPLOYING_NETS:
            self._forget(service)
        elif service.state in (S.RUNNING, S.DEPLOYING, S.WARNING):
            self._enter(service, S.WARNING)

    def _follow(self, service: Service, follows: _Follows) -> None:
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
        else:
            service.save()

    def _role_is(self, service: Service, role: Json, condition: str) -> bool:
        vms = [self._store.vms.find(node["deploy_id"]) for node in role["nodes"]]
        live = [vm for vm in vms if vm is not None]
        places = [position_of(vm) for vm in live]
        if condition == "one failed":
            return any(place in lifecycle.FAILURES for place in places)
        if condition == "one in trouble":
            return any(place in lifecycle.TROUBLE for place in places)
        gate = bool(service.body.get("ready_status_gate"))
        is_ready = [not gate or vm.user_template.text("READY") == "YES" for vm in live]
        return bool(live) and all(is_ready) and all(p in _UP for p in places)

    # ---- what it is asked for ------------------------------------------------------------------

    def undeploy(self, service: Service, user: User) -> None:
        """DELETE: ends the VMs; ServiceError if the service or a VM is not in a state for it."""
        if service.state not in CAN_UNDEPLOY:
            raise ServiceError(f"Service cannot be undeployed in state: {service.state.name}")
        for role in reversed(service.roles):
            ended = [self._end(service, role, i, user) for i in _node_ids(role)]
            if not all(ended):
                role["state"] = int(S.FAILED_UNDEPLOYING)
                self._enter(service, S.FAILED_UNDEPLOYING)
                name = role["name"]
                raise ServiceError(
                    f"Error undeploying role {name}: Error undeploying nodes for role `{name}`"
                )
        self._undeploying(service)

    def _undeploying(self, service: Service) -> None:
        for role in service.roles:
            role["state"] = int(S.UNDEPLOYING)
        self._enter(service, S.UNDEPLOYING)
        delay = self._store.timings.service_notice_seconds
        self._store.agenda.put(delay, "service-watch", service.id)
        if not any(True for _ in service.vm_ids()):
            self._store.agenda.put(delay, "service-gone", service.id)

    def _end(self, service: Service, role: Json, vm_id: int, user: User) -> bool:
        vm = self._store.vms.find(vm_id)
        if vm is None or position_of(vm) == lifecycle.DONE:
            return True
        try:
            self._vms.act(vm, "terminate", user, self._store.current_request_id)
        except OneError as error:
            who = f"Role {role['name']} :"
            self._log(
                service,
                "E",
                f"{who} Terminate failed for VM {vm_id}, will perform a Delete;"
                f" [one.vm.action] {error.message}",
            )
            return self._delete(service, who, vm, user)
        return True

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
                role["state"] = int(S.RUNNING)
            service.body["state"] = int(S.RUNNING)
            self.undeploy(service, user)
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
        if position_of(vm) not in lifecycle.FAILURES:
            return True
        if allowed(user, vm, ADMIN):
            request = self._store.current_request_id
            self._vms.recover(vm, lifecycle.RECOVER_RETRY, user, request)
            return True
        refusal = not_authorized(user, ADMIN, "VM", vm.id).message
        self._log(
            service,
            "E",
            f"Role {role['name']} : Retry failed for VM {vm_id}; [one.vm.recover] {refusal}",
        )
        return False

    def recover_delete(self, service: Service, user: User) -> None:
        """Removes a service with its VMs, whatever its state."""
        for vm_id in list(service.vm_ids()):
            vm = self._store.vms.find(vm_id)
            if vm is not None:
                self._vms.delete(vm, user, self._store.current_request_id)
        self._undeploying(service)

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


_NOTICED = lifecycle.TROUBLE | {lifecycle.RUNNING, lifecycle.DONE}
_UP = frozenset({lifecycle.RUNNING, *PASSING_WHILE_UP})


def node_of(vm: Vm) -> Json:
    """A VM as it stands in its role."""
    info = {
        "ID": str(vm.id), "UID": str(vm.uid), "GID": str(vm.gid),
        "UNAME": vm.uname, "GNAME": vm.gname, "NAME": vm.name,
    }  # fmt: skip
    return {"deploy_id": vm.id, "vm_info": {"VM": info}}


def _node_ids(role: Json) -> list[int]:
    return [node["deploy_id"] for node in role.get("nodes", ())]


def deep_merge(base: Json, extra: Json) -> Json:
    """6.x merges everything so, lists by position (scenario instantiate-errors)."""
    merged = copy.deepcopy(base)
    for key, value in extra.items():
        merged[key] = _merged_value(merged.get(key), value)
    return merged


def _merged_value(old: Any, new: Any) -> Any:
    if isinstance(old, dict) and isinstance(new, dict):
        return deep_merge(old, new)
    if isinstance(old, list) and isinstance(new, list):
        pairs = [_merged_value(a, b) for a, b in zip(old, new, strict=False)]
        return pairs + old[len(pairs) :] + copy.deepcopy(new[len(pairs) :])
    return copy.deepcopy(new)


def merge_by_name(base: Json, extra: Json) -> Json:
    """7.x merges a role with the one of its name; a role nobody knows is left out."""
    merged = deep_merge(base, {k: v for k, v in extra.items() if k != "roles"})
    by_name = {role.get("name"): role for role in extra.get("roles") or ()}
    merged["roles"] = [
        deep_merge(role, by_name.get(role.get("name"), {})) for role in merged.get("roles", ())
    ]
    return merged


def contents_text(role: Json, service_id: int, is_object: bool) -> str:
    """A role's VM attributes in template syntax, with what oneflow adds.

    The form decides the lines and columns of parse errors (scenarios failed-deploy-bad-contents
    and hostile-values-through-oneflow).
    """
    if not is_object:
        text = role.get("vm_template_contents") or ""
        return f'{text}\nSERVICE_ID = {service_id}\nROLE_NAME = "{role["name"]}"\n'
    given = role.get("template_contents")
    contents = {"ROLE_NAME": role["name"], **(given if isinstance(given, dict) else {})}
    lines = [line for key, value in contents.items() for line in _attribute_lines(key, value)]
    return "\n".join(lines) + f"\nSERVICE_ID = {service_id}\n"


def _attribute_lines(name: str, value: Any) -> Iterator[str]:
    for single in value if isinstance(value, list) else (value,):
        if isinstance(single, dict):
            members = "\n".join(f"    {k} = {_quoted(v)}" for k, v in single.items())
            # 7.x makes the commas between the members out of their newlines, and so puts one
            # before each newline of a value too.
            yield f"{name}=[\n" + members.replace("\n", ",\n") + "\n]\n"
        else:
            yield f"{name} = {_quoted(single)}"


def _quoted(value: Any) -> str:
    return '"' + str(value).replace('"', '\\"') + '"'


_PLACEHOLDER = re.compile(r"\$\{[^}]*\}")


def substitute(extra: Template, strips: bool) -> None:
    """``${NAME}`` becomes what the service knows by that name: nothing, in the recordings."""

    def replaced(text: str) -> str:
        if "${" not in text:
            return text
        text = _PLACEHOLDER.sub("", text)
        return text.strip() if strips else text

    for index, (name, value) in enumerate(extra.items):
        if isinstance(value, dict):
            extra.items[index] = name, {k: replaced(v) for k, v in value.items()}
        else:
            extra.items[index] = name, replaced(value)
