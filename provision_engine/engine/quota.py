"""Whether a user's quota leaves room for more, before anything is requested."""

from __future__ import annotations

from collections import defaultdict
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
    """Raise CapacityRefused where these are not available in addition, once others are ended."""
    check(cloud, _total(functions), _total(freed))


def _total(functions: Sequence[Function]) -> dict[str, float]:
    total: defaultdict[str, float] = defaultdict(float)
    for function in functions:
        for metric, size in function.quota().items():
            total[metric] += size
    return total


def check(
    cloud: CloudClient, more: Mapping[str, float], freed: Mapping[str, float] = MappingProxyType({})
) -> None:
    """Raise CapacityRefused where a quota leaves no room for what would be used in addition,
    also when something else is freed.
    """
    if not any(growth > 0 for growth in more.values()):
        return
    quota = cloud.oned.quota()
    running = [name for metric in more if (name := f"RUNNING_{metric}") in quota.limits]
    for name in (*more, *running):  # what runs is counted by quotas of its own, too
        metric, limit = name.removeprefix("RUNNING_"), quota.limits[name]
        growth, used = more[metric], quota.used[name] - freed.get(metric, 0)
        if growth > 0 and 0 <= limit < used + growth:
            raise CapacityRefused(
                f"The user's quota of {name} is {limit:g}, of which {used:g} is used; "
                f"this needs {growth:g} more"
            )
