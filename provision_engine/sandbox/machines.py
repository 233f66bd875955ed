"""Creates a VM from a VM template and the caller's attributes (one.template.instantiate)."""

from __future__ import annotations

import math
import uuid
from collections.abc import Iterator

from provision_engine.sandbox import errors, names
from provision_engine.sandbox.errors import OneError
from provision_engine.sandbox.lifecycle import Lifecycle
from provision_engine.sandbox.rpc import MAXIMUM_NUMBER
from provision_engine.sandbox.states import PENDING
from provision_engine.sandbox.store import ScheduledAction, Store, User, Vm, VmTemplate
from provision_engine.sandbox.template import Template, Value

# These go into the VM's TEMPLATE, all others into its USER_TEMPLATE (scenario create-faas).
_MACHINE_ATTRIBUTES = frozenset(
    [
        "CONTEXT",
        "CPU",
        "CPU_MODEL",
        "DISK",
        "EMULATOR",
        "FEATURES",
        "GRAPHICS",
        "INPUT",
        "MEMORY",
        "MEMORY_MAX",
        "MEMORY_RESIZE_MODE",
        "MEMORY_SLOTS",
        "NIC",
        "NIC_ALIAS",
        "NIC_DEFAULT",
        "NUMA_NODE",
        "OS",
        "PCI",
        "RAW",
        "SNAPSHOT",
        "SPICE_OPTIONS",
        "TOPOLOGY",
        "VCPU",
        "VCPU_MAX",
        "VIDEO",
        "VMGROUP",
        "TPM",
    ]
)
_VOLATILE_TYPES = ("fs", "swap")
"""The types of disks without an image."""
_EVERYWHERE = '("CLUSTERS/ID" @> 0)'
IMAGE_NAME, NETWORK_NAME, OWNER_NAME = "img", "net", "oneadmin"
IMAGE_SIZE_MB = 1024
ONEGATE_ENDPOINT = "http://127.0.0.1:5030"
_CONTEXT_ADDRESS_NAMES = [
    "DNS",
    "EXTERNAL",
    "GATEWAY",
    "IP",
    "IP6",
    "IP6_GATEWAY",
    "IP6_METHOD",
    "IP6_METRIC",
    "IP6_PREFIX_LENGTH",
    "IP6_ULA",
    "MAC",
    "MASK",
    "METHOD",
    "METRIC",
    "MTU",
    "NETWORK",
    "SEARCH_DOMAIN",
    "VLAN_ID",
    "VROUTER_IP",
    "VROUTER_IP6",
    "VROUTER_MANAGEMENT",
]
_RULES = [
    {
        "PROTOCOL": "ALL",
        "RULE_TYPE": direction,
        "SECURITY_GROUP_ID": "0",
        "SECURITY_GROUP_NAME": "default",
    }
    for direction in ("OUTBOUND", "INBOUND")
]


def image_attributes(store: Store) -> dict[str, str]:
    """The attributes that the image `img` adds to a disk."""
    return {
        "ALLOW_ORPHANS": "NO",
        "CLONE": "YES",
        "CLONE_TARGET": "SYSTEM",
        "CLUSTER_ID": "0",
        "DATASTORE": "default",
        "DATASTORE_ID": "1",
        "DEV_PREFIX": "sd",
        "DISK_SNAPSHOT_TOTAL_SIZE": "0",
        "DISK_TYPE": "FILE",
        "DRIVER": "dummy_format",
        "FORMAT": "dummy_format",
        "IMAGE": IMAGE_NAME,
        "IMAGE_ID": "0",
        "IMAGE_STATE": "1",
        "LN_TARGET": "NONE",
        "ORIGINAL_SIZE": str(IMAGE_SIZE_MB),
        "READONLY": "NO",
        "SAVE": "NO",
        "SIZE": str(IMAGE_SIZE_MB),
        "SOURCE": "dummy_path",
        "TM_MAD": "dummy",
        "TYPE": "FILE",
    } | dict(store.release.disk_extra)


