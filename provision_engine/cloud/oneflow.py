"""oneflow, over REST: only what oned cannot do, since each call costs a hundred times more."""

from __future__ import annotations

import json
import time
from contextlib import closing
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from provision_engine.cloud.call_log import record
from provision_engine.cloud.errors import from_oneflow
from provision_engine.cloud.transport import MAX_RESPONSE_BYTES, Backend, connect
from provision_engine.deadline import Deadline
from provision_engine.errors import BadGateway, EngineError

CREATED, NO_CONTENT, UNAUTHORIZED = 201, 204, 401


class Oneflow:
    """oneflow for one caller and one request; an empty session sends no login."""

    def __init__(self, backend: Backend, session: str, deadline: Deadline) -> None:
        self._backend, self._deadline = backend, deadline
        user_and_password = tuple(part.encode() for part in session.partition(":")[::2])
        self._login = user_and_password if session else None

    def instantiate_service(self, template_id: int, merge_template: dict[str, Any]) -> int:
        """Start a service. Returns its id; it may still fail to deploy after this."""
        arguments, path = (template_id, merge_template), f"/service_template/{template_id}/action"
        body = _action("instantiate", merge_template=merge_template)
        content = self._send("instantiate_service", arguments, "POST", path, body, CREATED)
        try:
            return int(json.loads(content)["DOCUMENT"]["ID"])
        except (ValueError, KeyError, TypeError) as error:
            raise BadGateway("oneflow: instantiate answered no service") from error

    def delete_service(self, service_id: int) -> None:
        """Undeploy a service. Raises NotFound; ActionRefused in a state that does not allow it."""
        self._send("delete_service", (service_id,), "DELETE", f"/service/{service_id}")

    def recover_service(self, service_id: int) -> None:
        """Try again what failed. Raises NotFound; ActionRefused where nothing failed."""
        path = f"/service/{service_id}/action"
        self._send("recover_service", (service_id,), "POST", path, _action("recover"))

    def purge_service(self, service_id: int) -> None:
        """Recover with delete: removes a service in any state, with its VMs. Raises NotFound."""
        path = f"/service/{service_id}/action"
        self._send("purge_service", (service_id,), "POST", path, _action("recover", delete=True))

    def check(self) -> None:
        """Raise EngineError unless oneflow responds: without a login, by a refusal."""
        status, _ = self._exchange("GET", "/service")
        if status != UNAUTHORIZED:
            raise BadGateway(f"oneflow answered HTTP {status} instead of 401")

    def _send(
        self,
        name: str,
        arguments: tuple[object, ...],
        method: str,
        path: str,
        body: dict[str, Any] | None = None,
        expected: int = NO_CONTENT,
    ) -> bytes:
        """Make a call that is done with this status. A 200 is not: oneflow responds so to an
        action that it does not know (scenario instantiate-errors).
        """
        started_at, failure = time.perf_counter(), None
        try:
            status, content = self._exchange(method, path, body)
            if status != expected:
                raise from_oneflow(status, explanation(content))
            return content
        except EngineError as error:
            failure = error
            raise
        finally:
            record("oneflow", name, arguments, started_at, failure)

    def _exchange(self, method: str, path: str, body: Any = None) -> tuple[int, bytes]:
        """Send a request on a connection of its own. Returns status and body of the response."""
        url = self._backend.url.rstrip("/") + path
        headers = {"Connection": "close"}
        request = requests.Request(method, url, headers, json=body, auth=self._login)
        # Without a session there are no proxies, no .netrc and no redirects.
        with (
            self._backend.exchanging(self._deadline),
            closing(_Adapter(self._backend)) as adapter,
            adapter.send(request.prepare(), stream=True) as response,
        ):
            content = bytearray()
            for part in response.iter_content(65536):
                content += part
                if len(content) > MAX_RESPONSE_BYTES:
                    raise BadGateway("oneflow: the response is too long")
            return response.status_code, bytes(content)


class _Connection(HTTPConnection):
    def connect(self) -> None:
        self.sock = connect(self.host, self.port, None)


class _TlsConnection(HTTPSConnection):
    def connect(self) -> None:
        self.sock = connect(self.host, self.port, self.ssl_context)
        self.is_verified = True


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = _TlsConnection


class _Adapter(HTTPAdapter):
    """Lets requests use our sockets, which keep the deadline."""

    def __init__(self, backend: Backend) -> None:
        self._tls = backend.tls
        super().__init__()

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, ssl_context=self._tls, **kwargs)
        self.poolmanager.pool_classes_by_scheme = {"http": _Pool, "https": _TlsPool}


def _action(name: str, **params: Any) -> dict[str, Any]:
    return {"action": {"perform": name, "params": params}}


def explanation(content: bytes) -> str:
    """Return why oneflow refuses: its plain text, the reason in its JSON, or nothing (HTML)."""
    text = content.decode(errors="replace")
    if text.lstrip().startswith("<"):
        return ""
    try:
        reason = json.loads(text)
    except ValueError:
        reason = None
    if isinstance(reason, dict):
        text = f"{reason.get('message', '')}: {reason.get('reason', '')}"
    return text[:1000]
