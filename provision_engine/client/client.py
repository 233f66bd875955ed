"""The operations of the API, on behalf of one user of OpenNebula."""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

import requests

from provision_engine.client.errors import ClientError, RuntimeFailed, StillWaiting
from provision_engine.client.models import (
    Flavour,
    Function,
    Json,
    Runtime,
    Step,
    specification,
)
from provision_engine.client.transport import (
    BUSY,
    LOCKED,
    Call,
    Transport,
    json_array,
    json_object,
    json_value,
    not_an_engine,
)

DEFAULT_URL = "http://127.0.0.1:1337"
TRIES = 5
"""How many times a request is sent at most, the first time included."""
LONGEST_WAIT_SECONDS = 60.0
"""How long one request waits for a runtime; the client sends as many as it needs."""
POLL_SECONDS = 0.5
"""Between two reads of a runtime if the engine does not hold its response."""

PATH = "/serverless-runtimes"


class Client:
    """The API on behalf of one user of OpenNebula.

    Not to be shared by threads. ``timeout_seconds`` is how long a response may take, on top of
    the time that a request asks to wait. ``verify`` is False, or the file with the authorities
    that signed the engine's certificate. Every method raises ClientError.
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
        self._transport = Transport(
            url, user, password, timeout_seconds=timeout_seconds, tries=tries, verify=verify
        )

    @property
    def url(self) -> str:
        return self._transport.url

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
        self._transport.session.close()

    # ---- runtimes -----------------------------------------------------------------------

    def create_runtime(
        self,
        faas: Function,
        daas: Function | None = None,
        *,
        key: str = "",
        wait_seconds: float = 0.0,
        **members: Any,
    ) -> Runtime:
        """Create a runtime; ``members`` are those of ``specification``.

        The same ``key`` always returns the same runtime; without one, each call creates another.
        With ``wait_seconds`` the method returns once the runtime is running or has failed.
        """
        return self._runtime(
            Call(
                "POST",
                PATH,
                specification(faas=faas, daas=daas, **members),
                headers={"Idempotency-Key": key or str(uuid.uuid4())},
                wait_seconds=wait_seconds,
                retried=BUSY | {LOCKED},
            )
        )

    def dry_run(self, faas: Function, daas: Function | None = None, **members: Any) -> Json:
        """What a create would create: flow template, roles, attributes, and WARNINGS.

        Raises what the create would raise.
        """
        body = specification(faas=faas, daas=daas, **members)
        return json_object(self._send(Call("POST", PATH, body, query={"dry_run": "true"})))

    def get_runtime(self, runtime_id: int, *, wait_seconds: float = 0.0) -> Runtime:
        return self._runtime(Call("GET", f"{PATH}/{runtime_id}", wait_seconds=wait_seconds))

    def list_runtimes(
        self,
        *,
        name: str = "",
        flavour: str = "",
        state: str = "",
        page_size: int = 100,
        newest_first: bool = False,
    ) -> Iterator[Runtime]:
        """All of the user's runtimes that match, page by page, by id."""
        filters = {"name": name, "flavour": flavour, "state": state}
        filters["order"] = "desc" if newest_first else "asc"
        query = {n: v for n, v in filters.items() if v} | {"limit": str(page_size)}
        path = PATH
        while path:
            response = self._send(Call("GET", path, query=query))
            for entry in json_array(response):
                yield Runtime.from_json(entry["SERVERLESS_RUNTIME"])
            path, query = _next_page(response), {}

    def update_runtime(
        self,
        runtime_id: int,
        *,
        if_match: str = "",
        wait_seconds: float = 0.0,
        **members: Any,
    ) -> Runtime:
        """Change the given members, which are those of ``specification``.

        With ``if_match`` (the ``etag`` of a runtime) only if the runtime has not changed since
        that was read; otherwise Changed is raised.
        """
        return self._runtime(
            Call(
                "PUT",
                f"{PATH}/{runtime_id}",
                specification(**members),
                headers={"If-Match": if_match} if if_match else {},
                wait_seconds=wait_seconds,
                # If the first attempt succeeded, the etag no longer matches.
                is_repeatable=not if_match,
            )
        )

    def delete_runtime(self, runtime_id: int, *, if_match: str = "") -> None:
        self._send(
            Call(
                "DELETE",
                f"{PATH}/{runtime_id}",
                headers={"If-Match": if_match} if if_match else {},
                is_repeatable=not if_match,
            )
        )

    def recover_runtime(
        self, runtime_id: int, *, replace: bool = False, wait_seconds: float = 0.0
    ) -> Runtime:
        """Recover a failed runtime under its id.

        ``replace`` allows a new VM in place of a failed one even if the DAAS loses its disk.
        """
        query = {"replace": "true"} if replace else {}
        return self._act(runtime_id, "recover", wait_seconds, query)

    def suspend_runtime(self, runtime_id: int, *, wait_seconds: float = 0.0) -> Runtime:
        """Suspend the VMs: they keep their disks and addresses, but no CPU and no memory."""
        return self._act(runtime_id, "suspend", wait_seconds)

    def resume_runtime(self, runtime_id: int, *, wait_seconds: float = 0.0) -> Runtime:
        """Resume a suspended runtime."""
        return self._act(runtime_id, "resume", wait_seconds)

    def timeline(self, runtime_id: int) -> list[Step]:
        """The steps of the runtime's creation, in time order."""
        response = self._send(Call("GET", f"{PATH}/{runtime_id}/timeline"))
        try:
            return [Step.from_json(step) for step in json_object(response)["STEPS"]]
        except (KeyError, TypeError, ValueError) as error:
            raise not_an_engine(response, "a timeline") from error

    # ---- waiting ------------------------------------------------------------------------

    def wait_until_running(
        self,
        runtime_id: int,
        seconds: float = 300.0,
        on_look: Callable[[Runtime], None] = lambda runtime: None,
    ) -> Runtime:
        """The runtime once all its functions are running; ``on_look`` is called at each read.

        Raises RuntimeFailed if a function is in ERROR, StillWaiting when the time has run out.
        """
        return self.wait_for_state(runtime_id, "RUNNING", seconds, on_look)

    def wait_for_state(
        self,
        runtime_id: int,
        state: str,
        seconds: float = 300.0,
        on_look: Callable[[Runtime], None] = lambda runtime: None,
        hold_seconds: float = LONGEST_WAIT_SECONDS,
    ) -> Runtime:
        """The runtime once it is RUNNING or SUSPENDED, as ``wait_until_running``.

        ``hold_seconds`` is how long one request may wait: shorter means more frequent looks.
        """
        until = time.monotonic() + seconds
        while True:
            left = max(until - time.monotonic(), 0.0)
            asked_at = time.monotonic()
            runtime = self.get_runtime(runtime_id, wait_seconds=min(left, hold_seconds))
            on_look(runtime)
            if runtime.state == state:
                return runtime
            if runtime.state == "ERROR":
                raise RuntimeFailed(runtime)
            if time.monotonic() >= until:
                raise StillWaiting(runtime, state)
            # An engine that does not hold its response for so long is not polled without pause.
            time.sleep(max(0.0, min(POLL_SECONDS - (time.monotonic() - asked_at), left)))

    # ---- the engine ---------------------------------------------------------------------

    def flavours(self) -> list[Flavour]:
        """The flavours, and why the user cannot deploy some of them."""
        response = self._send(Call("GET", "/flavours"))
        try:
            return [Flavour.from_json(entry) for entry in json_array(response)]
        except (KeyError, TypeError) as error:
            raise not_an_engine(response, "flavours") from error

    def version(self) -> str:
        """Of the engine; no login needed."""
        return str(json_value(self._send(Call("GET", "/server/version"))))

    def config(self) -> Json:
        """The configuration in force; no login needed."""
        return json_object(self._send(Call("GET", "/server/config")))

    def schema(self) -> Json:
        """The JSON schema of a runtime; no login needed."""
        return json_object(self._send(Call("GET", f"{PATH}/schema")))

    # ---- sending ------------------------------------------------------------------------

    def _send(self, call: Call) -> requests.Response:
        return self._transport.send(call)

    def _act(
        self, runtime_id: int, action: str, wait_seconds: float, query: dict[str, str] | None = None
    ) -> Runtime:
        path = f"{PATH}/{runtime_id}/{action}"
        return self._runtime(Call("POST", path, query=query or {}, wait_seconds=wait_seconds))

    def _runtime(self, call: Call) -> Runtime:
        response = self._send(call)
        try:
            body = json_object(response)["SERVERLESS_RUNTIME"]
            return Runtime.from_json(
                body, response.headers.get("ETag", ""), _warnings(response.headers.get("Warning"))
            )
        except ClientError:
            raise
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise not_an_engine(response, "a serverless runtime") from error


def _next_page(response: requests.Response) -> str:
    """The path of the next page on the same engine, whatever host the link names; or empty."""
    following = urlsplit(response.links.get("next", {}).get("url", ""))
    return f"{following.path}?{following.query}" if following.path else ""


def _warnings(header: str | None) -> tuple[str, ...]:
    """The texts of a Warning header (``299 - "text"``, several separated by commas)."""
    if not header:
        return ()
    texts = re.findall(r'"((?:[^"\\]|\\.)*)"', header) or [header]
    return tuple(re.sub(r"\\(.)", r"\1", text) for text in texts)
