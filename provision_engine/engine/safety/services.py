"""Wait for the oneflow service of a runtime, and find it again. ``ending`` ends it."""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping

from provision_engine.cloud.client import CloudClient
from provision_engine.cloud.errors import from_text
from provision_engine.cloud.objects import Service
from provision_engine.engine.runtime import states
from provision_engine.engine.runtime.flow_template import assign_roles
from provision_engine.engine.runtime.model import Runtime
from provision_engine.engine.safety.ownership import Holdings
from provision_engine.engine.time_limits import APPEARING_SECONDS
from provision_engine.errors import (
    BackendDown,
    BackendTimeout,
    BackendUnreachable,
    BadGateway,
    CapacityRefused,
    DeployedAnew,
    DeployFailed,
)

UNSURE = (BackendTimeout, BackendUnreachable, BadGateway)
"""After these the call may have had an effect, or none."""
ENGINE_NAME = re.compile(r".+_[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
"""The name of a service that an engine started: its flavour tuple and a random UUID."""


def new_name(flavour_tuple: str) -> str:
    """Return a name that no other service has, by which it is found again whatever happens."""
    return f"{flavour_tuple}_{uuid.uuid4()}"


def wait_for_vms(
    cloud: CloudClient, service_id: int, role_names: Mapping[str, str]
) -> dict[str, int | None]:
    """Wait until a service has the VMs of FAAS and DAAS, whose ``role_names`` it knows.

    Raises DeployFailed with the service's log as soon as it has failed, CapacityRefused with it
    for a lack of quota, DeployedAnew where its VMs are not its owner's, BackendTimeout when the
    deadline passes first.
    """
    for _ in cloud.deadline.polls():
        service = Service.from_document(cloud.oned.document(service_id))
        if states.service_has_failed(service) or states.service_is_ending(service):
            log = [dict(entry) for entry in service.log]
            is_quota = any(from_text(str(e.get("message"))) is CapacityRefused for e in log)
            raise CapacityRefused(log) if is_quota else DeployFailed(log)
        if service.has_vms_of_others:
            raise DeployedAnew(
                f"oneflow was restarted, and the VMs of service {service_id} are not the user's"
            )
        known = states.vm_ids(service)
        vm_ids = {role: known.get(name) for role, name in role_names.items()}
        if None not in vm_ids.values():
            return vm_ids
    raise BackendTimeout(f"Service {service_id} has no VMs yet")


def find(holdings: Holdings, name: str, *, newer_than: int) -> list[Service]:
    """Return the owner's services of this name, which is unique unless a start was repeated.

    A service is started after its runtime's document was written, and ids only grow: only
    documents ``newer_than`` that one are read. A name that no engine gives finds nothing.
    """
    if not ENGINE_NAME.fullmatch(name):
        return []
    return [service for service in holdings.services(newer_than + 1) if service.name == name]


def find_started(holdings: Holdings, runtime: Runtime, *, is_unsure: bool) -> list[Service] | None:
    """Return the services that were started for a runtime; None where one may still appear.

    ``is_unsure`` says that the response to the start was lost.
    """
    # Half of the time is left to write down that it has not appeared.
    deadline = holdings.cloud.deadline
    patience_seconds = min(APPEARING_SECONDS, deadline.remaining_seconds / 2)
    for _ in deadline.at_most(patience_seconds).polls():
        found = find(holdings, runtime.service_name, newer_than=runtime.id)
        if found or not is_unsure:
            return found
    return None


def is_unsure(error: BaseException) -> bool:
    """Return whether the failed call may have had an effect."""
    return isinstance(error, UNSURE) and not isinstance(error, BackendDown)


def assigned(runtime: Runtime, vm_ids: Mapping[str, int | None]) -> dict[str, int | None]:
    """Return the VMs of a service by FAAS and DAAS, from those by the names of its roles."""
    flavours = {role: function.flavour for role, function in runtime.functions.items()}
    indexes = assign_roles(flavours, list(vm_ids))
    in_order = list(vm_ids.values())
    return {role: in_order[indexes[role]] if role in indexes else None for role in flavours}
