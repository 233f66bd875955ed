"""oneflow, over REST: only what oned cannot do, since each call costs a hundred times more."""

from __future__ import annotations

import base64
import json
from typing import Any

from provision_engine.cloud.errors import from_oneflow
from provision_engine.cloud.http import HttpBackend, HttpRequest, HttpResponse
from provision_engine.deadline import Deadline
from provision_engine.errors import BadGateway

CREATED, NO_CONTENT = 201, 204


class Oneflow:
    """oneflow for one caller and one request."""

    def __init__(self, backend: HttpBackend, session: str, deadline: Deadline) -> None:
        self._backend, self._deadline = backend, deadline
        token = base64.b64encode(session.encode()).decode()
        self._headers = {"Authorization": f"Basic {token}", "Content-Type": "application/json"}

    def instantiate_service(self, template_id: int, merge_template: dict[str, Any]) -> int:
        """Start a service; its id. It may still fail to deploy after this."""
        path, params = f"/service_template/{template_id}", {"merge_template": merge_template}
        answer = self._act(path, "instantiate", params, CREATED)
        try:
            return int(answer.json()["DOCUMENT"]["ID"])
        except (ValueError, KeyError, TypeError) as error:
            raise BadGateway("oneflow: instantiate answered no service") from error

    def delete_service(self, service_id: int) -> None:
        """Undeploy a service. Raises NotFound; ActionRefused in a state that does not allow it."""
        self._send("DELETE", f"/service/{service_id}")

    def recover_service(self, service_id: int) -> None:
        """Try again what failed. Raises NotFound; ActionRefused where nothing failed."""
        self._act(f"/service/{service_id}", "recover", {})

    def purge_service(self, service_id: int) -> None:
        """Recover with delete: removes a service in any state, with its VMs. Raises NotFound."""
        self._act(f"/service/{service_id}", "recover", {"delete": True})

    def _act(
        self, path: str, action: str, params: dict[str, Any], done: int = NO_CONTENT
    ) -> HttpResponse:
        body = json.dumps({"action": {"perform": action, "params": params}}).encode()
        return self._send("POST", f"{path}/action", body, done)

    def _send(
        self, method: str, path: str, body: bytes | None = None, done: int = NO_CONTENT
    ) -> HttpResponse:
        """One exchange that is ``done`` with this status. A 200 is none: so it answers to an
        action that it does not know (scenario instantiate-errors).
        """
        request = HttpRequest(method, path, body, self._headers)
        answer = self._backend.send(request, self._deadline)
        if answer.status_code != done:
            raise from_oneflow(answer.status_code, explanation(answer))
        return answer


def explanation(answer: HttpResponse) -> str:
    """Why oneflow says no: its plain text, the reason in its JSON, or nothing (an HTML page)."""
    if answer.text.lstrip().startswith("<"):
        return ""
    try:
        reason = answer.json()
    except ValueError:
        return answer.text[:1000]
    if isinstance(reason, dict):
        return f"{reason.get('message', '')}: {reason.get('reason', '')}"[:1000]
    return answer.text[:1000]
