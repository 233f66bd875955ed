#!/usr/bin/env python3
"""A device in Python, with nothing but the standard library: create, use, resize, give back.

ENGINE, ENGINE_USER and ENGINE_PASSWORD say where the engine is and who calls it; without them it
is the sandbox of docs/getting-started.md.

No runtime is left behind: a lost response is repeated with the same key, SIGTERM and Ctrl-C give
the runtime back, and if the device dies altogether, the lease ends the runtime.
"""

from __future__ import annotations

import base64
import http.client
import json
import os
import signal
import sys
import time
import urllib.error
import urllib.request
import uuid
from typing import Any

ENGINE = os.environ.get("ENGINE", "http://127.0.0.1:1337")
USER = os.environ.get("ENGINE_USER", "devuser")
PASSWORD = os.environ.get("ENGINE_PASSWORD", "devpass")

LEASE_SECONDS = 900
"""A device that works for longer sends LEASE again, in a PUT, before this is over."""
WAIT_SECONDS = 20
"""How long the engine may hold a response while the runtime starts; less than RESPONSE_SECONDS."""
RESPONSE_SECONDS = 60
START_SECONDS = 300
TRIES = 5
STOPPING = (signal.SIGINT, signal.SIGTERM)

Json = dict[str, Any]


class EngineError(Exception):
    """The engine refused, or did not respond."""


class Stopped(Exception):
    """A signal told the device to stop."""


def call(method: str, path: str, body: Json | None = None, key: str = "") -> Json:
    """One request, repeated if the engine is busy or a response is lost. Raises EngineError."""
    was_lost = False
    for attempt in range(1, TRIES + 1):
        try:
            return send(method, path, body, key)
        except urllib.error.HTTPError as refusal:
            if was_lost and method == "DELETE" and refusal.code == 404:
                return {}  # the request before this one deleted it
            if refusal.code not in (423, 429, 502, 503, 504) or attempt == TRIES:
                raise EngineError(f"{refusal.code}: {refusal.read().decode()}") from refusal
            was_lost |= refusal.code in (502, 504)  # of a proxy, which got no response
            time.sleep(float(refusal.headers.get("Retry-After", 1)))
        except (OSError, http.client.HTTPException) as error:
            if attempt == TRIES:
                raise EngineError(f"no response: {error}") from error
            was_lost = True
            time.sleep(1)
    raise AssertionError("the last attempt returns or raises")


def send(method: str, path: str, body: Json | None, key: str) -> Json:
    token = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    headers = {"Authorization": f"Basic {token}", "Content-Type": "application/json"}
    if key:
        headers["Idempotency-Key"] = key
    sent = None if body is None else json.dumps({"SERVERLESS_RUNTIME": body}).encode()
    request = urllib.request.Request(ENGINE + path, sent, headers, method=method)
    with urllib.request.urlopen(request, timeout=RESPONSE_SECONDS) as response:
        text = response.read()
        return json.loads(text)["SERVERLESS_RUNTIME"] if text else {}


def create() -> Json:
    """A new runtime. A device that may restart half-way keeps the key until it has the id."""
    wanted = {
        "FAAS": {"FLAVOUR": "nature", "CPU": 1, "MEMORY": 512, "DISK_SIZE": 1024},
        "LEASE": {"TTL": LEASE_SECONDS},
    }
    return call("POST", "/serverless-runtimes", wanted, key=str(uuid.uuid4()))


def wait_until_running(path: str) -> Json:
    """The runtime once its function is running. The engine holds each response meanwhile."""
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until:
        runtime = call("GET", f"{path}?wait={WAIT_SECONDS}")
        if runtime["FAAS"]["STATE"] == "RUNNING":
            return runtime
        if runtime["FAAS"]["STATE"] == "ERROR":
            raise EngineError(runtime["FAAS"]["ERROR"])
    raise EngineError(f"not running after {START_SECONDS} seconds")


def use(path: str) -> None:
    runtime = wait_until_running(path)
    print(f"RUNNING at {runtime['FAAS']['ENDPOINT']}", flush=True)
    # Here the device would use its function, at that address.
    runtime = call("PUT", path, {"FAAS": {"CPU": 2}})
    print(f"resized to {runtime['FAAS']['CPU']} cores", flush=True)


def stop(number: int, _frame: object) -> None:
    raise Stopped(number)


def main() -> int:
    for number in STOPPING:
        signal.signal(number, stop)
    # While the id is not known yet, and while the runtime is given back, signals wait.
    signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)
    runtime = create()
    path = f"/serverless-runtimes/{runtime['ID']}"
    print(f"created runtime {runtime['ID']}", flush=True)
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPPING)
        use(path)
    finally:
        signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)
        call("DELETE", path)
        print("deleted", flush=True)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except EngineError as error:
        sys.exit(f"device: {error}")
    except Stopped as stopped:
        print(f"device: stopped by signal {stopped.args[0]}", file=sys.stderr)
        sys.exit(128 + stopped.args[0])
