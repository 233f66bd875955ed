"""Quotas and usage of a user. Source: scenarios quota-exceeded, vm-user-template-update."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from provision_engine.sandbox import errors, xml
from provision_engine.sandbox.errors import OneError

METRICS = (
    "VMS", "CPU", "MEMORY", "SYSTEM_DISK_SIZE", "RUNNING_VMS", "RUNNING_CPU", "RUNNING_MEMORY",
)  # fmt: skip
_PCI_METRICS = ("PCI_DEV", "PCI_NIC", "RUNNING_PCI_DEV", "RUNNING_PCI_NIC")
UNLIMITED = -1.0


def number(value: float) -> str:
    """A number as oned writes it: whole, or with two decimals."""
    return str(int(value)) if value == int(value) else f"{value:.2f}"


@dataclass
class Quotas:
    """Limits and usage by metric; -1 means unlimited."""

    limits: dict[str, float] = field(default_factory=dict)
    used: dict[str, float] = field(default_factory=dict)
    leases_used: int = 0
    image_used: int = 0

    def set_limits(self, limits: dict[str, str]) -> None:
        """Sets the limits given to one.user.quota; ValueError if one is not a number."""
        self.limits |= {name: float(value) for name, value in limits.items() if name in METRICS}

    def check(self, user_id: int, wanted: dict[str, float]) -> None:
        """0x0200 if usage plus `wanted` exceeds a limit."""
        for metric in METRICS:
            limit = self.limits.get(metric, UNLIMITED)
            total = self.used.get(metric, 0.0) + wanted.get(metric, 0.0)
            if limit != UNLIMITED and wanted.get(metric, 0.0) > 0 and total > limit:
                raise OneError(
                    errors.AUTHORIZATION,
                    f"User [{user_id}] : user [{user_id}] limit of {number(limit)} reached"
                    f" for {metric} quota in VM.",
                )

    def take(self, amounts: dict[str, float]) -> None:
        """Adds to the usage (or subtracts, if negative)."""
        for metric, amount in amounts.items():
            self.used[metric] = self.used.get(metric, 0.0) + amount

    def to_xml(self, network_id: int, has_pci: bool) -> str:
        """The quota elements of one.user.info; each empty without a limit or usage."""
        network = {"ID": network_id, "LEASES": -1, "LEASES_USED": self.leases_used}
        image = {"ID": 0, "RVMS": -1, "RVMS_USED": self.image_used}
        has_vms = bool(self.limits) or any(self.used.values())
        return (
            "<DATASTORE_QUOTA></DATASTORE_QUOTA>"
            + _quota("NETWORK", network, is_shown=self.leases_used > 0)
            + _quota("VM", self._vm_members(has_pci), is_shown=has_vms)
            + _quota("IMAGE", image, is_shown=self.image_used > 0)
        )

    def _vm_members(self, has_pci: bool) -> dict[str, object]:
        members: dict[str, object] = {}
        for metric in (*METRICS, *(_PCI_METRICS if has_pci else ())):
            members[metric] = number(self.limits.get(metric, UNLIMITED))
            members[f"{metric}_USED"] = number(self.used.get(metric, 0.0))
        return members


def _quota(name: str, members: Mapping[str, object], is_shown: bool) -> str:
    return f"<{name}_QUOTA>{xml.vector(name, members) if is_shown else ''}</{name}_QUOTA>"
