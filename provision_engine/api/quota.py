"""The caller's own quota of VMs."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, jsonify, request

from provision_engine import log
from provision_engine.api import context, query
from provision_engine.cloud.objects import Quota

METRICS = ("VMS", "CPU", "MEMORY", "SYSTEM_DISK_SIZE")
"""The metrics of the quota; MEMORY and SYSTEM_DISK_SIZE in MB."""

routes = Blueprint("quota", __name__)


@routes.get("/quota")
def get_quota() -> Response:
    log.engine.info("Received request to Read the quota")
    caller = context.of_request()
    query.check_known(request.args)
    return jsonify(as_json(caller.cloud.oned.quota()))


def as_json(quota: Quota) -> dict[str, Any]:
    """Usage and limit by metric; the limit is None if there is none."""
    return {
        name: {"LIMIT": _limit(quota.limits[name]), "USED": _number(quota.used[name])}
        for name in METRICS
    }


def _limit(limit: float) -> float | None:
    return None if limit < 0 else _number(limit)


def _number(value: float) -> float:
    """An integer if the value is one."""
    return int(value) if value.is_integer() else value
