"""Starting and ending the oneflow service of a runtime. Nothing that was started is forgotten."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterable, Mapping
from typing import Any

from provision_engine.cloud.client import CloudClient
from provision_engine.cloud.errors import of_text
from provision_engine.cloud.objects import Document
from provision_engine.deadline import Deadline
from provision_engine.engine import states
from provision_engine.engine.document import SERVICE_TYPE
from provision_engine.errors import (
    ActionRefused,
    BackendTimeout,
    CapacityRefused,
    DeployFailed,
    NotFound,
)

PURGE_PAUSE_SECONDS = 1.0
OURS = re.compile(r".+_[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
"""The name that a service of ours has: its flavour tuple and a random UUID."""
STATE_NAMES = (
    "PENDING",
    "DEPLOYING",
    "RUNNING",
    "UNDEPLOYING",
    "WARNING",
    "DONE",
    "FAILED_UNDEPLOYING",
    "FAILED_DEPLOYING",
    "SCALING",
    "FAILED_SCALING",
    "COOLDOWN",
    "DEPLOYING_NETS",
    "UNDEPLOYING_NETS",
    "FAILED_DEPLOYING_NETS",
    "FAILED_UNDEPLOYING_NETS",
    "HOLD",
)
"""oneflow's own, by number."""


def new_name(flavour_tuple: str) -> str:
    """A name that no other service has, by which it is found again whatever happens."""
    return f"{flavour_tuple}_{uuid.uuid4()}"


def is_ours(name: str) -> bool:
    """Whether a service's name is one that an engine gives."""
    return OURS.fullmatch(name) is not None


def state_name(service: Mapping[str, Any]) -> str:
    """What oneflow calls the state of a service, from its body."""
    number = service.get("state")
    if isinstance(number, int) and 0 <= number < len(STATE_NAMES):
        return STATE_NAMES[number]
    return f"state {number}"


def wait_for_vms(cloud: CloudClient, service_id: int, role_names: Iterable[str]) -> dict[str, int]:
    """Wait until each of the roles has its VM; the VMs' ids by role name.

    Raises DeployFailed or CapacityRefused with the service's log as soon as it has failed,
    BackendTimeout when the deadline passes first.
    """
    wanted = set(role_names)
    for _ in cloud.deadline.polls():
        service = cloud.oned.document(service_id).body
        if states.has_failed(service) or states.is_ending(service):
            raise deploy_error(service)
        vm_ids = {name: vm for name, vm in states.vm_ids(service).items() if vm is not None}
        if wanted <= vm_ids.keys():
            return vm_ids
    raise BackendTimeout(f"Service {service_id} has no VMs yet")


def deploy_error(service: Mapping[str, Any]) -> DeployFailed | CapacityRefused:
    """Why a service failed, with its log; a lack of quota or capacity has an error of its own."""
    log = [dict(entry) for entry in states.service_log(service)]
    if any(of_text(str(entry.get("message"))) is CapacityRefused for entry in log):
        return CapacityRefused(log)
    return DeployFailed(log)


def find(cloud: CloudClient, name: str) -> list[Document]:
    """The caller's services of this name, which is unique unless a start was repeated."""
    return [d for d in cloud.oned.documents(SERVICE_TYPE) if d.name == name]


def remove(cloud: CloudClient, service_id: int, deadline: Deadline) -> bool:
    """End a service and its VMs; whether it was gone before the deadline.

    One that cannot be undeployed in its state is recovered with delete, and that as often as
    it fails, since a VM in the middle of a change cannot be ended until the change is over.
    """
    cloud = cloud.until(deadline)
    try:
        try:
            cloud.oneflow.delete_service(service_id)
        except ActionRefused:
            cloud.oneflow.purge_service(service_id)
        return _wait_until_gone(cloud, service_id)
    except NotFound:
        return True


def _wait_until_gone(cloud: CloudClient, service_id: int) -> bool:
    """Raises NotFound when it is gone; False when the deadline came first."""
    purge_again = cloud.deadline.remaining_seconds - PURGE_PAUSE_SECONDS
    for _ in cloud.deadline.polls():
        if cloud.deadline.is_over:
            break
        service = cloud.oned.document(service_id).body
        if states.has_failed(service) and cloud.deadline.remaining_seconds < purge_again:
            cloud.oneflow.purge_service(service_id)
            purge_again = cloud.deadline.remaining_seconds - PURGE_PAUSE_SECONDS
    return False
