"""The floor: a client that makes only the indispensable calls to OpenNebula.

It keeps its connections open, writes its requests once and looks at responses no more than
it has to, so that what it takes is what OpenNebula and the wire take.
"""

from __future__ import annotations

import http.client
import json
import re
import time
from urllib.parse import urlsplit
from xml.sax.saxutils import escape

from tests.support.client import authorization
from tests.support.installation import Installation
from tests.support.opennebula import FLOW_TEMPLATE, RUNTIME, USABLE

POLL_SECONDS = 0.02
_NUMBER = re.compile(r"<i4>(\d+)</i4>")

Parameter = str | int | bool


class BareClient:
    """Calls of one user to oned and oneflow, over one persistent connection to each."""

    def __init__(self, cloud: Installation) -> None:
        self._session = cloud.user.session
        self._oneflow_headers = authorization(cloud.user)
        self._oned, self._oned_path = _connection(cloud.oned_url)
        self._oneflow, _ = _connection(cloud.oneflow_url)

    def close(self) -> None:
        self._oned.close()
        self._oneflow.close()

    def read(self, document_id: int, vm_id: int) -> None:
        """The pair of calls behind every read of a runtime with one function."""
        self.call("one.document.info", document_id, False)
        self.call("one.vmpool.infoset", str(vm_id), True)

    def read_flow_templates(self) -> None:
        """The call by which a flow template is found by its name."""
        self.call("one.documentpool.info", USABLE, -1, -1, FLOW_TEMPLATE)

    def create(self, template_id: int, name: str) -> int:
        """Instantiate, and poll until the VM's id is visible. Returns the service's id."""
        body = {"perform": "instantiate", "params": {"merge_template": {"name": name}}}
        answer = self.flow("POST", f"/service_template/{template_id}/action", {"action": body})
        service_id = int(json.loads(answer)["DOCUMENT"]["ID"])
        while "deploy_id" not in self.call("one.document.info", service_id, False):
            time.sleep(POLL_SECONDS)
        return service_id

    def delete(self, service_id: int) -> None:
        """How long oneflow takes to end a running service."""
        self.flow("DELETE", f"/service/{service_id}")

    def add_document(self, template: str) -> int:
        """Write a document of type 1337 and return its id."""
        return int(_NUMBER.findall(self.call("one.document.allocate", template, RUNTIME))[0])

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
