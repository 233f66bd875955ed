"""HTTP to one backend: kept-alive connections, bounded in number, never without a time limit."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import requests
from requests.adapters import HTTPAdapter
from requests.structures import CaseInsensitiveDict

from provision_engine.cloud.errors import from_transport
from provision_engine.deadline import Deadline
from provision_engine.errors import BackendTimeout, BackendUnreachable, TooManyRequests

CONNECT_TIMEOUT_SECONDS = 5.0
ADMISSION_WAIT_SECONDS = 0.2


class HttpBackend:
    """A backend's address and this process's connections to it. Safe for threads."""

    def __init__(self, name: str, url: str, max_in_flight: int, verify: bool | str = True) -> None:
        self.name = name
        self.url = url
        self._free = threading.BoundedSemaphore(max_in_flight)
        self._verify = verify
        # The adapter of requests without its session: a session looks for cookies, proxies,
        # redirects and .netrc, which cost time, and must not touch a caller's request.
        self._adapter = HTTPAdapter(pool_connections=1, pool_maxsize=max_in_flight)

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
                return self._exchange(method, path, deadline, body, headers)
            except BackendUnreachable:
                if not repeatable or deadline.is_over:
                    raise
                return self._exchange(method, path, deadline, body, headers)

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
    ) -> requests.Response:
        left_seconds = deadline.remaining_seconds
        if not left_seconds:
            raise BackendTimeout(f"No time was left to ask {self.name}")
        prepared = requests.PreparedRequest()
        prepared.method, prepared.url, prepared.body = method, self.url + path, body
        prepared.headers = CaseInsensitiveDict({**(headers or {}), **_length(body)})
        timeout = (min(CONNECT_TIMEOUT_SECONDS, left_seconds), left_seconds)
        try:
            response = self._adapter.send(prepared, timeout=timeout, verify=self._verify)
            response.content  # noqa: B018 - read here, where a broken answer is judged
            return response
        except requests.RequestException as error:
            if deadline.is_over:
                raise BackendTimeout(f"{self.name} did not answer in time") from error
            raise from_transport(error, self.name) from error


def _length(body: bytes | None) -> dict[str, str]:
    return {} if body is None else {"Content-Length": str(len(body))}
