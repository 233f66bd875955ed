"""An engine with two workers in front of a sandbox."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from provision_engine.sandbox import Sandbox
from tests.support.engine import EngineProcess, is_answering, settings_for


class Engine(EngineProcess):
    """Two workers, so that their counters have to be added up."""

    def __init__(self, directory: Path, sandbox: Sandbox, **settings: Any) -> None:
        server = {"workers": 2, "grace_seconds": 1}
        super().__init__(directory, settings_for(sandbox, server=server, **settings))

    def answers(self) -> bool:
        return super().answers() and is_answering(self.port, "/healthz")

    def call(self, method: str, path: str, body: Any = None) -> tuple[int, str]:
        """Sends a request over a new connection, so that any worker may get it."""
        sent = None if body is None else json.dumps(body).encode()
        response = self.request(method, path, body=sent)
        return response.status, response.content.decode()