def extended(store: Store, template: Template) -> Template:
    """A VM template plus the attributes of its images and networks (scenario vm-templates)."""
    full = template.copy()
    for number, disk in enumerate(full.vectors("DISK")):
        if disk.get("IMAGE") == IMAGE_NAME:
            disk |= image_attributes(store) | disk | {"DISK_ID": str(number)}
    for nic in full.vectors("NIC"):
        if nic.get("NETWORK") == NETWORK_NAME:
            nic["NETWORK_ID"] = str(store.release.network_id)
    return full


class Machines:
    """Creates VMs."""

    def __init__(self, store: Store, lifecycle: Lifecycle) -> None:
        self._store = store
        self._lifecycle = lifecycle

    def create(
        self,
        user: User,
        source: VmTemplate | None,
        extra: Template,
        name: str = "",
        on_hold: bool = False,
    ) -> Vm:
        """Creates a VM in PENDING. OneError if a size is invalid or exceeds the user's quota."""
        try:
            return self._create(user, source, extra, name, on_hold)
        except OneError as error:
            if source is None or error.code == errors.AUTHORIZATION:
                raise
            text = f"Error allocating a new virtual machine template. {error.message}"
            raise OneError(errors.ALLOCATE, text) from None

    def _create(
        self, user: User, source: VmTemplate | None, extra: Template, name: str, on_hold: bool
    ) -> Vm:
        merged = source.template.merged(extra) if source else extra
        check_restricted(user, extra, source)
        name = name or extra.text("NAME") or ""
        if name and not self._store.release.size_errors_are_quotas:
            names.check_name(name, errors.INTERNAL)
        cpu, memory_mb, vcpu = self._sizes(user, merged)
        wanted = {"VMS": 1.0, "CPU": cpu, "MEMORY": float(memory_mb)}
        disks = [self._disk(user, d, i) for i, d in enumerate(merged.vectors("DISK"))]
        wanted |= {f"RUNNING_{name}": amount for name, amount in wanted.items()}
        wanted["SYSTEM_DISK_SIZE"] = float(sum(int(d.get("SIZE", "0")) for d in disks))
        user.quotas.check(user.id, wanted)
        self._check_networks(user, merged)
        if name:
            names.check_name(name, errors.INTERNAL)
        vm_id = self._store.vms.new_id()
        vm = Vm(
            vm_id, user.id, user.gid, user.name, user.gname,
            name or f"{source.name if source else 'one'}-{vm_id}", user.default_permissions(),
            stime=self._store.agenda.seconds(), cpu=cpu, memory_mb=memory_mb, vcpu=vcpu,
        )  # fmt: skip
        self._fill(vm, source, merged, disks)
        return self._register(vm, merged, on_hold)

    def _sizes(self, user: User, merged: Template) -> tuple[float, int, int]:
        """CPU, MEMORY and VCPU; on 6.x the check of the quotas finds the first two wrong."""
        try:
            memory_mb, cpu = _whole(merged, "MEMORY", None), _cpu(merged)
            if self._store.release.size_errors_are_quotas and memory_mb > MAXIMUM_NUMBER:
                raise _not_positive("MEMORY")
        except OneError as error:
            is_zero = merged.text("MEMORY") == "0"
            if not self._store.release.size_errors_are_quotas or is_zero:
                raise
            text = f"User [{user.id}] : user [{user.id}] {error.message}"
            raise OneError(errors.AUTHORIZATION, text) from None
        return cpu, memory_mb, _whole(merged, "VCPU", 1)

    def _register(self, vm: Vm, merged: Template, on_hold: bool) -> Vm:
        self._lifecycle.count(vm, self._store.owner_of(vm), 1)
        self._store.vms.add(vm)
        self._store.live_vms[vm.id] = vm
        for action in merged.vectors("SCHED_ACTION"):
            self.schedule_action(vm, action)
        self._lifecycle.enter(vm, PENDING)
        if on_hold:
            vm.template.set("SUBMIT_ON_HOLD", "YES")
            self._lifecycle.act(vm, "hold", self._store.owner_of(vm), -1)
        return vm

    def _fill(
        self, vm: Vm, source: VmTemplate | None, merged: Template, disks: list[dict[str, str]]
    ) -> None:
        machine: list[tuple[str, Value]] = []
        for name, value in merged.items:
            if name in _MACHINE_ATTRIBUTES - {"DISK", "NIC", "CONTEXT"}:
                machine.append((name, value))
            elif name not in _MACHINE_ATTRIBUTES | {"SCHED_ACTION", "NAME"}:
                vm.user_template.items.append((name, value))
        machine += [
            *self._requirements(disks, merged.vectors("NIC")),
            *([("TEMPLATE_ID", str(source.id))] if source else []),
            ("VMID", str(vm.id)),
            *[("DISK", disk) for disk in disks],
        ]
        vm.template = Template(machine)
        self._add_identity(vm)
        nics = [self._nic(vm, nic, i) for i, nic in enumerate(merged.vectors("NIC"))]
        context = merged.get("CONTEXT")
        if isinstance(context, dict):
            vm.template.set("CONTEXT", self._context(vm, context, nics, len(disks)))
            if context.get("TOKEN", "").upper() == "YES":
                vm.template.set("CREATED_BY", str(vm.uid))

    def _requirements(
        self, disks: list[dict[str, str]], nics: list[dict[str, str]]
    ) -> Iterator[tuple[str, str]]:
        """What oned itself requires of the host; only images and networks bind to a cluster."""
        is_bound = bool(nics) or any("IMAGE_ID" in disk for disk in disks)
        if is_bound:
            yield "AUTOMATIC_DS_REQUIREMENTS", _EVERYWHERE
        if nics:
            yield "AUTOMATIC_NIC_REQUIREMENTS", _EVERYWHERE
        everything = self._store.release.automatic_requirements
        cluster = "(CLUSTER_ID = 0) & " if is_bound else ""
        yield "AUTOMATIC_REQUIREMENTS", cluster + everything

    def _add_identity(self, vm: Vm) -> None:
        given = vm.template.get("OS")
        os = dict(given) if isinstance(given, dict) else {}
        os.setdefault("UUID", str(uuid.uuid5(uuid.NAMESPACE_OID, f"vm-{vm.id}")))
        vm.template.set("OS", os)

    def _disk(self, user: User, disk: dict[str, str], number: int) -> dict[str, str]:
        full = dict(disk)
        if "IMAGE" in disk or "IMAGE_ID" in disk:
            if disk.get("IMAGE", IMAGE_NAME) != IMAGE_NAME or disk.get("IMAGE_ID", "0") != "0":
                wanted = disk.get("IMAGE", disk.get("IMAGE_ID"))
                raise _allocation(
                    f"User {user.id} does not own an image with name: {wanted} ."
                    " Set IMAGE_UNAME or IMAGE_UID of owner in DISK."
                )
            full = image_attributes(self._store) | disk | {"IMAGE_STATE": "2"}
        elif disk.get("TYPE") not in _VOLATILE_TYPES:
            raise _allocation(f"DISK {number}: Unknown disk type {disk.get('TYPE', '')}")
        else:
            full["DEV_PREFIX"] = "sd"
        if not full.get("SIZE", "0").isdigit():
            raise _allocation("SIZE attribute must be a positive integer value.")
        full |= {"DISK_ID": str(number), "TARGET": f"sd{chr(ord('a') + number % 26)}"}
        return full

    def _check_networks(self, user: User, merged: Template) -> None:
        for nic in merged.vectors("NIC"):
            if nic.get("NETWORK", NETWORK_NAME) != NETWORK_NAME:
                raise _allocation(
                    f"User {user.id} does not own a network with name: {nic['NETWORK']} ."
                    " Set NETWORK_UNAME or NETWORK_UID of owner in NIC."
                )

    def _nic(self, vm: Vm, asked: dict[str, str], number: int) -> dict[str, str]:
        lease = self._lease()
        octets = (10, lease >> 16, lease >> 8 & 255, lease & 255)
        nic = {
            "AR_ID": "0",
            "BRIDGE": "br0",
            "BRIDGE_TYPE": "linux",
            "CLUSTER_ID": "0",
            "NAME": f"NIC{number}",
            "IP": ".".join(str(o) for o in octets),
            "MAC": "02:00:" + ":".join(f"{o:02x}" for o in octets),
            "NETWORK": NETWORK_NAME,
            "NETWORK_ID": str(self._store.release.network_id),
            "NIC_ID": str(number),
            "SECURITY_GROUPS": "0",
            "TARGET": f"one-{vm.id}-{number}",
            "VN_MAD": "dummy",
        }
        nic = asked | nic
        vm.template.items.append(("NIC", nic))
        if number == 0:
            vm.template.items += [("SECURITY_GROUP_RULE", dict(rule)) for rule in _RULES]
        return nic

    def _lease(self) -> int:
        cloud = self._store
        is_growing = cloud.release.addresses_only_grow
        lease = cloud.last_address + 1 if is_growing else cloud.lowest_free_address
        while lease in cloud.addresses:
            lease += 1
        cloud.addresses.add(lease)
        cloud.last_address = lease
        if not is_growing:
            cloud.lowest_free_address = lease + 1
        return lease

    def _context(
        self, vm: Vm, asked: dict[str, str], nics: list[dict[str, str]], disk_count: int
    ) -> dict[str, str]:
        context = dict(asked)
        if asked.get("NETWORK", "").upper() == "YES":
            for number, nic in enumerate(nics):
                wanted = (*_CONTEXT_ADDRESS_NAMES, *self._store.release.context_extra)
                names = {f"ETH{number}_{name}": nic.get(name, "") for name in wanted}
                context |= names | {f"ETH{number}_NETWORK": ""}
        if asked.get("TOKEN", "").upper() == "YES":
            context["ONEGATE_ENDPOINT"] = ONEGATE_ENDPOINT
        return context | {"DISK_ID": str(disk_count), "TARGET": "hda", "VMID": str(vm.id)}

    def schedule_action(self, vm: Vm, asked: dict[str, str]) -> ScheduledAction:
        """Adds a scheduled action; ``+SECONDS`` counts from the VM's start time (lease-renewal)."""
        action_id = self._store.next_scheduled_id
        self._store.next_scheduled_id += 1
        action = ScheduledAction(
            action_id, vm.id, asked.get("ACTION", ""), action_time(vm, asked.get("TIME", "0"))
        )
        vm.scheduled[action_id] = action
        vm.scheduled_ids.append(action_id)
        self.plan(action)
        vm.changed()
        return action

    def plan(self, action: ScheduledAction) -> None:
        """Puts a scheduled action on the agenda."""
        late = self._store.timings.sched_action_seconds
        self._store.agenda.put_at(action.time + late, "action", action.vm_id, action.id)


