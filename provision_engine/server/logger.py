"""gunicorn's messages go to engine.log, and each request to api.log."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from gunicorn.glogging import Logger

from provision_engine import log


class EngineLogger(Logger):  # type: ignore[misc]
    """gunicorn's logger_class: writes to the engine's own logs."""

    def __init__(self, settings: Any) -> None:
        self.cfg = settings
        self.error_log = log.engine
        self.access_log = log.access

    def setup(self, settings: Any) -> None:
        self.cfg = settings

    def debug(self, _text: str, *_arguments: object, **_options: object) -> None:
        """Drop the remarks on each connection, among which those of the engine would be lost."""

    @property
    def access_log_enabled(self) -> bool:
        return True

    def access(
        self, response: Any, _request: Any, environ: dict[str, Any], duration: timedelta
    ) -> None:
        log.answered(
            environ.get("REMOTE_ADDR") or "-",
            f"{environ['REQUEST_METHOD']} {environ['RAW_URI']} {environ['SERVER_PROTOCOL']}",
            str(response.status).partition(" ")[0],
            response.sent,
            duration.total_seconds(),
            dict(response.headers).get("X-Request-ID", ""),
        )

    def reopen_files(self) -> None:
        log.reopen()

    def close_on_exec(self) -> None:
        """The log files are opened with O_CLOEXEC."""
