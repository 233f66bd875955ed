"""Every route of the API, and the function that serves it."""

from __future__ import annotations

from flask import Blueprint

from provision_engine.api import runtimes, service, ui
from provision_engine.api.runtimes import RUNTIMES

ONE_RUNTIME = f"{RUNTIMES}/<runtime_id>"

ROUTES = (
    ("GET", "/", service.get_root),
    ("GET", "/server/version", service.get_version),
    ("GET", "/server/config", service.get_config),
    ("GET", "/openapi.json", service.get_openapi),
    ("GET", "/healthz", service.get_health),
    ("GET", "/readyz", service.get_readiness),
    ("GET", "/metrics", service.get_metrics),
    ("GET", "/flavours", runtimes.list_flavours),
    ("GET", "/quota", runtimes.get_quota),
    ("GET", f"{RUNTIMES}/schema", service.get_schema),
    ("POST", RUNTIMES, runtimes.create_runtime),
    ("GET", RUNTIMES, runtimes.list_runtimes),
    ("GET", ONE_RUNTIME, runtimes.get_runtime),
    ("PUT", ONE_RUNTIME, runtimes.update_runtime),
    ("DELETE", ONE_RUNTIME, runtimes.delete_runtime),
    ("POST", f"{ONE_RUNTIME}/recover", runtimes.recover_runtime),
    ("POST", f"{ONE_RUNTIME}/suspend", runtimes.suspend_runtime),
    ("POST", f"{ONE_RUNTIME}/resume", runtimes.resume_runtime),
    ("GET", f"{ONE_RUNTIME}/timeline", runtimes.get_timeline),
    ("GET", "/ui", ui.get_file),
    ("GET", "/ui/<path:name>", ui.get_file),
    ("GET", "/docs", ui.get_file),
    ("GET", "/docs/<path:name>", ui.get_file),
)
MAY_END_WITH_SLASH = frozenset(
    {"/", "/server/version", "/server/config", f"{RUNTIMES}/schema", RUNTIMES, ONE_RUNTIME}
)
"""The paths that the first engine had."""

routes = Blueprint("api", __name__)
for _method, _path, _handler in ROUTES:
    _is_strict = _path not in MAY_END_WITH_SLASH
    routes.add_url_rule(_path, view_func=_handler, methods=[_method], strict_slashes=_is_strict)
