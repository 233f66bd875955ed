"""The engine's additions to gunicorn's threaded worker: only this module knows its inside.

Each override stands for something that gunicorn has no setting or hook for;
tests/unit/server/test_gunicorn.py fails when an upgrade changes what they rely on.
"""

from __future__ import annotations

import select
import socket
import time
import uuid
from contextlib import suppress
from typing import Any

from gunicorn.http.errors import ParseException
from gunicorn.workers import gthread

from provision_engine import log
from provision_engine.server.arrival import Arrivals
from provision_engine.server.refusals import FAILED, TOO_LATE, Reason, error_response, refusal

SOON_SECONDS = 0.01
"""How long a thread waits until a connection sends something; then the main loop does."""
SILENT_SECONDS = 2.0
"""How long a stopping worker waits for connections that have not sent anything."""
RESPONSE_SECONDS = 1.0
UNREAD_SECONDS = 0.5
"""How long a thread waits, after its response, for the rest of a body, or for the client to close.
"""

arrivals = Arrivals()
"""The requests that this process is reading."""


class Worker(gthread.ThreadWorker):  # type: ignore[misc]
    """A process with threads, which slow and silent clients cannot occupy for long."""

    def notify(self) -> None:
        """Tell the master that this process lives; called at least once a second."""
        super().notify()
        arrivals.end_late_ones()

    def handle(self, connection: Any) -> Any:
        """Answer the requests of a connection in a thread, as long as each follows at once.

        gunicorn would let a silent connection occupy a thread for five seconds, and pass every
        connection through the main loop after each request, which costs as much as many answers.
        """
        patience_seconds = SOON_SECONDS if self.alive else SILENT_SECONDS
        if not connection.initialized and not connection.wait_for_data(patience_seconds):
            return gthread._DEFER if self.alive else False
        result = self._answer(connection)
        while result and self._has_thread_for_each() and _sends_soon(connection.sock):
            result = self._answer(connection)
        return result

    def _answer(self, connection: Any) -> Any:
        """Read a request and answer it; gunicorn would wait forever for the rest of one."""
        # log.request: what the thread knows of its last request is forgotten, secrets above all.
        with log.request(""), arrivals.receive(connection) as arrival:
            result = super().handle(connection)
        if arrival.is_late and not arrival.has_head:
            _refuse(connection.sock, connection.client, TOO_LATE)
        if not result:
            _wait_for_close(connection.sock)
        return result

    def _has_thread_for_each(self) -> bool:
        """Return whether no connection has to wait for a thread that stays with another one."""
        return bool(self.alive and self.nr_conns <= self.cfg.threads)

    def handle_error(self, _request: Any, client: Any, address: Any, error: Any) -> None:
        """Answer what failed outside of the application; gunicorn would answer HTML."""
        _refuse(client, address, refusal(error), error)

    def _keepalive_after(self, connection: Any, keepalive: Any) -> bool:
        """Whether the connection can be reused: what the application did not read is discarded.

        gunicorn would let it occupy a thread for five seconds, and answer the request a second time
        if the rest of it is malformed.
        """
        if not keepalive:
            return False
        try:
            until = time.monotonic() + UNREAD_SECONDS
            return bool(connection.parser.finish_body(deadline=until))
        except ParseException:
            return False

    def set_accept_enabled(self, enabled: bool) -> None:
        """Start or stop accepting connections; a worker that ends leaves the port as well."""
        super().set_accept_enabled(enabled)
        if not enabled and not (self.alive and self.is_parent_alive()):
            self._leave_the_port()

    def _leave_the_port(self) -> None:
        """Accept what the kernel has established already, then close the port.

        gunicorn would keep it open until its last request is answered: new clients would wait
        at a port without a server, and no other engine could have it.
        """
        for listener in self.sockets:
            accepted = -1
            while accepted != self.nr_conns:
                accepted = self.nr_conns
                self.accept(listener)
            listener.close()
        for connection in self.pending_conns:
            connection.timeout = min(connection.timeout, time.monotonic() + SILENT_SECONDS)


def _sends_soon(client: socket.socket) -> bool:
    """Return whether the client sends something, or closes, before the main loop has to wait."""
    poll = select.poll()
    with suppress(ValueError):  # it has been closed
        poll.register(client, select.POLLIN)
    return bool(poll.poll(SOON_SECONDS * 1000))


def _wait_for_close(client: socket.socket) -> None:
    """End the response, and wait a moment until the client has read it and closes its side.

    gunicorn would do so in the main loop, for two seconds, while no other client of this process
    is served.
    """
    until = time.monotonic() + UNREAD_SECONDS
    with suppress(OSError):
        socket.socket.shutdown(client, socket.SHUT_WR)
        while (rest := until - time.monotonic()) > 0:
            client.settimeout(rest)
            if not socket.socket.recv(client, 65_536):
                break
    with suppress(OSError):
        # Whatever gunicorn still reads ends at once.
        socket.socket.shutdown(client, socket.SHUT_RD)


def _refuse(
    client: socket.socket, address: Any, reason: Reason, error: BaseException | None = None
) -> None:
    status, message = reason
    request_id, host = uuid.uuid4().hex[:8], (address or "-")[0]
    response = error_response(reason, request_id)
    with log.request(request_id):
        if reason is FAILED:
            log.engine.error("A response failed outside of the application", exc_info=error)
        else:
            log.engine.warning("Refused a request from %s: %s", host, message)
        log.answered(host, "-", status.value, len(response), 0.0, request_id)
    with suppress(OSError):
        client.settimeout(RESPONSE_SECONDS)
        client.sendall(response)
