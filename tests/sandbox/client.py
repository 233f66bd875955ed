"""A small client of both services, for the tests."""

from __future__ import annotations

import json
import xmlrpc.client
from base64 import b64encode
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlsplit

from provision_engine.sandbox import ManualClock, Sandbox, Timings

SESSIONS = {
    "devuser": "devuser:devpass",
    "other": "other:otherpass",
    "oneadmin": "oneadmin:opennebula",
}
DEADLINE_SECONDS = 20.0
SLOW_STEPS = Timings(
    vms_visible_seconds=1, schedule_seconds=1, prolog_seconds=1, boot_seconds=1,
    boot_failure_seconds=1, resize_seconds=1, disk_resize_seconds=1, poweroff_seconds=1,
    resume_seconds=1, shutdown_seconds=1, epilog_seconds=1, service_notice_seconds=1,
    service_failure_seconds=1, nets_seconds=1,
)  # fmt: skip
"""Every step takes a second of a manual clock."""


class Caller:
    """Calls a sandbox as one of its users."""

    def __init__(self, sandbox: Sandbox, user: str = "devuser", session: str | None = None) -> None:
        self.sandbox = sandbox
        self.session = session if session is not None else SESSIONS[user]

    def one(self, method: str, *arguments: Any) -> list[Any]:
        """The whole result array of an XML-RPC method."""
        with xmlrpc.client.ServerProxy(self.sandbox.oned_url) as proxy:
            answer = getattr(proxy, f"one.{method}")(self.session, *arguments)
        assert isinstance(answer, list)
        return answer

    def multicall(self, *calls: tuple[Any, ...]) -> list[Any]:
        """The results of several methods, each with its arguments, in one request."""
        parts = [
            {"methodName": f"one.{method}", "params": [self.session, *arguments]}
            for method, *arguments in calls
        ]
        with xmlrpc.client.ServerProxy(self.sandbox.oned_url) as proxy:
            answer = proxy.system.multicall(parts)
        assert isinstance(answer, list)
        return answer

    def good(self, method: str, *arguments: Any) -> Any:
        """The value of a method that succeeds."""
        answer = self.one(method, *arguments)
        assert answer[0], answer
        return answer[1]

    def refused(self, method: str, *arguments: Any) -> tuple[int, str]:
        """Code and message of a method that is refused."""
        answer = self.one(method, *arguments)
        assert answer[0] is False, answer
        return answer[2], answer[1]

    def flow(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Status and body (parsed if it is JSON) of a response of oneflow."""
        parts = urlsplit(self.sandbox.oneflow_url)
        assert parts.hostname
        connection = HTTPConnection(parts.hostname, parts.port, timeout=DEADLINE_SECONDS)
        secret = b64encode(self.session.encode()).decode()
        data = None if body is None else json.dumps(body)
        connection.request(method, path, data, {"Authorization": f"Basic {secret}"})
        response = connection.getresponse()
        text = response.read().decode()
        connection.close()
        try:
            return response.status, json.loads(text)
        except ValueError:
            return response.status, text

    def instantiate(self, template: str = "Function", **merge: Any) -> int:
        """Creates a service and returns its id."""
        number = self.sandbox.store.flow_templates()[template]
        action = {"perform": "instantiate", "params": {"merge_template": merge}}
        status, answer = self.flow("POST", f"/service_template/{number}/action", {"action": action})
        assert status == 201, answer
        return int(answer["DOCUMENT"]["ID"])

    def act(self, service_id: int, perform: str, **params: Any) -> tuple[int, Any]:
        """Status and body of the response to an action on a service."""
        action = {"perform": perform, "params": params}
        return self.flow("POST", f"/service/{service_id}/action", {"action": action})


def contents(release: str, **attributes: Any) -> dict[str, Any]:
    """The member of a role that holds VM attributes, in the dialect of that release."""
    if release.startswith("7"):
        return {"template_contents": attributes}
    lines = []
    for name, value in attributes.items():
        if isinstance(value, dict):
            inner = ",".join(f'{k}="{v}"' for k, v in value.items())
            lines.append(f"{name}=[{inner}]")
        else:
            lines.append(f'{name}="{value}"')
    return {"vm_template_contents": "\n".join(lines)}


def pass_time(sandbox: Sandbox, seconds: float) -> None:
    """Advances a sandbox's manual clock."""
    clock = sandbox.world.store.agenda.clock
    assert isinstance(clock, ManualClock)
    clock.advance(seconds)


def state(sandbox: Sandbox, service_id: int) -> int | None:
    """The state of a service, or None if it is gone."""
    body = sandbox.store.service(service_id)
    return None if body is None else body["state"]


def vm_of(sandbox: Sandbox, service_id: int, role: int = 0) -> int:
    """The first VM of a service's role."""
    body = sandbox.store.service(service_id)
    assert body is not None
    number = body["roles"][role]["nodes"][0]["deploy_id"]
    assert isinstance(number, int)
    return number
