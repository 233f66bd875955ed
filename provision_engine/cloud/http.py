"""HTTP to one backend: kept-alive connections, bounded in number, never without a time limit."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import requests
from requests.adapters import HTTPAdapter

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
        self._session = requests.Session()
        # Proxies and .netrc of the engine's own environment must not touch a caller's request.
        self._session.trust_env = False
        self._session.verify = verify
        adapter = HTTPAdapter(pool_connections=1, pool_maxsize=max_in_flight, pool_block=False)
        self._session.mount("http://", adapter)
        self._session.mount("https://", adapter)

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
        try:
            return self._session.request(
                method,
                self.url + path,
                data=body,
                headers=headers,
                timeout=(min(CONNECT_TIMEOUT_SECONDS, left_seconds), left_seconds),
                allow_redirects=False,
            )
        except requests.RequestException as error:
            if deadline.is_over:
                raise BackendTimeout(f"{self.name} did not answer in time") from error
            raise from_transport(error, self.name) from error
