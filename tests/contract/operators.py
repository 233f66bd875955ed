"""Publishes the templates of operators, and compares the VMs that are made of them."""

from __future__ import annotations

import base64
import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from lxml import etree

from tests.support.opennebula import OpenNebula, as_dict
from tests.support.waiting import wait_until

from . import settings
from .device import Json
from .operator_cases import Case

Flat = dict[str, str]
"""A VM's attributes by path: ``TEMPLATE/DISK/0/SIZE``."""


def bits(mode: str) -> list[int]:
    """The bits of a mode such as 644, as chmod takes them."""
    return [int(digit) >> shift & 1 for digit in mode for shift in (2, 1, 0)]


@dataclass(frozen=True)
class Publisher:
    """The administrator, who publishes the flow templates of the cases."""

    one: OpenNebula
    release: str
    values: dict[str, str]
    """What the placeholders of the table stand for."""

    @property
    def keys(self) -> tuple[str, str, str, str]:
        """VM template, contents, inputs and values of inputs, in the dialect of the release."""
        if self.release.startswith("6"):
            return "vm_template", "vm_template_contents", "custom_attrs", "custom_attrs_values"
        return "template_id", "template_contents", "user_inputs", "user_inputs_values"

    def fill(self, value: Any) -> Any:
        """Replace the placeholders in all texts."""
        if isinstance(value, str):
            names = "|".join(self.values)
            return re.sub(rf"\$({names})\b", lambda found: self.values[found[1]], value)
        if isinstance(value, dict):
            return {name: self.fill(member) for name, member in value.items()}
        return [self.fill(element) for element in value] if isinstance(value, list) else value

    @contextmanager
    def published(self, case: Case, name: str) -> Iterator[int]:
        """Publish a case's flow template under that name, and return its id."""
        vm_templates: list[int] = []
        flow_id = None
        try:
            roles = []
            for role_name, members in case.roles.items():
                text = self.fill(members.get("vm", case.vm)) + f'\nNAME="{name}-{role_name}"'
                vm_templates.append(self.one.call("template.allocate", text))
                roles.append(self._role(role_name, members, vm_templates[-1]))
            flow = {"name": name, "deployment": "none", "roles": roles} | self.fill(case.flow)
            if case.inputs:
                flow[self.keys[2]] = {key: text for key, (text, _) in case.inputs.items()}
            answer = self.one.flow("POST", "/service_template", **flow)
            assert answer.status_code == 201, answer.text
            flow_id = int(answer.json()["DOCUMENT"]["ID"])
            for vm_template in vm_templates:
                self._share("template", vm_template, case)
            self._share("document", flow_id, case)
            yield flow_id
        finally:
            if flow_id is not None:
                self.one.call("document.delete", flow_id)
            for vm_template in vm_templates:
                self.one.call("template.delete", vm_template)

    def _role(self, name: str, members: Json, vm_template: int) -> Json:
        template_key, contents_key, inputs_key, _ = self.keys
        role: Json = {"name": name, "cardinality": 1, template_key: vm_template}
        if not self.release.startswith("6"):
            role["type"] = "vm"
        role |= {n: m for n, m in members.items() if n not in ("vm", "contents", "inputs")}
        if contents := self.fill(members.get("contents", {})):
            is_text = self.release.startswith("6")
            role[contents_key] = render(contents) if is_text else contents
        if "inputs" in members:
            role[inputs_key] = {key: text for key, (text, _) in members["inputs"].items()}
        return role

    def _share(self, kind: str, number: int, case: Case) -> None:
        self.one.call(f"{kind}.chmod", number, *bits(case.mode))
        if case.group_id >= 0:
            self.one.call(f"{kind}.chown", number, -1, case.group_id)

    def start(self, user: OpenNebula, case: Case, flow_id: int) -> int:
        """Let oneflow make a service for the user, with the defaults of all inputs."""
        key, merge = self.keys[3], {"name": "plain"}
        if case.inputs:
            merge[key] = {name: value for name, (_, value) in case.inputs.items()}
        inputs = {name: role["inputs"] for name, role in case.roles.items() if "inputs" in role}
        if inputs:
            merge["roles"] = [
                {"name": role}
                | ({key: {n: v for n, (_, v) in inputs[role].items()}} if role in inputs else {})
                for role in case.roles
            ]
        answer = user.flow(
            "POST",
            f"/service_template/{flow_id}/action",
            action={"perform": "instantiate", "params": {"merge_template": merge}},
        )
        assert answer.status_code == 201, answer.text
        return int(answer.json()["DOCUMENT"]["ID"])


NETWORK6 = 'VN_MAD="dummy"\nBRIDGE="br0"\nAR=[TYPE="IP6",GLOBAL_PREFIX="2001:db8::",SIZE="1000"]'


