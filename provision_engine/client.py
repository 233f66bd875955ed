"""A client of the engine's API, with requests as its only dependency.

    from provision_engine.client import Client, Function

    client = Client("http://127.0.0.1:1337", "devuser", "devpass")
    runtime = client.create_runtime(Function("nature", cpu=2), lease_seconds=3600)
    runtime = client.wait_until_running(runtime.id)
    print(runtime.faas.endpoint)

Every create carries an Idempotency-Key, so that it can be repeated without making a second
runtime: this is done by itself when a connection breaks or the engine is busy.
"""

from __future__ import annotations

import random
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.auth import HTTPBasicAuth

from provision_engine import __version__

DEFAULT_URL = "http://127.0.0.1:1337"
CONNECT_SECONDS = 5.0
TRIES = 5
"""How often a request is sent at most, the first time included."""
FIRST_PAUSE_SECONDS = 0.2
LONGEST_PAUSE_SECONDS = 30.0
"""Between two tries, also where the engine asks for more."""
LONGEST_WAIT_SECONDS = 60.0
"""How long one request waits for a runtime; the client sends as many as it needs."""
LOOK_SECONDS = 0.5
"""Between two looks at a runtime where the engine does not hold the answer."""
SHOWN_CHARACTERS = 300

PATH = "/serverless-runtimes"
BUSY = frozenset({429, 503})
LOCKED = 423

Json = dict[str, Any]


# ---- what goes wrong -------------------------------------------------------------------


class ClientError(Exception):
    """Base class: something went wrong, at the engine or on the way to it.

    ``status`` is the HTTP status, None where there was no answer; ``error`` a short title,
    ``message`` the details (text, object or array), ``request_id`` finds it in the engine's log.
    """

    def __init__(
        self, error: str, message: Any = "", status: int | None = None, request_id: str = ""
    ) -> None:
        super().__init__(error, message, status, request_id)
        self.error, self.message, self.status = error, message, status
        self.request_id = request_id

    def __str__(self) -> str:
        return f"{self.error}: {self.message}" if self.message else self.error


class Unreachable(ClientError):
    """No answer came: nobody knows whether the request was carried out."""


class BadRequest(ClientError):
    """400: the request does not fit; the message names the place."""


class Unauthorized(ClientError):
    """401: OpenNebula does not know this user and password."""


class Forbidden(ClientError):
    """403: OpenNebula refuses this user."""


class NotFound(ClientError):
    """404: there is no such runtime."""


class Conflict(ClientError):
    """409: the idempotency key was used with another request."""


class Changed(ClientError):
    """412: the runtime is not as it was seen."""


class Unprocessable(ClientError):
    """422: no flow template for the flavours, or the capacity cannot be had."""


class Locked(ClientError):
    """423: a function is on its way to another state, or another update is under way."""


class Busy(ClientError):
    """429 or 503, also after all tries: the engine or OpenNebula has no room or is away."""


class RuntimeFailed(ClientError):
    """A function of the runtime is in ERROR; ``runtime`` is how it was seen."""

    def __init__(self, runtime: Runtime) -> None:
        super().__init__(f"Serverless runtime {runtime.id} failed", runtime.reason)
        self.runtime = runtime


class StillWaiting(ClientError):
    """The time was over before the runtime ran; ``runtime`` is how it was seen last."""

    def __init__(self, runtime: Runtime) -> None:
        super().__init__(f"Serverless runtime {runtime.id} does not run yet", runtime.reason)
        self.runtime = runtime


_BY_STATUS: Mapping[int, type[ClientError]] = {
    400: BadRequest,
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    412: Changed,
    422: Unprocessable,
    423: Locked,
    429: Busy,
    503: Busy,
}


# ---- a runtime -------------------------------------------------------------------------


