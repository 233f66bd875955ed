"""Whether a user's quota leaves room for more, before anything is asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from provision_engine.cloud.client import CloudClient
from provision_engine.cloud.objects import Quota as Quota
from provision_engine.engine.context import Context
from provision_engine.engine.runtime.model import Function
from provision_engine.errors import CapacityRefused


def get_quota(context: Context) -> Quota:
    """Return the caller's own quota of VMs."""
    return context.cloud.oned.quota()


def check_new(
    cloud: CloudClient, functions: Sequence[Function], freed: Sequence[Function] = ()
) -> None:
    """Raises CapacityRefused where these are not available in addition, once others are ended."""
    check(cloud, _total(functions), _total(freed))


def _total(functions: Sequence[Function]) -> dict[str, int]:
    return {
        "VMS": len(functions),
        "CPU": sum(f.cpu for f in functions),
        "MEMORY": sum(f.memory_mb for f in functions),
        "SYSTEM_DISK_SIZE": sum(f.disk_size_mb for f in functions),
    }


def check(
    cloud: CloudClient, more: Mapping[str, int], freed: Mapping[str, int] = MappingProxyType({})
) -> None:
    """Raises CapacityRefused where a quota leaves no room for what would be used in addition,
    also when something else is freed.
    """
    if not any(growth > 0 for growth in more.values()):
        return
    quota, less = cloud.oned.quota(), _with_running(freed)
    for name, growth in _with_running(more).items():
        limit, used = quota.limits[name], quota.used[name] - less.get(name, 0)
        if growth > 0 and 0 <= limit < used + growth:
            raise CapacityRefused(
                f"The user's quota of {name} is {limit:g}, of which {used:g} is used; "
                f"this needs {growth} more"
            )


def _with_running(more: Mapping[str, int]) -> dict[str, int]:
    """What runs is counted by quotas of its own, too."""
    running = {f"RUNNING_{n}": more[n] for n in ("VMS", "CPU", "MEMORY") if n in more}
    return {**more, **running}