def action_time(vm: Vm, text: str) -> int:
    """When a scheduled action is due, in seconds since the epoch; 0x2000 if TIME is invalid."""
    try:
        return vm.stime + int(text) if text.startswith("+") else int(text)
    except ValueError:
        raise OneError(errors.INTERNAL, f"Wrong TIME value: {text}") from None


_RESTRICTED = {"CONTEXT": ("FILES",), "NIC": ("MAC", "VLAN_ID")}
"""Some of the attributes that ordinary users may only repeat (VM_RESTRICTED_ATTR of oned.conf)."""


def check_restricted(user: User, extra: Template, source: VmTemplate | None = None) -> None:
    """0x0200 if an ordinary user gives a restricted attribute that the template does not have."""
    for name, restricted in _RESTRICTED.items():
        before = source.template.vectors(name) if source else []
        for member in restricted:
            given = [v[member] for v in extra.vectors(name) if member in v]
            if set(given) - {vector.get(member) for vector in before} and not user.is_admin:
                text = f"VM Template includes a restricted attribute {member}."
                raise OneError(errors.AUTHORIZATION, f"User [{user.id}] : {text}")


def _allocation(message: str) -> OneError:
    return OneError(errors.INTERNAL, message)


def _not_positive(name: str) -> OneError:
    return _allocation(f"{name} attribute must be a positive integer value.")


def _cpu(merged: Template) -> float:
    try:
        cpu = float(merged.text("CPU") or "")
    except ValueError:
        cpu = 0.0
    if not 0 < cpu < math.inf:
        raise _allocation("CPU attribute must be a positive float or integer value.")
    return cpu


def _whole(merged: Template, name: str, default: int | None) -> int:
    text = merged.text(name)
    if text is None and default is not None:
        return default
    if text is None or not text.strip().isdigit() or int(text) <= 0:
        raise _not_positive(name)
    return int(text)