def usual_vm_template(one: OpenNebula, is_extended: bool) -> Json:
    """The VM template of CONTRACT_FLAVOUR, with or without what its images and networks add."""
    body = json.loads(
        one.document(one.flow_template_id(settings.FLAVOUR)).findtext("TEMPLATE/BODY") or ""
    )
    (role,) = body["roles"]
    number = role.get("template_id", role.get("vm_template"))
    found = etree.fromstring(one.call("template.info", number, is_extended).encode())
    template: Json = as_dict(found)["TEMPLATE"]
    return template


def members(vector: Json) -> str:
    return ",".join(f'{name}="{value}"' for name, value in vector.items())


def render(contents: Json) -> str:
    """A role's contents as 6.x has them, a text."""
    lines = []
    for name, values in contents.items():
        for value in values if isinstance(values, list) else [values]:
            if isinstance(value, dict):
                members = ",".join(f"{key}={_quoted(text)}" for key, text in value.items())
                lines.append(f"{name}=[{members}]")
            else:
                lines.append(f"{name}={_quoted(value)}")
    return "\n".join(lines)


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '\\"') + '"'


# ---- VMs -----------------------------------------------------------------------------------------


@contextmanager
def made_by_oneflow(
    publisher: Publisher, user: OpenNebula, case: Case, flow_id: int
) -> Iterator[int]:
    """The id of a service that oneflow makes without the engine."""
    service_id = publisher.start(user, case, flow_id)
    try:
        yield service_id
    finally:
        _end(user, service_id)


def _end(user: OpenNebula, service_id: int) -> None:
    vm_ids = user.service_vm_ids(service_id)

    def is_gone() -> bool:
        if user.service_state(service_id) >= 0:
            user.end_service(service_id)
        living = user.vm_ids() & {*vm_ids}
        for vm_id in living:  # oneflow may forget a VM that boots
            user.refusal("vm.action", "terminate-hard", vm_id)
        return not living and user.service_state(service_id) < 0

    wait_until(is_gone, interval_seconds=0.2)


def vms_of(user: OpenNebula, service_id: int, case: Case) -> dict[str, list[Json]]:
    """The VMs of a service by role, once all are there."""
    count = sum(role.get("cardinality", 1) for role in case.roles.values())

    def look() -> list[int]:
        vm_ids = user.service_vm_ids(service_id)
        return vm_ids if len(vm_ids) == count else []

    return by_role(user.vm(vm_id) for vm_id in wait_until(look, interval_seconds=0.1))


# ---- comparison ----------------------------------------------------------------------------------

_OF_EACH_VM = re.compile(r"(^|/)(VMID|UUID|SERVICE_ID|ID|PARENT_ID|REQUEST_ID)$")
_ADDRESS = re.compile(r"(^|/|_)(IP|MAC|IP6|IP6_GLOBAL|IP6_LINK|IP6_ULA)$")
_DROPPED = re.compile(
    r"SCHED_MESSAGE$|/MESSAGE$|/WARNING$|USER_TEMPLATE/ERROR$"
    # Set when a VM is scheduled, which may have happened to one of the two.
    r"|/TM_MAD_SYSTEM$|/GRAPHICS/0/PORT$"
)
_BY_DATASTORE = (
    "ALLOW_ORPHANS", "CLUSTER_ID", "DATASTORE", "DATASTORE_ID", "DISK_TYPE", "DRIVER",
    "PERSISTENT_SNAPSHOTS", "TM_MAD", "LVM_THIN_ENABLE", "SPARSE",
)  # fmt: skip
"""What a disk without an image gets when its VM is scheduled."""


def flat(vm: Json) -> Flat:
    """The attributes of a VM, without what differs between any two VMs of a template."""
    found: Flat = {}
    for part in ("TEMPLATE", "USER_TEMPLATE"):
        for name, values in (vm[part] or {}).items():
            values = values if isinstance(values, list) else [values]
            if name == "SCHED_ACTION":
                values = [_relative(action, vm["STIME"]) for action in values]
            vectors = [value for value in values if isinstance(value, dict)]
            if name == "DISK":
                vectors = [_without_datastore(disk) for disk in vectors]
            vectors.sort(key=_order if name != "SCHED_ACTION" else json.dumps)
            for number, vector in enumerate(vectors):
                for key, text in vector.items():
                    found[f"{part}/{name}/{number}/{key}"] = text
            texts = sorted(value for value in values if isinstance(value, str))
            if texts:
                found[f"{part}/{name}"] = "|".join(texts)
    return {
        path: _masked(path, text, vm["ID"])
        for path, text in found.items()
        if not _DROPPED.search(path)
    }


def _order(vector: Json) -> int:
    return int(vector.get("DISK_ID", vector.get("NIC_ID", 0)))


def _without_datastore(disk: Json) -> Json:
    if "IMAGE_ID" in disk:
        return disk
    return {name: value for name, value in disk.items() if name not in _BY_DATASTORE}


