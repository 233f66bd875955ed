"""What the engine adds to gunicorn's threaded worker, and all that it knows of its inside.

Each override stands for something that gunicorn has no setting or hook for;
tests/unit/server/test_gunicorn.py fails when an upgrade changes what they rely on.
"""

from __future__ import annotations

import socket
import time
import uuid
from contextlib import suppress
from typing import Any

from gunicorn.workers import gthread

from provision_engine import log
from provision_engine.server.arrival import Arrivals
from provision_engine.server.refusals import FAILED, TOO_LATE, Reason, error_response, refusal

FIRST_BYTE_SECONDS = 0.01
"""How long a thread waits for a new connection to send something; then the main loop does."""
SILENT_SECONDS = 2.0
"""How long a stopping worker waits for connections that have not sent anything."""
RESPONSE_SECONDS = 1.0

arrivals = Arrivals()
"""The requests that this process is reading."""


class Worker(gthread.ThreadWorker):  # type: ignore[misc]
    """A process with threads, which slow and silent clients cannot occupy for long."""

    def notify(self) -> None:
        """Tell the master that this process lives; called at least once a second."""
        super().notify()
        arrivals.end_late_ones()

    def handle(self, connection: Any) -> Any:
        """Read a request and answer it, in a thread.

        gunicorn would let a silent connection occupy a thread for five seconds, and one that
        sends half a request for ever.
        """
        if not connection.initialized and not connection.wait_for_data(FIRST_BYTE_SECONDS):
            return gthread._DEFER
        # log.request: what the thread knows of its last request is forgotten, secrets above all.
        with log.request(""), arrivals.receive(connection) as arrival:
            result = super().handle(connection)
        if arrival.is_late and not arrival.has_head:
            _refuse(connection.sock, connection.client, TOO_LATE)
        return result

    def handle_error(self, _request: Any, client: Any, address: Any, error: Any) -> None:
        """Answer what failed outside of the application; gunicorn would answer HTML."""
        _refuse(client, address, refusal(error), error)

    def set_accept_enabled(self, enabled: bool) -> None:
        """Start or stop accepting connections; a worker that ends leaves the port as well."""
        super().set_accept_enabled(enabled)
        if not enabled and not (self.alive and self.is_parent_alive()):
            self._leave_the_port()

    def _leave_the_port(self) -> None:
        """Accept what the kernel has established already, then close the port.

        gunicorn would keep it open until its last request is answered: new clients would wait
        at a port where nobody answers, and no other engine could have it.
        """
        for listener in self.sockets:
            accepted = -1
            while accepted != self.nr_conns:
                accepted = self.nr_conns
                self.accept(listener)
            listener.close()
        for connection in self.pending_conns:
            connection.timeout = min(connection.timeout, time.monotonic() + SILENT_SECONDS)


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
