"""gunicorn's messages go to engine.log, and each request to api.log."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

from gunicorn.glogging import Logger

from provision_engine import log

_USER_INFO = re.compile(r"^(?!/)([A-Za-z][A-Za-z0-9+.-]*://)?.*@")
"""User and password in a target that is not a path, even if they are not encoded as they should be.
"""


class EngineLogger(Logger):  # type: ignore[misc]
    """gunicorn's logger_class: writes to the engine's own logs."""

    def setup(self, settings: Any) -> None:
        self.cfg, self.error_log, self.access_log = settings, log.engine, log.access

    def debug(self, _text: str, *_arguments: object, **_options: object) -> None:
        """Drop the remarks on each connection, among which those of the engine would be lost."""

    def access(
        self, response: Any, _request: Any, environ: dict[str, Any], duration: timedelta
    ) -> None:
        target = _USER_INFO.sub(r"\1", environ["RAW_URI"])
        log.answered(
            environ.get("REMOTE_ADDR") or "-",
            f"{environ['REQUEST_METHOD']} {target} {environ['SERVER_PROTOCOL']}",
            str(response.status).partition(" ")[0],
            response.sent,
            duration.total_seconds(),
            dict(response.headers).get("X-Request-ID", ""),
        )

    def reopen_files(self) -> None:
        """Do nothing: the handlers notice a rotation by themselves."""