@dataclass(frozen=True)
class Function:
    """A function, asked for or as it is. What is None is left to the engine, or unknown."""

    flavour: str = ""
    cpu: int | None = None
    """Cores."""
    memory_mb: int | None = None
    disk_size_mb: int | None = None
    vm_id: int | None = None
    state: str = ""
    """PENDING, RUNNING, UPDATING or ERROR."""
    endpoint: str = ""
    """The address of its VM; empty as long as there is none."""
    reason: str = ""
    """Why it is PENDING or in ERROR, for a person."""
    since: datetime | None = None

    @classmethod
    def of(cls, body: Mapping[str, Any]) -> Function:
        return cls(
            flavour=str(body.get("FLAVOUR", "")),
            cpu=body.get("CPU"),
            memory_mb=body.get("MEMORY"),
            disk_size_mb=body.get("DISK_SIZE"),
            vm_id=body.get("VM_ID"),
            state=str(body.get("STATE", "")),
            endpoint=str(body.get("ENDPOINT", "")),
            reason=str(body.get("REASON") or body.get("ERROR") or ""),
            since=_moment(body.get("SINCE")),
        )

    def as_request(self) -> Json:
        sizes = {"CPU": self.cpu, "MEMORY": self.memory_mb, "DISK_SIZE": self.disk_size_mb}
        return {"FLAVOUR": self.flavour} | {
            n: size for n, size in sizes.items() if size is not None
        }


@dataclass(frozen=True)
class Runtime:
    """A serverless runtime as the engine told it."""

    id: int
    name: str
    faas: Function
    daas: Function | None = None
    service_id: int | None = None
    scheduling: Mapping[str, str] = field(default_factory=dict)
    device_info: Mapping[str, str | int | float] = field(default_factory=dict)
    lease_seconds: int | None = None
    expires: datetime | None = None
    etag: str = ""
    """Of this very state of it, for ``if_match``; empty where the engine told none."""
    body: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)
    """The JSON object it was made from."""

    @classmethod
    def of(cls, body: Mapping[str, Any], etag: str = "") -> Runtime:
        lease = body.get("LEASE", {})
        return cls(
            id=int(body["ID"]),
            name=str(body.get("NAME", "")),
            faas=Function.of(body["FAAS"]),
            daas=Function.of(body["DAAS"]) if "DAAS" in body else None,
            service_id=body.get("SERVICE_ID"),
            scheduling=body.get("SCHEDULING", {}),
            device_info=body.get("DEVICE_INFO", {}),
            lease_seconds=lease.get("TTL"),
            expires=_moment(lease.get("EXPIRES")),
            etag=etag,
            body=body,
        )

    @property
    def functions(self) -> dict[str, Function]:
        """By role: FAAS and, where there is one, DAAS."""
        return {"FAAS": self.faas} | ({"DAAS": self.daas} if self.daas else {})

    @property
    def state(self) -> str:
        """Of the whole: ERROR, PENDING or UPDATING if one of its functions is, else RUNNING."""
        states = [function.state for function in self.functions.values()]
        return next((s for s in ("ERROR", "PENDING", "UPDATING") if s in states), "RUNNING")

    @property
    def reason(self) -> str:
        """Why it does not run, by role; empty where it does."""
        told = [f"{role}: {f.reason}" for role, f in self.functions.items() if f.reason]
        return "; ".join(told)


def _moment(text: Any) -> datetime | None:
    return datetime.fromisoformat(text) if isinstance(text, str) else None


# ---- the client ------------------------------------------------------------------------


