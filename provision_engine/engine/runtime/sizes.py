"""The sizes of a function: one row for each, from which everything that is done with it follows."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from provision_engine.cloud.objects import Attributes, Vm
from provision_engine.cloud.values import LARGEST_NUMBER
from provision_engine.config import Capacity

Sizes = Mapping[str, int]
"""By name, in the order of SIZES. What a request leaves to the engine is missing."""


@dataclass(frozen=True)
class Size:
    """Where one size of a function stands. Its name is that in requests and documents."""

    unit: str
    quota: str
    """The metric of a user's quota that it counts towards."""
    in_template: Callable[[Attributes], Any]
    """What a VM template says of it."""
    in_vm: Callable[[Vm], int | None]
    default: Callable[[Capacity], int]
    """What engine.conf says, where neither the request nor the VM template says anything."""
    attributes: Mapping[str, Callable[[Vm], float | None]] = field(default_factory=dict)
    """Those of a VM that hold it, by which a running VM is resized. A disk has none: it stands
    in DISK, is resized by a call of its own, and cannot shrink."""
    maximum: str = ""
    """The attribute that says how far a running VM can be resized."""
    maximum_conflicts_with: str | None = None
    """The attribute beside which OpenNebula refuses that one."""
    maximum_in_vm: Callable[[Vm], int | None] = lambda vm: None
    multiplier: Callable[[Capacity], int] = lambda capacity: 1
    """The maximum of a new VM is so many times its size."""


SIZES: Mapping[str, Size] = {
    "CPU": Size(
        unit="cores",
        quota="CPU",
        in_template=lambda template: template.get("VCPU") or template.get("CPU"),
        in_vm=lambda vm: vm.vcpu or math.ceil(vm.cpu_share),
        default=lambda capacity: capacity.default_cores,
        attributes={"CPU": lambda vm: vm.cpu_share, "VCPU": lambda vm: vm.vcpu},
        maximum="VCPU_MAX",
        maximum_conflicts_with="TOPOLOGY",
        maximum_in_vm=lambda vm: vm.cpu_max,
        multiplier=lambda capacity: capacity.cores_multiplier,
    ),
    "MEMORY": Size(
        unit="MB",
        quota="MEMORY",
        in_template=lambda template: template.get("MEMORY"),
        in_vm=lambda vm: vm.memory_mb,
        default=lambda capacity: capacity.default_memory_mb,
        attributes={"MEMORY": lambda vm: vm.memory_mb},
        maximum="MEMORY_MAX",
        maximum_in_vm=lambda vm: vm.memory_max_mb,
        multiplier=lambda capacity: capacity.memory_multiplier,
    ),
    "DISK_SIZE": Size(
        unit="MB",
        quota="SYSTEM_DISK_SIZE",
        in_template=lambda template: next(iter(vectors(template, "DISK")), {}).get("SIZE"),
        in_vm=lambda vm: vm.disk_size_mb,
        default=lambda capacity: capacity.default_disk_mb,
    ),
}


def complete(requested: Sizes, template: Attributes, capacity: Capacity) -> dict[str, int]:
    """Return all sizes: as requested, else as the VM template says, else the default."""
    return {
        name: requested.get(name) or _number(size.in_template(template)) or size.default(capacity)
        for name, size in SIZES.items()
    }


def from_vm(vm: Vm) -> dict[str, int]:
    """Return the sizes that a VM has; without a disk there is no DISK_SIZE."""
    found = {name: size.in_vm(vm) for name, size in SIZES.items()}
    return {name: value for name, value in found.items() if value is not None}


def vm_attributes(
    requested: Sizes, sizes: Sizes, template: Attributes, capacity: Capacity
) -> Attributes:
    """Return the attributes of a new VM that hold its sizes, and how far it can be resized.

    What its template says stays as it is written there, unless the size is ``requested``.
    """
    attributes: Attributes = {}
    for name, value in sizes.items():
        size = SIZES[name]
        written = size.attributes.keys() & {n for n in template if _number(template[n])}
        if "CPU" in written and value == 1:
            written |= size.attributes.keys()  # a VM without VCPU has one
        if name in requested:
            written = set()
        attributes |= {name: str(value) for name in size.attributes if name not in written}
        if size.maximum and size.maximum_conflicts_with not in template:
            attributes[size.maximum] = str(value * size.multiplier(capacity))
    return attributes


def cpu_share(requested: Sizes, template: Attributes) -> float | None:
    """Return the share of a host's CPU where it is not the number of cores: the operator's."""
    is_written = "CPU" not in requested and _number(template.get("CPU")) is not None
    return float(template["CPU"]) if is_written else None


def quota_of(sizes: Sizes) -> dict[str, int]:
    """Return what sizes count towards a user's quota, by metric."""
    return {SIZES[name].quota: value for name, value in sizes.items()}


def shown(sizes: Sizes) -> str:
    """Return sizes for a person: ``CPU 2, MEMORY 512 MB, DISK_SIZE 1024 MB``."""
    units = {name: f" {size.unit}" if size.unit == "MB" else "" for name, size in SIZES.items()}
    return ", ".join(f"{name} {value}{units[name]}" for name, value in sizes.items())


def vectors(template: Attributes, name: str) -> list[Attributes]:
    """Return the vectors of a name in a template, such as its DISKs."""
    values = template.get(name, [])
    values = values if isinstance(values, list) else [values]
    return [value for value in values if isinstance(value, dict)]


def _number(text: Any) -> int | None:
    """Return a size in a VM template, rounded up to whole units; None where there is none."""
    try:
        size = math.ceil(float(text))
    except (TypeError, ValueError, OverflowError):
        return None
    return size if 0 < size <= LARGEST_NUMBER else None
