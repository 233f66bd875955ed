"""The floor: a client that makes only the indispensable calls to OpenNebula.

It keeps its connections open, writes its requests once and looks at responses no more than
it has to, so that what it takes is what OpenNebula and the wire take.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import re
import time
from collections.abc import Sequence
from urllib.parse import urlsplit
from xml.sax.saxutils import escape

POLL_SECONDS = 0.02
MINE, USABLE = -3, -2
SERVICE, FLOW_TEMPLATE, RUNTIME = 100, 101, 1337
_NAMED = re.compile(r"&lt;DOCUMENT&gt;&lt;ID&gt;(\d+)&lt;.*?&lt;NAME&gt;(.*?)&lt;", re.DOTALL)
_NUMBER = re.compile(r"<i4>(\d+)</i4>")

Parameter = str | int | bool


class BareClient:
    """Calls of one user to oned and oneflow, over one persistent connection to each."""

    def __init__(self, oned_url: str, oneflow_url: str, user: str, password: str) -> None:
        self._session = f"{user}:{password}"
        token = base64.b64encode(self._session.encode()).decode()
        self._oneflow_headers = {"Authorization": f"Basic {token}"}
        self._oned, self._oned_path = _connection(oned_url)
        self._oneflow, _ = _connection(oneflow_url)

    def close(self) -> None:
        self._oned.close()
        self._oneflow.close()

    def read(self, document_id: int, vm_id: int) -> None:
        """The pair of calls behind every read of a runtime with one function."""
        self.call("one.document.info", document_id, False)
        self.call("one.vmpool.infoset", str(vm_id), True)

    def create(self, template_id: int, name: str, contents: dict[str, object]) -> tuple[int, int]:
        """Instantiate, and poll until the VM's id is visible: service id and VM id."""
        body = {"perform": "instantiate", "params": {"merge_template": {"name": name} | contents}}
        answer = self.flow("POST", f"/service_template/{template_id}/action", {"action": body})
        service_id = int(json.loads(answer)["DOCUMENT"]["ID"])
        while True:
            seen = self.call("one.document.info", service_id, False)
            if found := re.search(r'"deploy_id":\s*(\d+)', seen):
                return service_id, int(found[1])
            time.sleep(POLL_SECONDS)

    def delete(self, service_id: int) -> None:
        """How long oneflow takes to end a running service."""
        self.flow("DELETE", f"/service/{service_id}")

    def remove(self, service_id: int) -> None:
        """End a service in any state; oneflow may need a second request."""
        body = {"action": {"perform": "recover", "params": {"delete": True}}}
        with contextlib.suppress(RuntimeError):
            self.flow("DELETE", f"/service/{service_id}")
            return
        for _ in range(2):
            with contextlib.suppress(RuntimeError):
                self.flow("POST", f"/service/{service_id}/action", body)

    def service_state(self, service_id: int) -> int:
        """The state's number in oneflow (2 is RUNNING)."""
        seen = self.call("one.document.info", service_id, False)
        found = re.search(r'"state":\s*(\d+)', seen)
        return int(found[1]) if found else -1

    def page(self, first_id: int, last_id: int, vm_ids: Sequence[int]) -> None:
        """The pair of calls that a page of the list needs, if the ids are known."""
        self.call("one.documentpool.info", MINE, first_id, last_id, RUNTIME)
        self.call("one.vmpool.infoset", ",".join(map(str, vm_ids)), True)

    def add_document(self, template: str) -> int:
        """Write a document of type 1337 and return its id."""
        return int(_NUMBER.findall(self.call("one.document.allocate", template, RUNTIME))[0])

    def names(self, kind: int, whose: int = MINE) -> dict[int, str]:
        """The names of the documents of a type, by id."""
        pool = self.call("one.documentpool.info", whose, -1, -1, kind)
        return {int(number): name for number, name in _NAMED.findall(pool)}

    def flow_template(self, name: str) -> int:
        """The id of the flow template with this name. Raises RuntimeError."""
        for number, known in self.names(FLOW_TEMPLATE, USABLE).items():
            if known == name:
                return number
        raise RuntimeError(f"the user sees no flow template {name}")

    def version(self) -> str:
        found = re.search(r"<string>([\d.]+)<", self.call("one.system.version"))
        return found[1] if found else "unknown"

    def call(self, method: str, *parameters: Parameter) -> str:
        """One call to oned; returns the raw response. Raises RuntimeError for an error."""
        values = "".join(map(_parameter, (self._session, *parameters)))
        body = (
            f"<?xml version='1.0'?><methodCall><methodName>{method}</methodName>"
            f"<params>{values}</params></methodCall>"
        ).encode()
        headers = {"Content-Type": "text/xml"}
        _, answer = _exchange(self._oned, "POST", self._oned_path, body, headers)
        if "<boolean>1</boolean>" not in answer:
            raise RuntimeError(f"{method}: {answer[:300]}")
        return answer

    def flow(self, method: str, path: str, body: dict[str, object] | None = None) -> str:
        """One call to oneflow; returns the raw response. Raises RuntimeError for an error."""
        content = None if body is None else json.dumps(body).encode()
        status, text = _exchange(self._oneflow, method, path, content, self._oneflow_headers)
        if status >= 400:
            raise RuntimeError(f"{method} {path}: {status} {text[:300]}")
        return text


def _exchange(
    connection: http.client.HTTPConnection,
    method: str,
    path: str,
    body: bytes | None,
    headers: dict[str, str],
) -> tuple[int, str]:
    """The status and the text of the response. A connection that fails can be used again."""
    try:
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    except OSError:
        connection.close()
        raise


def _connection(url: str) -> tuple[http.client.HTTPConnection, str]:
    parts = urlsplit(url)
    secure = parts.scheme == "https"
    kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
    return kind(parts.hostname or "", parts.port), parts.path or "/"


def _parameter(value: Parameter) -> str:
    if isinstance(value, bool):
        typed = f"<boolean>{int(value)}</boolean>"
    elif isinstance(value, int):
        typed = f"<i4>{value}</i4>"
    else:
        typed = f"<string>{escape(value)}</string>"
    return f"<param><value>{typed}</value></param>"
