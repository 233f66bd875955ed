"""Ask VMs whether they answer on `ready.port`: until then their functions are not RUNNING."""

from __future__ import annotations

import errno
import ipaddress
import math
import selectors
import socket
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress

from provision_engine.engine.context import Context
from provision_engine.engine.memory import Answers, Endpoint
from provision_engine.engine.runtime.snapshot import Snapshot
from provision_engine.engine.runtime.states import Condition, Reason, State

ASK_SECONDS = 0.2
"""For all VMs that are asked together, which is what a request waits at most."""
PAUSE_SECONDS = 0.5
"""Before a VM that did not answer is asked again."""
MAX_ASKED = 256
"""How many VMs are asked together; the others do not answer yet."""


def check(context: Context, snapshots: Sequence[Snapshot]) -> list[Snapshot]:
    """Return the snapshots, with functions PENDING whose VMs run and have not answered yet."""
    port = context.configuration.ready_port
    if port is None:
        return list(snapshots)
    endpoints = {vm.id: vm.endpoint for snapshot in snapshots for vm in snapshot.running_vms}
    text = f"VM runs, but does not answer on port {port} yet"
    condition = Condition(State.PENDING, text, Reason.NOT_ANSWERING)
    silent = _silent(context.memory.answers, endpoints, port)
    return [snapshot.with_condition(condition, silent) for snapshot in snapshots]


def _silent(answers: Answers, endpoints: Mapping[int, str], port: int) -> set[int]:
    """Return the VMs that have not answered, of those in ``endpoints``: addresses by VM id.

    A VM whose endpoint is not an IP address stays silent. So does a port that closes a connection
    at once, as a proxy without a backend does.
    """
    now = time.monotonic()
    with answers.lock:
        due = [known for known in endpoints.items() if answers.due_at(known) <= now][:MAX_ASKED]
        for known in due:
            answers.put(known, now + PAUSE_SECONDS)
    answered = set(_ask(due, port))
    for known in answered:
        answers.put(known, math.inf)
    silent = [known for known in endpoints.items() if answers.due_at(known) != math.inf]
    return {known[0] for known in silent if known not in answered}


def _ask(endpoints: list[Endpoint], port: int) -> list[Endpoint]:
    """Connect to all endpoints at once. Returns those that accepted, and stayed or sent something.

    A time limit of its own, since the deadline of a request is for OpenNebula.
    """
    answered: list[Endpoint] = []
    ends_at = time.monotonic() + ASK_SECONDS
    with selectors.DefaultSelector() as selector, ExitStack() as sockets:
        for endpoint in endpoints:
            if (connecting := _connecting(endpoint[1], port)) is not None:
                sockets.enter_context(connecting)
                selector.register(connecting, selectors.EVENT_WRITE, endpoint)
        while selector.get_map() and (seconds := ends_at - time.monotonic()) > 0:
            for key, events in selector.select(seconds):
                connection = key.fileobj
                assert isinstance(connection, socket.socket)
                if events & selectors.EVENT_WRITE:
                    if connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                        selector.unregister(connection)
                    else:
                        selector.modify(connection, selectors.EVENT_READ, key.data)
                else:
                    selector.unregister(connection)
                    if _has_sent(connection):
                        answered.append(key.data)
        staying = [k.data for k in selector.get_map().values() if k.events == selectors.EVENT_READ]
    return answered + staying


def _connecting(address: str, port: int) -> socket.socket | None:
    """Return a socket that is being connected; None where there is no way to the address."""
    try:
        version = ipaddress.ip_address(address).version
    except ValueError:
        return None
    if "%" in address:  # a scope, which may be any text
        return None
    try:
        connecting = socket.socket(socket.AF_INET if version == 4 else socket.AF_INET6)
    except OSError:  # no IPv6, or no descriptor left
        return None
    connecting.setblocking(False)
    with suppress(OSError):
        if connecting.connect_ex((address, port)) in (0, errno.EINPROGRESS):
            return connecting
    connecting.close()
    return None


def _has_sent(connection: socket.socket) -> bool:
    try:
        return bool(connection.recv(1))
    except OSError:
        return False
