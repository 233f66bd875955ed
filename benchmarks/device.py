"""A client of the engine over one persistent connection."""

from __future__ import annotations

import http.client
from typing import Any

from tests.support import client
from tests.support.client import Body, Response, authorization, exchange
from tests.support.users import User

EXPECTED = (200, 201, 204, 404, 422, 423)


class Device(client.Device):
    """Looks at no more of a response than its status, which would take longer than a read.

    Raises RuntimeError for an unexpected one.
    """

    def __init__(self, url: str, user: User) -> None:
        super().__init__(url, user)
        self._headers = authorization(user)
        self._connection = http.client.HTTPConnection("127.0.0.1", self.port)

    def request(self, method: str, path: str, body: Body = None, **options: Any) -> Response:
        headers = self._headers | (options.get("headers") or {})
        response = exchange(self._connection, method, path, body, headers)
        if response.status not in EXPECTED:
            raise RuntimeError(f"{method} {path}: {response.status} {response.text[:300]}")
        return response

    def close(self) -> None:
        self._connection.close()
