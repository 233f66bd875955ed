"""The whole sandbox: a world behind two servers, with faults and delays in between."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from types import TracebackType

from provision_engine.sandbox import errors, oned, oneflow, rpc
from provision_engine.sandbox.clock import Clock
from provision_engine.sandbox.errors import RpcFault
from provision_engine.sandbox.faults import Fault, Faults
from provision_engine.sandbox.inspection import Inspection
from provision_engine.sandbox.latency import Latency
from provision_engine.sandbox.rpc import Parameter
from provision_engine.sandbox.server import ADDRESS, HttpRequest, HttpResponse, HttpServer
from provision_engine.sandbox.timings import Timings
from provision_engine.sandbox.world import World

MAXIMUM_CALLS = 1_000_000
_XML = "text/xml; charset=utf-8"
_KEEPS_ALIVE = {"oned": False, "oneflow": True}
_GARBAGE = b"\x00\xffthis is neither XML-RPC nor JSON <<<{{{"
_POLL_SECONDS = 0.05


@dataclass(slots=True)
class CallRecord:
    """One call that reached the sandbox."""

    backend: str
    """`oned` or `oneflow`."""
    method: str
    """`one.vm.info` or `POST`."""
    path: str
    user: str
    number: int
    """The position of this call among those of its backend and method, from 1."""
    request_bytes: int = 0
    """The length of the request's body."""
    response_bytes: int = 0
    """The length of the response's body; 0 until there is a response."""
    is_part: bool = False
    """Is it one of the calls of a ``system.multicall``, which has a record of its own before it?"""


OnCall = Callable[[CallRecord, str], None]
"""Called with "before" each call and "after" its effect, but before its response is sent."""


