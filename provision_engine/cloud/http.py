"""HTTP to one backend: kept-alive connections, bounded in number, always with a time limit."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import requests
import urllib3
from requests.adapters import HTTPAdapter

from provision_engine.cloud.errors import from_transport
from provision_engine.deadline import Deadline
from provision_engine.errors import BackendTimeout, BackendUnreachable, TooManyRequests

CONNECT_TIMEOUT_SECONDS = 5.0
ADMISSION_WAIT_SECONDS = 1.0
"""How long a call waits for a free connection; most calls need far less."""
TRUSTED_IDLE_SECONDS = 2.0
READ_BYTES = 1 << 16


@dataclass(frozen=True)
class HttpResponse:
    """A backend's response, read completely."""

    status_code: int
    content: bytes

    @property
    def text(self) -> str:
        return self.content.decode(errors="replace")

    def json(self) -> Any:
        """Raises ValueError."""
        return json.loads(self.content)


class _Adapter(HTTPAdapter):
    """An adapter for a single host: it looks up its connection pool only once."""

    _connections: Any = None

    def get_connection_with_tls_context(self, *arguments: Any, **named: Any) -> Any:
        connections = self._connections  # another thread may close the adapter meanwhile
        if connections is None:
            connections = super().get_connection_with_tls_context(*arguments, **named)
            self._connections = connections
        return connections

    def close(self) -> None:
        self._connections = None
        super().close()


class HttpBackend:
    """A backend's address and this process's connections to it. Safe for threads."""

    def __init__(self, name: str, url: str, max_in_flight: int, verify: bool | str = True) -> None:
        self.name = name
        self.url = url
        self._free = threading.BoundedSemaphore(max_in_flight)
        self._verify = verify
        self._used_at = 0.0
        self._prepared = requests.Request("POST", url).prepare()
        # The adapter of requests without its session: a session looks for cookies, proxies,
        # redirects and .netrc, which takes time and must not change a caller's request.
        self._adapter = _Adapter(pool_connections=1, pool_maxsize=max_in_flight)

    def send(
        self,
        method: str,
        path: str = "",
        *,
        deadline: Deadline,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        repeatable: bool = False,
    ) -> HttpResponse:
        """Send a request and return its response.

        A ``repeatable`` request is sent once more when the connection breaks. Raises
        BackendUnreachable, BackendTimeout, BadGateway or TooManyRequests.
        """
        with self._admission(deadline):
            try:
                return self._exchange(method, path, deadline, body, headers, repeatable)
            except BackendUnreachable:
                if not repeatable or deadline.is_over:
                    raise
                return self._exchange(method, path, deadline, body, headers, repeatable)

    @contextmanager
    def _admission(self, deadline: Deadline) -> Iterator[None]:
        if not self._free.acquire(timeout=min(ADMISSION_WAIT_SECONDS, deadline.remaining_seconds)):
            raise TooManyRequests(f"All connections to {self.name} are in use")
        try:
            yield
        finally:
            self._free.release()

    def _exchange(
        self,
        method: str,
        path: str,
        deadline: Deadline,
        body: bytes | None,
        headers: Mapping[str, str] | None,
        repeatable: bool,
    ) -> HttpResponse:
        if not repeatable:
            self._distrust_idle_connections()
        left_seconds = deadline.remaining_seconds
        if not left_seconds:
            raise BackendTimeout(f"No time was left to ask {self.name}")
        request = self._request(method, path, body, headers)
        timeout = (min(CONNECT_TIMEOUT_SECONDS, left_seconds), left_seconds)
        try:
            response = self._adapter.send(
                request, stream=True, timeout=timeout, verify=self._verify
            )
            content = _read(response, deadline)
        except requests.RequestException as error:
            if deadline.is_over:
                raise BackendTimeout(f"{self.name} did not answer in time") from error
            raise from_transport(error, self.name) from error
        self._used_at = time.monotonic()
        return HttpResponse(response.status_code, content)

    def _request(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str] | None
    ) -> requests.PreparedRequest:
        """Prepare a request; a copy costs a fifth of what Request.prepare does."""
        request = self._prepared.copy()
        request.prepare_method(method)
        if path:
            request.prepare_url(self.url + path, None)
        request.prepare_headers(headers)
        request.prepare_body(body, None)
        return request

    def _distrust_idle_connections(self) -> None:
        """Close connections that have been idle for long: the backend may be closing them too.

        A request sent over such a connection may or may not have arrived, which matters where it
        must not be sent twice; a new connection costs far less than what such a request does.
        """
        if time.monotonic() - self._used_at > TRUSTED_IDLE_SECONDS:
            self._adapter.close()


def _read(response: requests.Response, deadline: Deadline) -> bytes:
    """Read the whole body in the time that is left, even when it arrives byte by byte."""
    parts = []
    try:
        # Response.iter_content would wait until a whole part has arrived.
        while part := response.raw.read1(READ_BYTES, decode_content=True):
            parts.append(part)
            if deadline.is_over:
                response.close()
                raise requests.ReadTimeout("the response takes too long")
    except urllib3.exceptions.ProtocolError as error:
        raise requests.exceptions.ChunkedEncodingError(error) from error
    except urllib3.exceptions.HTTPError as error:
        raise requests.ConnectionError(error) from error
    return b"".join(parts)
