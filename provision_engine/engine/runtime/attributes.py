"""Turn a specification and a VM template into the attributes of a role's VMs. Pure."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping

from provision_engine.cloud.objects import Attributes
from provision_engine.config import Capacity
from provision_engine.engine.runtime import scheduling as expressions
from provision_engine.engine.runtime import sizes
from provision_engine.engine.runtime.model import DeviceInfo, Function
from provision_engine.engine.runtime.scheduling import InvalidExpression
from provision_engine.engine.runtime.specification import POLICY, REQUIREMENTS, Specification
from provision_engine.engine.safety import leases


def role_attributes(
    requested: Function,
    template: Attributes,
    specification: Specification,
    flow_template_id: int,
    capacity: Capacity,
    sr_auth: str | None,
) -> Attributes:
    """Return the attributes that the engine adds to the operator's ``template``, or sets over it.

    Texts, vectors as dictionaries, repeated names as a list.
    """
    function = requested.sized(template, capacity)
    attributes = sizes.vm_attributes(requested.sizes, function.sizes, template, capacity) | {
        "HOT_RESIZE": {"CPU_HOT_ADD_ENABLED": "YES", "MEMORY_HOT_ADD_ENABLED": "YES"},
    }
    if "MEMORY_RESIZE_MODE" not in template:
        attributes["MEMORY_RESIZE_MODE"] = capacity.memory_resize_mode
    disk_size = str(function.sizes["DISK_SIZE"])
    disks = sizes.vectors(template, "DISK")
    if disks and disks[0].get("SIZE") != disk_size:
        attributes["DISK"] = [disks[0] | {"SIZE": disk_size}, *disks[1:]]
    context = next(iter(sizes.vectors(template, "CONTEXT")), {})
    if (own := _context(context, sr_auth)) != context:
        attributes["CONTEXT"] = own
    if specification.lease_seconds is not None:
        lease = leases.action(f"+{specification.lease_seconds}")
        others = leases.others(sizes.vectors(template, "SCHED_ACTION"))
        attributes["SCHED_ACTION"] = [*others, lease] if others else lease
    operators = requirements_of(template)
    sent = user_attributes(specification.scheduling, specification.device_info, operators)
    return attributes | sent | {"FLAVOURS": str(flow_template_id)}


def user_attributes(
    scheduling: Mapping[str, str], device_info: DeviceInfo, operators: str
) -> Attributes:
    """Return the attributes of a VM's user template that follow from what the device sends.

    The ``operators`` requirements have to hold as well.
    """
    attributes: Attributes = {}
    if requirements := _requirements(scheduling):
        attributes["SCHED_REQUIREMENTS"] = expressions.all_of([operators, requirements])
    if rank := _expression(expressions.rank, scheduling.get(POLICY, "")):
        attributes["SCHED_RANK"] = rank
    if device_info:
        attributes["DEVICE_INFO"] = {name: str(value) for name, value in device_info.items()}
    return attributes


def requirements_of(template: Attributes) -> str:
    """Return what an operator's template requires of the hosts of a VM; empty for anything else."""
    found = template.get("SCHED_REQUIREMENTS")
    return found if isinstance(found, str) else ""


def without_sent(requirements: str, scheduling: Mapping[str, str]) -> str:
    """Return the operator's part of a VM's requirements, without what its device has sent."""
    sent = _requirements(scheduling)
    if requirements == sent:
        return ""
    before, joint, after = requirements.rpartition(f") & ({sent})")
    return before.removeprefix("(") if joint and not after else requirements


def _requirements(scheduling: Mapping[str, str]) -> str:
    return _expression(expressions.requirements, scheduling.get(REQUIREMENTS, ""))


def _expression(read: Callable[[str], str], text: str) -> str:
    """Return an expression for the scheduler; nothing of one that a document's owner broke."""
    try:
        return read(text.upper())
    except InvalidExpression:
        return ""


def texts_of_several_lines(attributes: Attributes) -> list[str]:
    """Return the names of the texts in CONTEXT that hold a newline, which oneflow 7 changes."""
    return [name for name, text in attributes.get("CONTEXT", {}).items() if "\n" in text]


def _context(context: Mapping[str, str], sr_auth: str | None) -> Attributes:
    own = dict(context)
    # oneflow 7 puts commas into texts of several lines; a script survives that as base64.
    if "\n" in (script := own.get("START_SCRIPT", "")):
        del own["START_SCRIPT"]
        own["START_SCRIPT_BASE64"] = base64.b64encode(script.encode()).decode()
    return own | ({"SR_AUTH": sr_auth} if sr_auth else {})