class Sandbox:
    """A simulated OpenNebula of one release, on two ports of 127.0.0.1 (0: any free port).

    Use it as a context manager, or with `start` and `stop`. OSError if a port is in use.
    """

    def __init__(
        self,
        release: str = "7.4.0",
        oned_port: int = 0,
        oneflow_port: int = 0,
        timings: Timings | None = None,
        latency: str | None = None,
        clock: Clock | None = None,
        hosts: int = 100,
    ) -> None:
        self.faults = Faults()
        self.faults.on_refuse = self._refuse
        self.latency = Latency(latency)
        self.on_call: OnCall | None = None
        self._clock = clock or Clock()
        self.world = World(release, self._clock, timings, self.faults.drivers, hosts)
        self.faults.drivers.before_change = self._catch_up
        self._calls: deque[CallRecord] = deque(maxlen=MAXIMUM_CALLS)
        self._counts: Counter[tuple[str, str]] = Counter()
        self._ports = {"oned": oned_port, "oneflow": oneflow_port}
        self._handlers = {"oned": self._handle_oned, "oneflow": self._handle_oneflow}
        self._servers: dict[str, HttpServer] = {}
        self._stopping = False

    # ---- start and stop ------------------------------------------------------------------------

    def start(self) -> Sandbox:
        """Opens both ports."""
        self._stopping = False
        try:
            for name, handler in self._handlers.items():
                self._servers[name] = HttpServer(
                    self._ports[name],
                    handler,
                    name,
                    keeps_alive=_KEEPS_ALIVE[name],
                    now=self._clock.now,
                )
        except OSError:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """Closes both ports and all connections, and waits for the threads."""
        self._stopping = True
        self.faults.clear()
        for server in self._servers.values():
            server.close()
        for server in self._servers.values():
            server.join()

    def __enter__(self) -> Sandbox:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def restart(self) -> None:
        """Closes all connections, and starts again on the same ports with the same state."""
        for server in self._servers.values():
            server.close()
        for server in self._servers.values():
            server.listen()

    def kill_oneflow(self) -> None:
        """Ends oneflow in the middle of what it does, and closes its port."""
        self._servers["oneflow"].close()
        with self.world.moment():
            self.world.services.kill()

    def start_oneflow(self) -> None:
        """Starts oneflow again: what it finds deploying it deploys once more, as its own user."""
        with self.world.moment():
            self.world.services.catch_up()
        self._servers["oneflow"].listen()

    def _catch_up(self) -> None:
        """Carries out all due steps, before a setting changes."""
        with self.world.moment():
            pass

    def _refuse(self, backend: str, is_on: bool) -> None:
        server = self._servers.get(backend)
        if server is not None and is_on:
            server.close()
        elif server is not None and not self._stopping:
            server.listen()

    # ---- what tests use --------------------------------------------------------------------------

    @property
    def oned_url(self) -> str:
        """The URL of oned's XML-RPC."""
        return f"http://{ADDRESS}:{self._servers['oned'].port}/RPC2"

    @property
    def oneflow_url(self) -> str:
        """The URL of oneflow."""
        return f"http://{ADDRESS}:{self._servers['oneflow'].port}"

    @property
    def store(self) -> Inspection:
        """Direct access to the store, to inspect it and to set it up."""
        return Inspection(self.world)

    @property
    def timings(self) -> Timings:
        """How long each step takes from now on; may be set."""
        return self.world.store.timings

    @timings.setter
    def timings(self, timings: Timings) -> None:
        self._catch_up()
        self.world.store.timings = timings

    @property
    def calls(self) -> list[CallRecord]:
        """The calls so far, in order."""
        return list(self._calls)

    def clear_calls(self) -> None:
        """Forgets the calls so far and restarts counting."""
        self._calls.clear()
        self._counts.clear()

    @property
    def connections(self) -> dict[str, int]:
        """The number of TCP connections that each service has accepted since the start."""
        return {name: server.accepted for name, server in self._servers.items()}

    # ---- handling requests -----------------------------------------------------------------------

    def _handle_oned(self, request: HttpRequest) -> HttpResponse | None:
        try:
            method, parameters = rpc.read(request.body)
        except RpcFault as error:
            fault = rpc.fault(error)
            return self._handle("oned", "-", request, "", lambda: fault)
        if method == oned.MULTICALL:
            together = partial(self._multicall, request, parameters)
            return self._handle("oned", method, request, "", together)
        effect = partial(self._call_oned, method, parameters)
        return self._handle("oned", method, request, _user_of(parameters), effect)

    def _call_oned(self, method: str, parameters: list[Parameter]) -> bytes:
        try:
            with self.world.moment():
                return rpc.result(oned.call(self.world, method, parameters))
        except RpcFault as error:
            return rpc.fault(error)

    def _multicall(
        self, request: HttpRequest, parameters: list[Parameter]
    ) -> bytes | HttpResponse | None:
        """Makes one call after the other; a fault injected into one ends it there."""
        elements: list[bytes] = []
        try:
            for method, arguments in oned.parts(parameters):
                effect = partial(self._call_part, method, arguments)
                user, is_next = _user_of(arguments), len(elements) > 0
                part = self._handle("oned", method, request, user, effect, _IN_PLACE, is_next)
                if part is None:
                    return None
                elements.append(part.body)
                if part.cut:
                    return HttpResponse(200, rpc.results(elements), _XML, cut=True)
        except RpcFault as error:
            return rpc.fault(error)
        return rpc.results(elements)

    def _call_part(self, method: str, parameters: list[Parameter]) -> bytes:
        try:
            with self.world.moment():
                return rpc.written([oned.call(self.world, method, parameters)]).encode()
        except RpcFault as error:
            return rpc.written(error).encode()

    def _handle_oneflow(self, request: HttpRequest) -> HttpResponse | None:
        authorization = request.headers.get("authorization")
        return self._handle(
            "oneflow",
            request.method,
            request,
            oneflow.user_name(authorization),
            lambda: self._call_oneflow(request, authorization),
        )

    def _call_oneflow(self, request: HttpRequest, authorization: str | None) -> HttpResponse | None:
        with self.world.moment():
            response = oneflow.respond(
                self.world, request.method, request.path, authorization, request.body
            )
        if response is None:
            return None
        return HttpResponse(response.status, response.body.encode(), response.content_type)

    def _handle(
        self,
        backend: str,
        method: str,
        request: HttpRequest,
        user: str,
        effect: Callable[[], bytes | HttpResponse | None],
        instead: Mapping[str, Instead] | None = None,
        follows: bool = False,
    ) -> HttpResponse | None:
        """Records a call, applies faults and latency, and returns its response.

        For a part of a multicall, `instead` says what faults do in its place, and `follows` that
        it is not the first one.
        """
        is_part = instead is not None
        instead = instead or _INSTEAD
        line = method if backend == "oned" else f"{method} {request.path}"
        key = backend, method
        self._counts[key] += 1
        number, size = self._counts[key], 0 if is_part else len(request.body)
        record = CallRecord(backend, method, request.path, user, number, size, is_part=is_part)
        self._calls.append(record)
        if self.on_call is not None:
            self.on_call(record, "before")
        fault = self.faults.striking(backend, line, is_part)
        if fault is not None and fault.kind in instead:
            return instead[fault.kind](self, fault)
        self.latency.pass_time(backend, line, follows)
        if fault is not None and fault.kind == "slow":
            time.sleep(fault.seconds)
        made = effect()
        if made is None:
            return None
        response = made if isinstance(made, HttpResponse) else HttpResponse(200, made, _XML)
        record.response_bytes = len(response.body)
        if self.on_call is not None:
            self.on_call(record, "after")
        return response._replace(cut=True) if fault and fault.kind == "cut" else response

    def _hang(self, fault: Fault) -> None:
        while self.faults.is_on(fault) and not self._stopping:
            self.faults.changed.wait(_POLL_SECONDS)

    def _garbage(self, fault: Fault) -> HttpResponse:
        return HttpResponse(200, _GARBAGE, "text/html")

    def _error(self, fault: Fault) -> HttpResponse:
        return HttpResponse(500, b"Internal Server Error", "text/plain")


def _user_of(parameters: list[Parameter]) -> str:
    return str(parameters[0]).partition(":")[0] if parameters else ""


Instead = Callable[[Sandbox, Fault], HttpResponse | None]
_INSTEAD: dict[str, Instead] = {
    "hang": Sandbox._hang,
    "garbage": Sandbox._garbage,
    "error": Sandbox._error,
}
_FAILED = [False, "Internal Server Error", errors.INTERNAL, -1, rpc.Long(-1)]
_IN_PLACE: dict[str, Instead] = {
    "hang": Sandbox._hang,
    "garbage": lambda *_: HttpResponse(200, rpc.written("neither result nor fault").encode(), _XML),
    "error": lambda *_: HttpResponse(200, rpc.written([_FAILED]).encode(), _XML),
}
"""The same for a part of a multicall."""
