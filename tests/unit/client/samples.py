"""What the tests of the client share: a runtime as JSON, and hand-made responses."""

from __future__ import annotations

from typing import Any

import requests

URL = "http://engine.test:1337"
RUNTIMES = f"{URL}/serverless-runtimes"
FAAS = {"FLAVOUR": "nature", "CPU": 2, "MEMORY": 512, "DISK_SIZE": 1025, "VM_ID": 7}
BODY = {
    "NAME": "lamp",
    "ID": 851,
    "SERVICE_ID": 850,
    "CREATED": "2026-11-23T00:00:00Z",
    "FAAS": {**FAAS, "STATE": "RUNNING", "ENDPOINT": "10.0.0.7", "SINCE": "2026-11-24T03:00:00Z"},
    "SCHEDULING": {"POLICY": "energy"},
    "DEVICE_INFO": {"LATENCY_TO_PE": 0.36},
    "LEASE": {"TTL": 60, "EXPIRES": "2026-11-24T04:00:00Z"},
}
LOST = requests.exceptions.ConnectionError("Connection reset by peer")


def response(body: dict[str, Any] | None = None, **state: Any) -> dict[str, Any]:
    members = {**(body or BODY)}
    if state:
        members["FAAS"] = {**members["FAAS"], **state}
    return {"SERVERLESS_RUNTIME": members}


def error(title: str = "Not found", message: Any = "there is none") -> dict[str, Any]:
    return {"error": title, "message": message}
