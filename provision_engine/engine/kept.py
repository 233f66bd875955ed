"""Writing a runtime's document."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from provision_engine.cloud import template
from provision_engine.cloud.client import CloudClient
from provision_engine.engine.document import Phase, Runtime


def write(cloud: CloudClient, runtime: Runtime) -> None:
    cloud.oned.update_document(runtime.id, template.document_body(runtime.body))


def mark(cloud: CloudClient, runtime: Runtime, phase: Phase) -> None:
    """Write down how far the life of a runtime has come."""
    write(cloud, dataclasses.replace(runtime, phase=phase))


def complete(
    cloud: CloudClient, runtime: Runtime, service_id: int, vm_ids: Mapping[str, int | None]
) -> Runtime:
    """Write down the service and the VMs, by role, of a runtime that is there now."""
    runtime = runtime.with_vms(vm_ids)
    runtime = dataclasses.replace(runtime, service_id=service_id, phase=Phase.READY)
    write(cloud, runtime)
    return runtime
