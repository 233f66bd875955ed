"""What happened when, while a runtime was made, as far as OpenNebula remembers it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

from provision_engine.cloud.client import CloudClient
from provision_engine.cloud.objects import VmTimes
from provision_engine.engine import lease
from provision_engine.engine.document import Runtime
from provision_engine.errors import NotFound

Json = dict[str, Any]


def of(cloud: CloudClient, runtime: Runtime) -> list[Json]:
    """The steps that one caller's runtime took."""
    service: Mapping[str, Any] | None = None
    if runtime.service_id is not None:
        with suppress(NotFound):
            service = cloud.oned.document(runtime.service_id).body
    times = {}
    for vm_id in runtime.vm_ids:
        with suppress(NotFound):
            times[vm_id] = cloud.oned.vm_times(vm_id)
    return steps(runtime, service, times)


def steps(
    runtime: Runtime, service: Mapping[str, Any] | None, times: Mapping[int, VmTimes]
) -> list[Json]:
    """The steps that are known, in time order; all times are OpenNebula's, to the second.

    ``times`` by VM id. When a VM has booted and is ready is written down nowhere.
    """
    found = [*_of_service(runtime, service)]
    for role, function in runtime.functions.items():
        if function.vm_id is not None and function.vm_id in times:
            found += _of_vm(role, times[function.vm_id])
    # Stable: of what happened within one second the order of making decides.
    return [step | {"AT": lease.rfc3339(step["AT"])} for step in sorted(found, key=_when)]


def _when(step: Json) -> int:
    return int(step["AT"])


def _of_service(runtime: Runtime, service: Mapping[str, Any] | None) -> Iterator[Json]:
    if runtime.created_at:
        yield {"STEP": "ASKED", "AT": runtime.created_at}
    started_at = (service or {}).get("start_time")
    if isinstance(started_at, int) and started_at > 0:
        yield {"STEP": "SERVICE", "AT": started_at}


def _of_vm(role: str, times: VmTimes) -> Iterator[Json]:
    known = {"VM": times.made, "SCHEDULED": times.scheduled, "COPIED": times.copied}
    for step, at in known.items():
        if at:
            yield {"STEP": step, "FUNCTION": role, "AT": at}
