#!/usr/bin/env python3
"""A device in Python, with nothing but the standard library: create, use, resize, give back.

ENGINE, ENGINE_USER and ENGINE_PASSWORD say where the engine is and who asks; without them it is
the sandbox of docs/getting-started.md.
"""

from __future__ import annotations

import base64
import json
import os
import sys
import time
import urllib.error
import urllib.request
import uuid
from typing import Any

ENGINE = os.environ.get("ENGINE", "http://127.0.0.1:1337")
USER = os.environ.get("ENGINE_USER", "devuser")
PASSWORD = os.environ.get("ENGINE_PASSWORD", "devpass")

WAIT_SECONDS = 20
"""How long one request may be held while the runtime starts; shorter than ANSWER_SECONDS."""
ANSWER_SECONDS = 60
START_SECONDS = 300
TRIES = 5

Json = dict[str, Any]


class EngineError(Exception):
    """The engine said no, or did not answer."""


def call(method: str, path: str, body: Json | None = None, **headers: str) -> Json:
    """One request, repeated when the engine says that it is busy. Raises EngineError."""
    token = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    headers |= {"Authorization": f"Basic {token}", "Content-Type": "application/json"}
    sent = None if body is None else json.dumps({"SERVERLESS_RUNTIME": body}).encode()
    for _ in range(TRIES):
        request = urllib.request.Request(ENGINE + path, sent, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=ANSWER_SECONDS) as response:
                text = response.read()
                return json.loads(text)["SERVERLESS_RUNTIME"] if text else {}
        except urllib.error.HTTPError as refusal:
            if refusal.code not in (423, 429, 503):
                raise EngineError(f"{refusal.code}: {refusal.read().decode()}") from refusal
            time.sleep(float(refusal.headers.get("Retry-After", 1)))
        except OSError as error:
            raise EngineError(f"no answer: {error}") from error
    raise EngineError(f"busy, also at the {TRIES}th try")


def wait_until_running(path: str) -> Json:
    """The runtime when its function runs. The engine holds each answer until something changed."""
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until:
        runtime = call("GET", f"{path}?wait={WAIT_SECONDS}")
        if runtime["FAAS"]["STATE"] == "RUNNING":
            return runtime
        if runtime["FAAS"]["STATE"] == "ERROR":
            raise EngineError(runtime["FAAS"]["ERROR"])
    raise EngineError(f"not running after {START_SECONDS} seconds")


def main() -> int:
    wanted = {"FAAS": {"FLAVOUR": "nature", "CPU": 1, "MEMORY": 512, "DISK_SIZE": 1024}}
    # With a key a repeated request makes no second runtime: a device may lose an answer.
    headers = {"Idempotency-Key": str(uuid.uuid4())}
    runtime = call("POST", "/serverless-runtimes", wanted, **headers)
    path = f"/serverless-runtimes/{runtime['ID']}"
    print(f"created runtime {runtime['ID']}")
    try:
        runtime = wait_until_running(path)
        print(f"RUNNING at {runtime['FAAS']['ENDPOINT']}")
        # Here the device would use its function, at that address.
        runtime = call("PUT", path, {"FAAS": {"CPU": 2}})
        print(f"resized to {runtime['FAAS']['CPU']} cores")
    finally:
        call("DELETE", path)
        print("deleted")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except EngineError as error:
        sys.exit(f"device: {error}")
