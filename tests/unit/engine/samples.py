"""Objects that several tests of the engine need."""

from __future__ import annotations

from typing import Any

from provision_engine.cloud.client import Credentials
from provision_engine.cloud.objects import User
from provision_engine.cloud.oned import Call, Outcome
from provision_engine.engine.context import Context
from provision_engine.engine.memory import Memory
from provision_engine.engine.runtime import attributes as attributes_of
from provision_engine.engine.runtime.model import Function
from provision_engine.engine.runtime.specification import Specification
from provision_engine.errors import EngineError
from tests.unit.support import OWNER, configuration, function

ME = Credentials("devuser", "devpass")
USER = User(OWNER, is_administrator=False)
FUNCTION_TEMPLATE = {  # VM template 0 of the recordings
    "CONTEXT": {"NETWORK": "YES", "TOKEN": "YES"},
    "CPU": "1",
    "DISK": {"IMAGE": "img", "IMAGE_UNAME": "oneadmin"},
    "MEMORY": "128",
    "NIC": {"NETWORK": "net", "NETWORK_UNAME": "oneadmin"},
    "VCPU": "1",
}


class Together:
    """A stub of oned whose methods also answer several calls in one request."""

    def __init__(self, oned: Any) -> None:
        self._oned = oned

    def __getattr__(self, method: str) -> Any:
        return getattr(self._oned, method)

    def together(self, *several: Call[Any]) -> list[Outcome[Any]]:
        return [self._outcome(call) for call in several]

    def _outcome(self, call: Call[Any]) -> Outcome[Any]:
        named = {
            "_only_vm": lambda: self._oned.vms([*call.arguments], with_actions=True),
            "_several_vms": lambda: self._oned.vms(list(call.arguments[0]), with_actions=False),
        }
        method = call.method.name
        make = named.get(method) or (lambda: getattr(self._oned, method)(*call.arguments))
        try:
            return Outcome(make())
        except EngineError as error:
            return Outcome(error=error)


def context(cloud: Any, text: str = "", caller: User = USER) -> Context:
    """A request of ``ME``, who is ``caller``; ``text`` is the configuration."""
    made = Context(cloud, configuration(text), Memory(10))
    made.remembered.user(lambda: caller)
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
        Specification(functions={"FAAS": Function("Function")}, **(device | sent)),
        flow_template_id,
        configuration().capacity,
        ME.token,
    )
