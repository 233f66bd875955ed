"""Objects that several tests of the engine need."""

from __future__ import annotations

import time
from typing import Any

from provision_engine.cloud.client import Credentials
from provision_engine.cloud.objects import User
from provision_engine.deadline import Deadline
from provision_engine.engine.cache import Cache
from provision_engine.engine.context import Context, Memory
from provision_engine.engine.runtime import attributes as attributes_of
from provision_engine.engine.runtime.specification import RequestedFunction, Specification
from tests.unit.support import OWNER, configuration, function

ME = Credentials("devuser", "devpass")
FUNCTION_TEMPLATE = {  # VM template 0 of the recordings
    "CONTEXT": {"NETWORK": "YES", "TOKEN": "YES"},
    "CPU": "1",
    "DISK": {"IMAGE": "img", "IMAGE_UNAME": "oneadmin"},
    "MEMORY": "128",
    "NIC": {"NETWORK": "net", "NETWORK_UNAME": "oneadmin"},
    "VCPU": "1",
}


class Cloud:
    """The caller's client, with the test's replacement of OpenNebula."""

    def __init__(self, oned: Any = None, oneflow: Any = None) -> None:
        self.oned, self.oneflow = oned, oneflow
        self.credentials, self.deadline = ME, Deadline(20)

    def until(self, deadline: Deadline) -> Cloud:
        return self

    def now(self) -> float:
        return time.time()


def context(cloud: Any, text: str = "") -> Context:
    """A request of ``ME``, who is user ``OWNER``; ``text`` is the configuration."""
    made = Context(cloud, configuration(text), Memory.empty(Cache(10)))
    made.memory.users.put(made.owner, User(OWNER, is_administrator=False))
    return made


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
        Specification(functions={"FAAS": RequestedFunction("Function")}, **(device | sent)),
        flow_template_id,
        configuration().capacity,
        ME.token,
    )