class Client:
    """The API on behalf of one user of OpenNebula.

    Not to be shared by threads. ``timeout_seconds`` is how long an answer may take, beside the
    time that a request asks to wait. Every method raises ClientError.
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
        self._session = requests.Session()
        self._session.verify = verify
        self._session.headers["User-Agent"] = f"provision-engine-client/{__version__}"
        if user:
            self._session.auth = HTTPBasicAuth(user.encode(), password.encode())

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        self._session.close()

    # ---- operations ---------------------------------------------------------------------

    def create_runtime(
        self,
        faas: Function,
        daas: Function | None = None,
        *,
        key: str = "",
        wait_seconds: float = 0.0,
        **members: Any,
    ) -> Runtime:
        """Make a runtime; ``members`` are those of ``specification``.

        The same ``key`` makes the same runtime, however often; without one each call makes
        another. With ``wait_seconds`` it answers once the runtime runs or has failed.
        """
        body = specification(faas=faas, daas=daas, **members)
        headers = {"Idempotency-Key": key or str(uuid.uuid4())}
        answer = self._send(
            "POST", PATH, body, headers=headers, wait_seconds=wait_seconds, retried=BUSY | {LOCKED}
        )
        return _runtime(answer)

    def dry_run(self, faas: Function, daas: Function | None = None, **members: Any) -> Json:
        """What a create would make: flow template, roles, attributes. Raises what it would."""
        body = specification(faas=faas, daas=daas, **members)
        return _object(self._send("POST", PATH, body, query={"dry_run": "true"}))

    def get_runtime(self, runtime_id: int, *, wait_seconds: float = 0.0) -> Runtime:
        return _runtime(self._send("GET", f"{PATH}/{runtime_id}", wait_seconds=wait_seconds))

    def list_runtimes(
        self, *, name: str = "", flavour: str = "", state: str = "", page_size: int = 100
    ) -> Iterator[Runtime]:
        """All of the user's runtimes that fit, page by page, in the order of ids."""
        filters = {"name": name, "flavour": flavour, "state": state}
        query = {n: v for n, v in filters.items() if v} | {"limit": str(page_size)}
        path = PATH
        while path:
            answer = self._send("GET", path, query=query)
            for entry in _array(answer):
                yield Runtime.of(entry["SERVERLESS_RUNTIME"])
            following = urlsplit(answer.links.get("next", {}).get("url", ""))
            path, query = f"{following.path}?{following.query}" if following.path else "", {}

    def update_runtime(
        self,
        runtime_id: int,
        *,
        if_match: str = "",
        wait_seconds: float = 0.0,
        **members: Any,
    ) -> Runtime:
        """Change what is given; ``members`` are those of ``specification``.

        With ``if_match`` (the ``etag`` of a runtime) only as long as it is as it was seen,
        else Changed is raised.
        """
        answer = self._send(
            "PUT",
            f"{PATH}/{runtime_id}",
            specification(**members),
            headers={"If-Match": if_match} if if_match else {},
            wait_seconds=wait_seconds,
            # A repetition of what was done already would not find what was seen.
            is_repeatable=not if_match,
        )
        return _runtime(answer)

    def delete_runtime(self, runtime_id: int, *, if_match: str = "") -> None:
        self._send(
            "DELETE",
            f"{PATH}/{runtime_id}",
            headers={"If-Match": if_match} if if_match else {},
            is_repeatable=not if_match,
        )

    def recover_runtime(self, runtime_id: int, *, wait_seconds: float = 0.0) -> Runtime:
        """Retry what failed; the runtime as it is then."""
        path = f"{PATH}/{runtime_id}/recover"
        return _runtime(self._send("POST", path, wait_seconds=wait_seconds))

    def wait_until_running(
        self,
        runtime_id: int,
        seconds: float = 300.0,
        on_look: Callable[[Runtime], None] = lambda runtime: None,
    ) -> Runtime:
        """The runtime once all of it runs; ``on_look`` is told whenever it was looked at.

        Raises RuntimeFailed when a function is in ERROR, StillWaiting when the time is over.
        """
        until = time.monotonic() + seconds
        while True:
            left = max(until - time.monotonic(), 0.0)
            asked_at = time.monotonic()
            runtime = self.get_runtime(runtime_id, wait_seconds=min(left, LONGEST_WAIT_SECONDS))
            on_look(runtime)
            if runtime.state == "RUNNING":
                return runtime
            if runtime.state == "ERROR":
                raise RuntimeFailed(runtime)
            if time.monotonic() >= until:
                raise StillWaiting(runtime)
            # An engine that does not hold answers for so long is not asked without a pause.
            time.sleep(max(0.0, min(LOOK_SECONDS - (time.monotonic() - asked_at), left)))

    def version(self) -> str:
        """Of the engine; no login needed."""
        return str(_json(self._send("GET", "/server/version")))

    def config(self) -> Json:
        """The configuration in force; no login needed."""
        return _object(self._send("GET", "/server/config"))

    def schema(self) -> Json:
        """The JSON schema of a runtime; no login needed."""
        return _object(self._send("GET", f"{PATH}/schema"))

    # ---- sending ------------------------------------------------------------------------

    def _send(
        self,
        method: str,
        path: str,
        body: Json | None = None,
        *,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        wait_seconds: float = 0.0,
        is_repeatable: bool = True,
        retried: frozenset[int] = BUSY,
    ) -> requests.Response:
        """Send a request until it is answered, a few times where repeating does no harm."""
        wait = {"wait": f"{wait_seconds:g}"} if wait_seconds > 0 else {}
        was_lost = False
        for attempt in range(1, self._tries + 1):
            is_last = attempt == self._tries
            try:
                answer = self._session.request(
                    method,
                    self.url + path,
                    json=body,
                    params={**(query or {}), **wait},
                    headers=dict(headers or {}),
                    timeout=(CONNECT_SECONDS, self._timeout_seconds + wait_seconds),
                    allow_redirects=False,
                )
            except requests.RequestException as error:
                if is_last or not is_repeatable or not _may_pass(error):
                    raise Unreachable(f"{self.url} does not answer", _why(error)) from error
                was_lost = True
                time.sleep(_pause_seconds(attempt))
                continue
            if answer.status_code in retried and not is_last:
                time.sleep(_pause_seconds(attempt, answer.headers.get("Retry-After")))
                continue
            if was_lost and method == "DELETE" and answer.status_code == 404:
                return answer  # the first time it was done, and only the answer was lost
            return _checked(answer)
        raise AssertionError("the last try returns or raises")