def _relative(action: Json, born: str) -> Json:
    """A scheduled action whose time counts from the start of the VM."""
    later = round((int(action["TIME"]) - int(born)) / 10) * 10
    named = {"ACTION": action["ACTION"], "TIME": f"+{later}"}
    return named | {name: value for name, value in action.items() if name not in named}


def _masked(path: str, text: str, vm_id: str) -> str:
    if _OF_EACH_VM.search(path):
        return "of each VM"
    if _ADDRESS.search(path) and text and "EXTERNAL" not in path:
        return "an address"
    return re.sub(rf"\bone-{vm_id}-", "one-VM-", text)


def by_role(vms: Iterable[Json]) -> dict[str, list[Json]]:
    """VMs by the name of their role, the oldest first."""
    found: dict[str, list[Json]] = defaultdict(list)
    for vm in sorted(vms, key=lambda vm: int(vm["ID"])):
        found[vm["USER_TEMPLATE"]["ROLE_NAME"]].append(vm)
    return dict(found)


@dataclass(frozen=True)
class Meant:
    """The differences that are meant between a VM of the engine and one of oneflow itself."""

    case: Case
    flow_id: int
    session: str
    """Name and password of the user."""

    def differences(self, plain: Json, made: Json, is_function: bool) -> list[str]:
        """Where the engine's VM is not as it has to be: a line for each attribute."""
        found, wanted = flat(made), flat(plain)
        if is_function:
            wanted = self._with_sizes(wanted) | self._additions(wanted)
        if is_function and any(path.startswith("TEMPLATE/TOPOLOGY/") for path in wanted):
            del wanted["TEMPLATE/VCPU_MAX"]  # OpenNebula allows no other number of CPUs then
        texts: dict[str, str | re.Pattern[str]] = wanted | (self.case.meant if is_function else {})
        return [
            f"{path}: {_shown(texts.get(path))} became {_shown(found.get(path))}"
            for path in sorted(texts.keys() | found.keys())
            if not _fits(texts.get(path) or "", found.get(path, ""))
        ]

    def _with_sizes(self, plain: Flat) -> Flat:
        """The sizes of the request, and how far the VM can be resized."""
        made, asked = dict(plain), self.case.function
        if cpu := asked.get("CPU"):
            made |= {"TEMPLATE/CPU": str(cpu), "TEMPLATE/VCPU": str(cpu)}
        if memory := asked.get("MEMORY"):
            made["TEMPLATE/MEMORY"] = str(memory)
        if size := asked.get("DISK_SIZE"):
            made["TEMPLATE/DISK/0/SIZE"] = str(size)
        made["TEMPLATE/VCPU_MAX"] = str(2 * int(made.get("TEMPLATE/VCPU", "1")))
        made["TEMPLATE/MEMORY_MAX"] = str(2 * int(made["TEMPLATE/MEMORY"]))
        return made

    def _additions(self, plain: Flat) -> Flat:
        """What the engine adds for itself."""
        added = {
            "TEMPLATE/MEMORY_RESIZE_MODE": "BALLOONING",
            "TEMPLATE/CONTEXT/0/SR_AUTH": base64.b64encode(self.session.encode()).decode(),
            "USER_TEMPLATE/HOT_RESIZE/0/CPU_HOT_ADD_ENABLED": "YES",
            "USER_TEMPLATE/HOT_RESIZE/0/MEMORY_HOT_ADD_ENABLED": "YES",
            "USER_TEMPLATE/FLAVOURS": str(self.flow_id),
        }
        if not _count(plain, "CONTEXT"):  # it gets one by SR_AUTH
            disks = str(_count(plain, "DISK"))
            added |= {"TEMPLATE/CONTEXT/0/DISK_ID": disks, "TEMPLATE/CONTEXT/0/TARGET": "hda"}
        if lease := self.case.request.get("LEASE"):
            first = "TEMPLATE/SCHED_ACTION/0/"
            members = {p.removeprefix(first): t for p, t in plain.items() if p.startswith(first)}
            members |= {"ACTION": "terminate-hard", "TIME": f"+{lease['TTL']}"}
            number = _count(plain, "SCHED_ACTION")
            added |= {f"TEMPLATE/SCHED_ACTION/{number}/{n}": t for n, t in members.items()}
        return added


def _count(vm: Flat, name: str) -> int:
    """How many vectors of that name a VM has."""
    return len({path.split("/")[2] for path in vm if path.startswith(f"TEMPLATE/{name}/")})


def _fits(wanted: str | re.Pattern[str], found: str) -> bool:
    return found == wanted if isinstance(wanted, str) else bool(wanted.fullmatch(found))


def _shown(value: str | re.Pattern[str] | None) -> str:
    return "nothing" if value is None else repr(getattr(value, "pattern", value))
