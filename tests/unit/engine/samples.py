"""Objects that several tests of the engine need."""

from __future__ import annotations

from typing import Any

from provision_engine.cloud.client import Credentials
from provision_engine.engine.runtime import attributes as attributes_of
from provision_engine.engine.runtime.model import Function
from provision_engine.engine.runtime.specification import Specification
from tests.unit.support import configuration, function

ME = Credentials("devuser", "devpass")
FUNCTION_TEMPLATE = {  # VM template 0 of the recordings
    "CONTEXT": {"NETWORK": "YES", "TOKEN": "YES"},
    "CPU": "1",
    "DISK": {"IMAGE": "img", "IMAGE_UNAME": "oneadmin"},
    "MEMORY": "128",
    "NIC": {"NETWORK": "net", "NETWORK_UNAME": "oneadmin"},
    "VCPU": "1",
}


def attributes(
    flow_template_id: int, template: dict[str, Any] | None = None, **sent: Any
) -> dict[str, Any]:
    """The attributes of a role's VMs; ``sent`` are members of the specification."""
    device = {
        "scheduling": {"REQUIREMENTS": "free_cpu > 1", "POLICY": "free_cpu"},
        "device_info": {"LATENCY_TO_PE": 0.36, "GEOGRAPHIC_LOCATION": "Madrid"},
    }
    return attributes_of.role_attributes(
        function("Function", 2, 256, 1025),
        FUNCTION_TEMPLATE if template is None else template,
        Specification(functions={"FAAS": Function("Function")}, **(device | sent)),
        flow_template_id,
        configuration().capacity,
        ME.token,
    )
