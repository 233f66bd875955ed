"""The control API: HTTP and JSON on a separate port, to change a sandbox while it runs.

======================== ===========================================================================
GET /                    release, URLs, number of calls, connections, active faults
GET /calls               the calls so far; DELETE /calls forgets them
GET /count               the numbers of runtimes, services and live VMs
POST /faults             ``{"fault": "oned:slow:seconds=2"}`` activates a fault
DELETE /faults           clears all faults; DELETE /faults/oned those of one backend
POST /restart            ``{"keep_state": true, "down_seconds": 0}``
POST /timings            ``{"boot_seconds": 5}`` changes durations from now on
POST /vms/ID             ``{"state": "UNKNOWN"}`` sets a VM's state; ``{"user_template": "…"}``
POST /barrier            ``{"method": "one.vm.info", "number": 3, "moment": "before"}``: the n-th
                         call of that method from now on blocks ``before`` or ``after`` its effect
GET /barrier             ``{"reached": true}``; with ``?wait=SECONDS`` it waits for that
DELETE /barrier          releases the blocked call and removes the barrier
======================== ===========================================================================

The response to an invalid request is 400 with ``{"error": "…"}``.
"""

from __future__ import annotations

import dataclasses
import json
import threading
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

from provision_engine.sandbox.errors import OneError
from provision_engine.sandbox.sandbox import CallRecord, Sandbox
from provision_engine.sandbox.server import ADDRESS, HttpRequest, HttpResponse, HttpServer

Json = dict[str, Any]
MAXIMUM_WAIT_SECONDS = 60.0


class Barrier:
    """Blocks the n-th call of a method before or after its effect, until it is released."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self._method, self._left, self._moment = "", 0, "before"
        self._guard = threading.Lock()
        self.reached = threading.Event()
        self._released = threading.Event()

    def set(self, method: str, number: int = 1, moment: str = "before") -> None:
        """Sets the barrier and releases a previous one."""
        if moment not in ("before", "after"):
            raise ValueError(f"moment: {moment!r} is unknown, allowed are before, after")
        if number < 1:
            raise ValueError(f"number: {number} must be at least 1")
        self.release()
        with self._guard:
            self._method, self._left, self._moment = method, number, moment
            self.reached, self._released = threading.Event(), threading.Event()
        self._sandbox.on_call = self._on_call

    def release(self) -> None:
        """Releases the blocked call and removes the barrier."""
        with self._guard:
            self._left = 0
        self._released.set()

    def _on_call(self, record: CallRecord, moment: str) -> None:
        with self._guard:
            if moment != self._moment or not self._left or not self._matches(record):
                return
            self._left -= 1
            if self._left:
                return
            reached, released = self.reached, self._released
        reached.set()
        released.wait()

    def _matches(self, record: CallRecord) -> bool:
        return self._method in (record.method, f"{record.method} {record.path}")


class Control:
    """The server of the control API; OSError if its port is in use."""

    def __init__(self, sandbox: Sandbox, port: int = 0) -> None:
        self._sandbox = sandbox
        self.barrier = Barrier(sandbox)
        self._server = HttpServer(port, self._respond, "control")

    @property
    def url(self) -> str:
        """The base URL of the control API."""
        return f"http://{ADDRESS}:{self._server.port}"

    def stop(self) -> None:
        """Releases a blocked call and closes the port."""
        self.barrier.release()
        self._server.close()
        self._server.join()

    def _respond(self, request: HttpRequest) -> HttpResponse:
        url = urlsplit(request.path)
        first, _, rest = url.path.strip("/").partition("/")
        action = _ACTIONS.get((request.method, first))
        if action is None:
            return _json(404, {"error": f"{request.method} {url.path} does not exist"})
        try:
            body = json.loads(request.body) if request.body.strip() else {}
            if not isinstance(body, dict):
                raise ValueError("the body must be a JSON object")
            query = {name: values[-1] for name, values in parse_qs(url.query).items()}
            return _json(200, action(self, rest, body | query))
        except (ValueError, TypeError, KeyError, OneError) as error:
            return _json(400, {"error": str(error)})

    def _overview(self, rest: str, body: Json) -> Json:
        sandbox = self._sandbox
        return {
            "release": sandbox.world.store.release.version,
            "oned": sandbox.oned_url,
            "oneflow": sandbox.oneflow_url,
            "calls": len(sandbox.calls),
            "connections": sandbox.connections,
            "faults": [dataclasses.asdict(fault) for fault in sandbox.faults.listed()],
        }

    def _calls(self, rest: str, body: Json) -> Json:
        return {"calls": [dataclasses.asdict(call) for call in self._sandbox.calls]}

    def _clear_calls(self, rest: str, body: Json) -> Json:
        self._sandbox.clear_calls()
        return {}

    def _count(self, rest: str, body: Json) -> Json:
        return dict(self._sandbox.store.count())

    def _set_fault(self, rest: str, body: Json) -> Json:
        self._sandbox.faults.set_text(str(body["fault"]))
        return {}

    def _clear_faults(self, rest: str, body: Json) -> Json:
        self._sandbox.faults.clear(rest or None)
        return {}

    def _restart(self, rest: str, body: Json) -> Json:
        down = float(body.get("down_seconds", 0.0))
        self._sandbox.restart(bool(body.get("keep_state", True)), down)
        return {}

    def _timings(self, rest: str, body: Json) -> Json:
        durations = {str(name): float(value) for name, value in body.items()}
        self._sandbox.timings = dataclasses.replace(self._sandbox.timings, **durations)
        return dataclasses.asdict(self._sandbox.timings)

    def _vm(self, rest: str, body: Json) -> Json:
        if "state" in body:
            self._sandbox.store.put_vm(int(rest), str(body["state"]))
        if "user_template" in body:
            self._sandbox.store.set_user_template(int(rest), str(body["user_template"]))
        return {"state": self._sandbox.store.vm_state(int(rest))}

    def _set_barrier(self, rest: str, body: Json) -> Json:
        moment = str(body.get("moment", "before"))
        self.barrier.set(str(body["method"]), int(body.get("number", 1)), moment)
        return {}

    def _wait_barrier(self, rest: str, body: Json) -> Json:
        seconds = min(float(body.get("wait", 0.0)), MAXIMUM_WAIT_SECONDS)
        return {"reached": self.barrier.reached.wait(seconds)}

    def _release_barrier(self, rest: str, body: Json) -> Json:
        self.barrier.release()
        return {}


_ACTIONS: dict[tuple[str, str], Callable[[Control, str, Json], Json]] = {
    ("GET", ""): Control._overview,
    ("GET", "calls"): Control._calls,
    ("DELETE", "calls"): Control._clear_calls,
    ("GET", "count"): Control._count,
    ("POST", "faults"): Control._set_fault,
    ("DELETE", "faults"): Control._clear_faults,
    ("POST", "restart"): Control._restart,
    ("POST", "timings"): Control._timings,
    ("POST", "vms"): Control._vm,
    ("POST", "barrier"): Control._set_barrier,
    ("GET", "barrier"): Control._wait_barrier,
    ("DELETE", "barrier"): Control._release_barrier,
}


def _json(status: int, body: Json) -> HttpResponse:
    return HttpResponse(status, json.dumps(body).encode(), "application/json")
