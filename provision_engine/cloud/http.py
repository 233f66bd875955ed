"""HTTP to one backend: kept-alive connections, bounded in number, never without a time limit."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import requests
import urllib3
from requests.adapters import HTTPAdapter
from requests.structures import CaseInsensitiveDict

from provision_engine.cloud.errors import from_transport
from provision_engine.deadline import Deadline
from provision_engine.errors import BackendTimeout, BackendUnreachable, TooManyRequests

CONNECT_TIMEOUT_SECONDS = 5.0
ADMISSION_WAIT_SECONDS = 1.0
"""A call waits so long for one of the connections, which is many calls' time."""
TRUSTED_IDLE_SECONDS = 2.0
READ_BYTES = 1 << 16


class _Adapter(HTTPAdapter):
    """The adapter of requests, for one host: it need not look for its connections each time."""

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
        # The adapter of requests without its session: a session looks for cookies, proxies,
        # redirects and .netrc, which cost time, and must not touch a caller's request.
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
    ) -> requests.Response:
        """One exchange. A ``repeatable`` one is tried twice when the connection breaks.

        Raises BackendUnreachable, BackendTimeout, BadGateway or TooManyRequests.
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
    ) -> requests.Response:
        if not repeatable:
            self._distrust_idle_connections()
        left_seconds = deadline.remaining_seconds
        if not left_seconds:
            raise BackendTimeout(f"No time was left to ask {self.name}")
        prepared = requests.PreparedRequest()
        prepared.method, prepared.url, prepared.body = method, self.url + path, body
        prepared.headers = CaseInsensitiveDict({**(headers or {}), **_length(body)})
        timeout = (min(CONNECT_TIMEOUT_SECONDS, left_seconds), left_seconds)
        try:
            response = self._adapter.send(
                prepared, stream=True, timeout=timeout, verify=self._verify
            )
            _read(response, deadline)
        except requests.RequestException as error:
            if deadline.is_over:
                raise BackendTimeout(f"{self.name} did not answer in time") from error
            raise from_transport(error, self.name) from error
        self._used_at = time.monotonic()
        return response

    def _distrust_idle_connections(self) -> None:
        """Close connections that a backend may be about to close, since they are idle for long.

        A request into such a one may be lost or not, which matters where it must not be
        repeated; a new connection costs far less than what such a request does.
        """
        if time.monotonic() - self._used_at > TRUSTED_IDLE_SECONDS:
            self._adapter.close()


def _read(response: requests.Response, deadline: Deadline) -> None:
    """Read the whole body, in the time that is left even when it comes byte by byte."""
    parts = []
    try:
        while part := response.raw.read1(READ_BYTES, decode_content=True):
            parts.append(part)
            if deadline.is_over:
                response.close()
                raise requests.ReadTimeout("the answer takes too long")
    except urllib3.exceptions.ProtocolError as error:
        raise requests.exceptions.ChunkedEncodingError(error) from error
    except urllib3.exceptions.HTTPError as error:
        raise requests.ConnectionError(error) from error
    response._content = b"".join(parts)


def _length(body: bytes | None) -> dict[str, str]:
    return {} if body is None else {"Content-Length": str(len(body))}
