"""Creates a VM from a VM template and the caller's attributes (one.template.instantiate)."""

from __future__ import annotations

import math
import uuid

from provision_engine.sandbox import errors, names
from provision_engine.sandbox.devices import Devices
from provision_engine.sandbox.errors import OneError
from provision_engine.sandbox.lifecycle import Lifecycle
from provision_engine.sandbox.releases import Release
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
_SET_LATER = {"DISK", "NIC", "NIC_ALIAS", "CONTEXT", "VMGROUP"}


class Machines:
    """Creates VMs."""

    def __init__(self, store: Store, lifecycle: Lifecycle) -> None:
        self._store = store
        self._lifecycle = lifecycle
        self.devices = Devices(store)

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
        check_restricted(self._store.release, user, extra, source)
        name = name or extra.text("NAME") or ""
        if name and not self._store.release.size_errors_are_quotas:
            names.check_name(name, errors.INTERNAL)
        cpu, memory_mb, vcpu = self._sizes(user, merged)
        wanted = {"VMS": 1.0, "CPU": cpu, "MEMORY": float(memory_mb)}
        disks = [self.devices.disk(user, d, i) for i, d in enumerate(merged.vectors("DISK"))]
        wanted |= {f"RUNNING_{name}": amount for name, amount in wanted.items()}
        wanted["SYSTEM_DISK_SIZE"] = float(sum(int(d.get("SIZE", "0")) for d in disks))
        user.quotas.check(user.id, wanted)
        self.devices.check_networks(user, merged)
        if merged.vectors("TOPOLOGY") and merged.text("VCPU_MAX"):
            raise _allocation("VM with TOPOLOGY does not support CPU hotplug (VCPU_MAX)")
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
            if name in _MACHINE_ATTRIBUTES - _SET_LATER:
                machine.append((name, value))
            elif name not in _MACHINE_ATTRIBUTES | {"SCHED_ACTION", "NAME"}:
                vm.user_template.items.append((name, value))
        machine += [
            *self.devices.requirements(disks, merged.vectors("NIC")),
            *([("TEMPLATE_ID", str(source.id))] if source else []),
            ("VMID", str(vm.id)),
            *[("DISK", disk) for disk in disks],
        ]
        vm.template = Template(machine)
        if self._store.release.writes_features_in_capitals:
            for features in vm.template.vectors("FEATURES"):
                features |= {name: text.upper() for name, text in features.items()}
        self._add_identity(vm)
        self.devices.pass_through(vm)
        self.devices.group(vm, merged)
        self.devices.connect(vm, self._store.owner_of(vm), merged)
        self.devices.order(vm)
        self.devices.context(vm, merged, len(disks))

    def _add_identity(self, vm: Vm) -> None:
        given = vm.template.get("OS")
        os = dict(given) if isinstance(given, dict) else {}
        os.setdefault("UUID", str(uuid.uuid5(uuid.NAMESPACE_OID, f"vm-{vm.id}")))
        vm.template.set("OS", os)

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


_RESTRICTED_DISK_LIMITS = tuple(
    f"{what}_{unit}_SEC{suffix}"
    for what in ("TOTAL", "READ", "WRITE")
    for unit in ("BYTES", "IOPS")
    for suffix in ("", "_MAX", "_MAX_LENGTH")
)
_RESTRICTED = {
    "CONTEXT": ("FILES",),
    "NIC": ("MAC", "VLAN_ID", "BRIDGE", "EXTERNAL"),
    "NIC_ALIAS": ("MAC", "VLAN_ID", "BRIDGE", "EXTERNAL"),
    "DISK": (*_RESTRICTED_DISK_LIMITS, "SIZE_IOPS_SEC", "ORIGINAL_SIZE"),
    "TOPOLOGY": ("PIN_POLICY", "HUGEPAGE_SIZE"),
}
"""Some of the attributes that ordinary users may only repeat (VM_RESTRICTED_ATTR of oned.conf)."""
_RAW: dict[bool, tuple[str, ...]] = {True: ("DATA",), False: ()}


def check_restricted(
    release: Release, user: User, extra: Template, source: VmTemplate | None = None
) -> None:
    """0x0200 if an ordinary user gives a restricted attribute that the template does not have."""
    before = source.template if source else Template()
    for name, members in (_RESTRICTED | {"RAW": _RAW[release.restricts_raw]}).items():
        for member in members:
            given, known = (t.values(name, member) for t in (extra, before))
            if any(value not in known for value in given) and not user.is_admin:
                which, shown = ("User", name) if source else ("VM", member)
                text = f"{which} Template includes a restricted attribute {shown}."
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