def specification(
    *,
    faas: Function | None = None,
    daas: Function | None = None,
    name: str = "",
    policy: str = "",
    requirements: str = "",
    device_info: Mapping[str, str | int | float] | None = None,
    lease_seconds: int | None = None,
) -> Json:
    """The body of a create or an update: what is given, and nothing else.

    ``policy`` ranks hosts, ``requirements`` say what a host must fulfil.
    """
    members: Json = {"NAME": name} if name else {}
    members |= {r: f.as_request() for r, f in (("FAAS", faas), ("DAAS", daas)) if f is not None}
    scheduling = {"POLICY": policy, "REQUIREMENTS": requirements}
    if told := {member: text for member, text in scheduling.items() if text}:
        members["SCHEDULING"] = told
    if device_info:
        members["DEVICE_INFO"] = dict(device_info)
    if lease_seconds is not None:
        members["LEASE"] = {"TTL": lease_seconds}
    return {"SERVERLESS_RUNTIME": members}


# ---- answers ---------------------------------------------------------------------------


def _runtime(answer: requests.Response) -> Runtime:
    try:
        return Runtime.of(_object(answer)["SERVERLESS_RUNTIME"], answer.headers.get("ETag", ""))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _nonsense(answer, "no serverless runtime") from error


def _object(answer: requests.Response) -> Json:
    body = _json(answer)
    if not isinstance(body, dict):
        raise _nonsense(answer, "no JSON object")
    return body


def _array(answer: requests.Response) -> list[Json]:
    body = _json(answer)
    if not isinstance(body, list):
        raise _nonsense(answer, "no JSON array")
    return body


def _json(answer: requests.Response) -> Any:
    try:
        return answer.json()
    except ValueError as error:
        raise _nonsense(answer, "no JSON") from error


def _checked(answer: requests.Response) -> requests.Response:
    status = answer.status_code
    if 200 <= status < 300:
        return answer
    try:
        body = answer.json()
        error, message = str(body["error"]), body["message"]
    except (ValueError, KeyError, TypeError):
        # A proxy in between, or no engine at all.
        error, message = f"HTTP {status} {answer.reason}", answer.text[:SHOWN_CHARACTERS]
    raise _BY_STATUS.get(status, ClientError)(error, message, status, _request_id(answer))


def _nonsense(answer: requests.Response, what: str) -> ClientError:
    shown = answer.text[:SHOWN_CHARACTERS]
    error = f"The answer holds {what}; is this a Provisioning Engine?"
    return ClientError(error, shown, answer.status_code, _request_id(answer))


def _request_id(answer: requests.Response) -> str:
    return str(answer.headers.get("X-Request-ID", ""))


def _may_pass(error: requests.RequestException) -> bool:
    """Whether the same request may succeed later: a broken connection heals, a wrong URL not."""
    if isinstance(error, requests.exceptions.SSLError):
        return False
    return isinstance(
        error,
        requests.exceptions.ConnectionError
        | requests.exceptions.Timeout
        | requests.exceptions.ChunkedEncodingError,
    )


def _why(error: Exception) -> str:
    """The innermost cause, which is what a person can do something about."""
    while error.args and isinstance(error.args[0], Exception):
        error = error.args[0]
    cause = getattr(error, "reason", None)
    text = str(cause if isinstance(cause, Exception) else error)
    return text.rpartition(">: ")[2] or type(error).__name__


def _pause_seconds(attempt: int, retry_after: str | None = None) -> float:
    """Before the next try: as long as the engine asks for, else longer each time."""
    asked = _retry_after_seconds(retry_after)
    pause = FIRST_PAUSE_SECONDS * 2 ** (attempt - 1) if asked is None else asked
    # Clients that were turned away together must not come back together.
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
