"""The operations of the API, on behalf of one user of OpenNebula."""

from __future__ import annotations

import re
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, TypedDict, Unpack
from urllib.parse import urlsplit

from provision_engine.client.errors import ClientError, RuntimeFailed, StillWaiting
from provision_engine.client.models import (
    Flavour,
    Function,
    Json,
    Quota,
    Runtime,
    Step,
    specification,
)
from provision_engine.client.transport import BUSY, LOCKED, LOST, Transport, json_of, reading

LONGEST_WAIT_SECONDS = 60.0
"""How long one request waits for a runtime; the client sends as many as it needs."""
POLL_SECONDS = 0.5
"""Between two reads of a runtime if the engine does not hold its response."""

PATH = "/serverless-runtimes"


class Members(TypedDict, total=False):
    """Of a new runtime, beside its functions; ``specification`` explains them."""

    name: str
    policy: str
    requirements: str
    device_info: Mapping[str, str | int | float] | None
    lease_seconds: int | None


class Changes(Members, total=False):
    """Of a runtime that is updated."""

    faas: Function | None
    daas: Function | None
    lift_lease: bool


class Client(Transport):
    """The API on behalf of one user of OpenNebula. Every method raises ClientError."""

    # ---- runtimes -----------------------------------------------------------------------

    def create_runtime(
        self,
        faas: Function,
        daas: Function | None = None,
        *,
        key: str = "",
        wait_seconds: float = 0.0,
        **members: Unpack[Members],
    ) -> Runtime:
        """Create a runtime.

        The same ``key`` always returns the same runtime; without one, each call creates another.
        With ``wait_seconds`` the method returns once the runtime is running or has failed.
        """
        return self._runtime(
            "POST",
            PATH,
            specification(faas=faas, daas=daas, **members),
            headers={"Idempotency-Key": key or str(uuid.uuid4())},
            wait_seconds=wait_seconds,
            retried=BUSY | LOST | {LOCKED},
        )

    def dry_run(
        self, faas: Function, daas: Function | None = None, **members: Unpack[Members]
    ) -> Json:
        """Return what a create would create: flow template, roles, attributes, and WARNINGS.

        Raises what the create would raise.
        """
        body = specification(faas=faas, daas=daas, **members)
        response = self._send("POST", PATH, body, query={"dry_run": "true"})
        return json_of(response, dict)

    def get_runtime(self, runtime_id: int, *, wait_seconds: float = 0.0) -> Runtime:
        return self._runtime("GET", f"{PATH}/{runtime_id}", wait_seconds=wait_seconds)

    def list_runtimes(
        self,
        *,
        name: str = "",
        flavour: str = "",
        state: str = "",
        page_size: int = 100,
        newest_first: bool = False,
        all_users: bool = False,
    ) -> Iterator[Runtime]:
        """Yield all of the user's runtimes that match, page by page, by id.

        An administrator gets those of ``all_users`` as well, with their owners.
        """
        filters = {"name": name, "flavour": flavour, "state": state}
        filters["all"] = "true" if all_users else ""
        filters["order"] = "desc" if newest_first else "asc"
        query = {n: v for n, v in filters.items() if v} | {"limit": str(page_size)}
        path = PATH
        while path:
            response = self._send("GET", path, query=query)
            with reading(response, "serverless runtimes"):
                entries = json_of(response, list)
                page = [Runtime.from_json(entry["SERVERLESS_RUNTIME"]) for entry in entries]
            yield from page
            # On the same engine, whatever host the link names.
            following = urlsplit(response.links.get("next", {}).get("url", ""))
            path = f"{following.path}?{following.query}" if following.path else ""
            query = {}

    def update_runtime(
        self,
        runtime_id: int,
        *,
        if_match: str = "",
        wait_seconds: float = 0.0,
        **changes: Unpack[Changes],
    ) -> Runtime:
        """Change the given members.

        With ``if_match`` (the ``etag`` of a runtime) only if the runtime has not changed since
        that was read; otherwise Changed is raised. That may be by this very update, where its
        first response was lost.
        """
        return self._runtime(
            "PUT",
            f"{PATH}/{runtime_id}",
            specification(**changes),
            headers={"If-Match": if_match} if if_match else {},
            wait_seconds=wait_seconds,
        )

    def delete_runtime(
        self, runtime_id: int, *, if_match: str = "", wait_seconds: float = 0.0
    ) -> None:
        """Delete the runtime; with ``wait_seconds`` return once its VMs are gone, or after them."""
        headers = {"If-Match": if_match} if if_match else {}
        path = f"{PATH}/{runtime_id}"
        self._send("DELETE", path, headers=headers, wait_seconds=wait_seconds)

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
        """Return the steps of the runtime's creation, in time order."""
        response = self._send("GET", f"{PATH}/{runtime_id}/timeline")
        with reading(response, "a timeline"):
            return [Step.from_json(step) for step in json_of(response, dict)["STEPS"]]

    @contextmanager
    def renewing_lease(self, runtime_id: int, seconds: int) -> Iterator[None]:
        """Give the runtime a lease, and renew it while the block lasts.

        It is renewed after each third of its time, so that two renewals in succession may fail. If
        this program dies, OpenNebula ends the runtime. Raises ClientError if the first one fails.
        """
        self.update_runtime(runtime_id, lease_seconds=seconds)
        is_over = threading.Event()

        def renew() -> None:
            with self._copy(tries=1, timeout_seconds=seconds / 3) as client:
                while not is_over.wait(seconds / 3):
                    with suppress(ClientError):
                        client.update_runtime(runtime_id, lease_seconds=seconds)

        thread = threading.Thread(target=renew, daemon=True)
        thread.start()
        try:
            yield
        finally:
            is_over.set()
            thread.join()

    # ---- waiting ------------------------------------------------------------------------

    def wait_until_running(
        self,
        runtime_id: int,
        seconds: float = 300.0,
        on_look: Callable[[Runtime], None] = lambda runtime: None,
    ) -> Runtime:
        """Return the runtime once all its functions are running; call ``on_look`` at each read.

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
        """Return the runtime once it is RUNNING or SUSPENDED, as ``wait_until_running``.

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
        """Return the flavours, and why the user cannot deploy some of them."""
        response = self._send("GET", "/flavours")
        with reading(response, "flavours"):
            return [Flavour.from_json(entry) for entry in json_of(response, list)]

    def quota(self) -> dict[str, Quota]:
        """Return the user's quota by metric: VMS, CPU, MEMORY and SYSTEM_DISK_SIZE (MB)."""
        response = self._send("GET", "/quota")
        with reading(response, "a quota"):
            return {n: Quota.from_json(entry) for n, entry in json_of(response, dict).items()}

    def version(self) -> str:
        """Return the engine's version; no login is needed."""
        return str(json_of(self._send("GET", "/server/version"), object))

    def config(self) -> Json:
        """Return the configuration in force; no login is needed."""
        return json_of(self._send("GET", "/server/config"), dict)

    def schema(self) -> Json:
        """Return the JSON schema of a runtime; no login is needed."""
        return json_of(self._send("GET", f"{PATH}/schema"), dict)

    # ---- sending ------------------------------------------------------------------------

    def _act(
        self, runtime_id: int, action: str, wait_seconds: float, query: dict[str, str] | None = None
    ) -> Runtime:
        path = f"{PATH}/{runtime_id}/{action}"
        return self._runtime("POST", path, query=query, wait_seconds=wait_seconds)

    def _runtime(self, method: str, path: str, body: Json | None = None, **options: Any) -> Runtime:
        """Send a request, and return the runtime in its response; the options are `send`'s."""
        response = self._send(method, path, body, **options)
        headers = response.headers
        with reading(response, "a serverless runtime"):
            members = json_of(response, dict)["SERVERLESS_RUNTIME"]
            warnings = _warnings(headers.get("Warning"))
            return Runtime.from_json(members, headers.get("ETag", ""), warnings)


def _warnings(header: str | None) -> tuple[str, ...]:
    """Return the texts of a Warning header (``299 - "text"``, several separated by commas)."""
    if not header:
        return ()
    texts = re.findall(r'"((?:[^"\\]|\\.)*)"', header) or [header]
    return tuple(re.sub(r"\\(.)", r"\1", text) for text in texts)
