"""Sends requests to an engine, and repeats those that may be repeated."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Mapping, Set
from contextlib import contextmanager, suppress
from typing import Self, TypeVar

import requests
from requests.auth import HTTPBasicAuth
from requests.exceptions import ChunkedEncodingError, SSLError
from urllib3.exceptions import InvalidHeader
from urllib3.util import Retry

from provision_engine import __version__
from provision_engine.client.errors import (
    BY_STATUS,
    Busy,
    ClientError,
    NotAnEngine,
    Unreachable,
    Unusable,
)
from provision_engine.client.models import Json

DEFAULT_URL = "http://127.0.0.1:1337"
TRIES = 5
"""How many times a request is sent at most, the first time included."""
CONNECT_SECONDS = 5.0
FIRST_PAUSE_SECONDS = 0.2
LONGEST_PAUSE_SECONDS = 30.0
"""Between two attempts, even if the engine asks for more."""
SHOWN_CHARACTERS = 300

BUSY = frozenset({429, 503})
LOST = frozenset({502, 504})
"""A proxy got no response of the engine, which may have carried out the request."""
LOCKED = 423
BROKEN = (requests.ConnectionError, requests.Timeout, ChunkedEncodingError)
"""After these the same request may succeed later, but not after an SSLError, which is one of them.
"""
JSON_NAMES: dict[type, str] = {dict: "a JSON object", list: "a JSON array", object: "JSON"}

T = TypeVar("T")


class Transport:
    """A session with one engine on behalf of one user. Not to be shared by threads.

    ``timeout_seconds`` is how long a response may take, on top of the time that a request asks to
    wait. ``verify`` is False, or the file with the authorities that signed the engine's
    certificate.
    """

    def __init__(
        self,
        url: str = DEFAULT_URL,
        user: str = "",
        password: str = "",
        *,
        timeout_seconds: float = 90.0,
        tries: int = TRIES,
        verify: bool | str = True,
    ) -> None:
        self.url = url.rstrip("/")
        self._timeout_seconds, self._tries = timeout_seconds, max(1, tries)
        self.session, self._verify = requests.Session(), verify
        self.session.headers["User-Agent"] = f"provision-engine-client/{__version__}"
        if user:
            self.session.auth = HTTPBasicAuth(user.encode(), password.encode())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def close(self) -> None:
        self.session.close()

    def _copy(self, *, tries: int, timeout_seconds: float) -> Self:
        """Return a client of the same user and engine, for another thread."""
        made = type(self)(
            self.url, timeout_seconds=timeout_seconds, tries=tries, verify=self._verify
        )
        made.session.auth = self.session.auth
        return made

    def _send(
        self,
        method: str,
        path: str,
        body: Json | None = None,
        *,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        wait_seconds: float = 0.0,
        retried: Set[int] = BUSY | LOST,
    ) -> requests.Response:
        """Return the response with a 2xx status. Raises ClientError.

        ``wait_seconds`` is how long the engine is asked to hold its response, ``retried`` are the
        statuses after which the request is sent again, as it is where its response was lost: no
        request of the API does more if it is repeated, and creates have a key.
        """
        wait = {"wait": f"{wait_seconds:g}"} if wait_seconds > 0 else {}
        was_lost = False
        for attempt in range(1, self._tries + 1):
            is_last, retry_after = attempt == self._tries, None
            try:
                response = self.session.request(
                    method,
                    self.url + path,
                    json=body,
                    params={**(query or {}), **wait},
                    headers=headers,
                    timeout=(CONNECT_SECONDS, self._timeout_seconds + wait_seconds),
                    allow_redirects=False,
                    # As an attribute of the session, REQUESTS_CA_BUNDLE would override it.
                    verify=self._verify,
                )
            except requests.RequestException as error:
                if isinstance(error, SSLError) or not isinstance(error, BROKEN):
                    raise Unusable(f"Cannot use {self.url}", _cause(error)) from error
                if is_last:
                    raise Unreachable(f"No response from {self.url}", _cause(error)) from error
                was_lost = True
            else:
                if response.status_code not in retried or is_last:
                    break
                was_lost |= response.status_code in LOST
                retry_after = response.headers.get("Retry-After")
            time.sleep(_pause_seconds(attempt, retry_after))
        if was_lost and method == "DELETE" and response.status_code == 404:
            return response  # the first attempt deleted it; only its response was lost
        return _checked(response)


# ---- reading responses -----------------------------------------------------------------


@contextmanager
def reading(response: requests.Response, expected: str) -> Iterator[None]:
    """Read a response within it. Raises NotAnEngine where it is not what an engine sends."""
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _not_an_engine(response, expected) from error


def json_of(response: requests.Response, kind: type[T]) -> T:
    """Return the JSON in a response, of one of JSON_NAMES. Raises NotAnEngine."""
    with reading(response, "JSON"):
        body = response.json()
    if not isinstance(body, kind):
        raise _not_an_engine(response, JSON_NAMES[kind])
    return body


def _not_an_engine(response: requests.Response, expected: str) -> NotAnEngine:
    shown = response.text[:SHOWN_CHARACTERS]
    error = f"The response does not contain {expected}; is this a Provisioning Engine?"
    return NotAnEngine(error, shown, response.status_code, response.headers.get("X-Request-ID", ""))


def _checked(response: requests.Response) -> requests.Response:
    status = response.status_code
    if 200 <= status < 300:
        return response
    kind = BY_STATUS.get(status, ClientError)
    try:
        body = response.json()
        error, message = str(body["error"]), body["message"]
    except (ValueError, KeyError, TypeError):
        # A proxy in between, or no engine at all: only whether it responds can be relied on.
        kind = Unreachable if status in LOST else Busy if kind is Busy else NotAnEngine
        error, message = f"HTTP {status} {response.reason}", response.text[:SHOWN_CHARACTERS]
    raise kind(error, message, status, response.headers.get("X-Request-ID", ""))


# ---- repeating -------------------------------------------------------------------------


def _cause(error: BaseException) -> str:
    """Return the innermost cause, which a person can act on."""
    while cause := error.__cause__ or error.__context__:
        error = cause
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def _pause_seconds(attempt: int, retry_after: str | None) -> float:
    """Return the pause before the next attempt: as the engine asks, else longer each time."""
    pause: float = FIRST_PAUSE_SECONDS * 2 ** (attempt - 1)
    with suppress(InvalidHeader, ValueError, OverflowError):  # the latter two: of absurd dates
        pause = Retry().parse_retry_after(retry_after) if retry_after else pause
    # Clients that were rejected together must not repeat their requests together.
    return min(pause, LONGEST_PAUSE_SECONDS) * random.uniform(1.0, 1.2)
