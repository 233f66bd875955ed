"""Turn a specification and a VM template into the attributes of a role's VMs. Pure."""

from __future__ import annotations

import base64
from collections.abc import Mapping

from provision_engine.cloud.objects import Attributes
from provision_engine.config import Capacity
from provision_engine.engine.runtime import sizes
from provision_engine.engine.runtime.model import DeviceInfo, Function
from provision_engine.engine.runtime.specification import Specification
from provision_engine.engine.safety import leases


def role_attributes(
    function: Function,
    template: Attributes,
    specification: Specification,
    flow_template_id: int,
    capacity: Capacity,
    sr_auth: str | None,
) -> Attributes:
    """Return a role's VM attributes: texts, vectors as dictionaries, repeated names as a list."""
    attributes = sizes.vm_attributes(function.sizes, capacity) | {
        "MEMORY_RESIZE_MODE": capacity.memory_resize_mode,
        "HOT_RESIZE": {"CPU_HOT_ADD_ENABLED": "YES", "MEMORY_HOT_ADD_ENABLED": "YES"},
    }
    if disks := sizes.vectors(template, "DISK"):
        attributes["DISK"] = [disks[0] | {"SIZE": str(function.sizes["DISK_SIZE"])}, *disks[1:]]
    if context := _context(template, sr_auth):
        attributes["CONTEXT"] = context
    if specification.lease_seconds is not None:
        attributes["SCHED_ACTION"] = leases.action(f"+{specification.lease_seconds}")
    attributes |= user_attributes(specification.scheduling, specification.device_info)
    return attributes | {"FLAVOURS": str(flow_template_id)}


def user_attributes(scheduling: Mapping[str, str], device_info: DeviceInfo) -> Attributes:
    """Return the attributes of a VM's user template that follow from what the device sends."""
    attributes: Attributes = {}
    if requirements := scheduling.get("REQUIREMENTS"):
        attributes["SCHED_REQUIREMENTS"] = requirements.upper()
    if policy := scheduling.get("POLICY"):
        attributes["SCHED_RANK"] = policy.upper()
    if device_info:
        attributes["DEVICE_INFO"] = {name: str(value) for name, value in device_info.items()}
    return attributes


def texts_of_several_lines(attributes: Attributes) -> list[str]:
    """Return the names of the texts in CONTEXT that hold a newline, which oneflow 7 changes."""
    return [name for name, text in attributes.get("CONTEXT", {}).items() if "\n" in text]


def _context(template: Attributes, sr_auth: str | None) -> Attributes:
    context = next(iter(sizes.vectors(template, "CONTEXT")), {})
    # oneflow 7 puts commas into texts of several lines; a script survives that as base64.
    script = context.get("START_SCRIPT", "")
    if "\n" in script:
        context = {name: value for name, value in context.items() if name != "START_SCRIPT"}
        context["START_SCRIPT_BASE64"] = base64.b64encode(script.encode()).decode()
    return context | ({"SR_AUTH": sr_auth} if sr_auth else {})
