"""Sends requests to an engine, and repeats those that may be repeated."""

from __future__ import annotations

import random
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import requests
from requests.auth import HTTPBasicAuth

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

CONNECT_SECONDS = 5.0
FIRST_PAUSE_SECONDS = 0.2
LONGEST_PAUSE_SECONDS = 30.0
"""Between two attempts, even if the engine asks for more."""
SHOWN_CHARACTERS = 300

BUSY = frozenset({429, 503})
LOCKED = 423


@dataclass(frozen=True)
class Call:
    """A request, and when it may be repeated."""

    method: str
    path: str
    body: Json | None = None
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    wait_seconds: float = 0.0
    """How long the engine is asked to hold its response (``?wait=``)."""
    is_repeatable: bool = True
    """Whether repeating it does no harm if its response was lost."""
    retried: frozenset[int] = BUSY
    """The statuses after which it is sent again."""

    @property
    def parameters(self) -> dict[str, str]:
        wait = {"wait": f"{self.wait_seconds:g}"} if self.wait_seconds > 0 else {}
        return {**self.query, **wait}


class Transport:
    """A session with one engine on behalf of one user. Not to be shared by threads."""

    def __init__(
        self,
        url: str,
        user: str,
        password: str,
        *,
        timeout_seconds: float,
        tries: int,
        verify: bool | str,
    ) -> None:
        self.url = url.rstrip("/")
        self._timeout_seconds, self._tries = timeout_seconds, max(1, tries)
        self.session = requests.Session()
        self.session.verify = verify
        self.session.headers["User-Agent"] = f"provision-engine-client/{__version__}"
        if user:
            self.session.auth = HTTPBasicAuth(user.encode(), password.encode())

    def send(self, call: Call) -> requests.Response:
        """The response with a 2xx status. Raises ClientError."""
        was_lost = False
        for attempt in range(1, self._tries + 1):
            is_last = attempt == self._tries
            try:
                response = self._send_once(call)
            except requests.RequestException as error:
                if not _is_transient(error):
                    raise Unusable(f"Cannot use {self.url}", _cause(error)) from error
                if is_last or not call.is_repeatable:
                    raise Unreachable(f"No response from {self.url}", _cause(error)) from error
                was_lost = True
                time.sleep(_pause_seconds(attempt))
                continue
            if response.status_code in call.retried and not is_last:
                time.sleep(_pause_seconds(attempt, response.headers.get("Retry-After")))
                continue
            if was_lost and call.method == "DELETE" and response.status_code == 404:
                return response  # the first attempt deleted it; only its response was lost
            return _checked(response)
        raise AssertionError("the last attempt returns or raises")

    def _send_once(self, call: Call) -> requests.Response:
        return self.session.request(
            call.method,
            self.url + call.path,
            json=call.body,
            params=call.parameters,
            headers=dict(call.headers),
            timeout=(CONNECT_SECONDS, self._timeout_seconds + call.wait_seconds),
            allow_redirects=False,
        )


# ---- reading responses -----------------------------------------------------------------


def json_object(response: requests.Response) -> Json:
    body = json_value(response)
    if not isinstance(body, dict):
        raise not_an_engine(response, "a JSON object")
    return body


def json_array(response: requests.Response) -> list[Json]:
    body = json_value(response)
    if not isinstance(body, list):
        raise not_an_engine(response, "a JSON array")
    return body


def json_value(response: requests.Response) -> Any:
    try:
        return response.json()
    except ValueError as error:
        raise not_an_engine(response, "JSON") from error


def not_an_engine(response: requests.Response, expected: str) -> NotAnEngine:
    shown = response.text[:SHOWN_CHARACTERS]
    error = f"The response does not contain {expected}; is this a Provisioning Engine?"
    return NotAnEngine(error, shown, response.status_code, _request_id(response))


def _checked(response: requests.Response) -> requests.Response:
    status = response.status_code
    if 200 <= status < 300:
        return response
    kind = BY_STATUS.get(status, ClientError)
    try:
        body = response.json()
        error, message = str(body["error"]), body["message"]
    except (ValueError, KeyError, TypeError):
        # A proxy in between, or no engine at all: only whether it is busy can be relied on.
        kind = Busy if kind is Busy else NotAnEngine
        error, message = f"HTTP {status} {response.reason}", response.text[:SHOWN_CHARACTERS]
    raise kind(error, message, status, _request_id(response))


def _request_id(response: requests.Response) -> str:
    return str(response.headers.get("X-Request-ID", ""))


# ---- repeating -------------------------------------------------------------------------


def _is_transient(error: requests.RequestException) -> bool:
    """Whether the same request may succeed later: a broken connection, but not a wrong URL."""
    if isinstance(error, requests.exceptions.SSLError):
        return False
    return isinstance(
        error,
        requests.exceptions.ConnectionError
        | requests.exceptions.Timeout
        | requests.exceptions.ChunkedEncodingError,
    )


def _cause(error: Exception) -> str:
    """The innermost cause, which is what a person can act on."""
    while error.args and isinstance(error.args[0], Exception):
        error = error.args[0]
    cause = getattr(error, "reason", None)
    text = str(cause if isinstance(cause, Exception) else error)
    return text.rpartition(">: ")[2] or type(error).__name__


def _pause_seconds(attempt: int, retry_after: str | None = None) -> float:
    """Before the next attempt: as long as the engine asks for, else longer each time."""
    requested = _retry_after_seconds(retry_after)
    pause = FIRST_PAUSE_SECONDS * 2 ** (attempt - 1) if requested is None else requested
    # Clients that were rejected together must not repeat their requests together.
    return min(pause, LONGEST_PAUSE_SECONDS) * random.uniform(1.0, 1.2)


def _retry_after_seconds(text: str | None) -> float | None:
    """A Retry-After header: seconds, or a date."""
    if not text:
        return None
    if text.strip().isdigit():
        return float(text)
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())
