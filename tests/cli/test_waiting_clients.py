"""Clients that wait (?wait=) and disconnect, with and without TLS, on a real server."""

from __future__ import annotations

import base64
import json
import socket
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests

from provision_engine.sandbox import Sandbox
from tests.support.programs import make_certificate
from tests.support.waiting import WAIT_SECONDS, wait_until

from .desk import RealEngine

AUTH = ("devuser", "devpass")
NO_HOST = "FREE_CPU > 1000000"
THREADS = 2


@pytest.fixture(params=["http", "https"])
def served(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RealEngine]:
    engine = RealEngine(tmp_path)
    with Sandbox("7.4.0") as sandbox:
        engine.configuration |= {
            "one_xmlrpc": sandbox.oned_url,
            "oneflow_server": sandbox.oneflow_url,
            "wait": {"max_requests": THREADS},
        }
        engine.configuration["server"] |= {"workers": 1, "threads": THREADS}
        if request.param == "https":
            certificate, key = make_certificate(tmp_path)
            engine.configuration["tls"] = {"certificate": str(certificate), "key": str(key)}
        engine.write()
        engine.start()
        yield engine
        engine.end()


def url(engine: RealEngine) -> str:
    scheme = "https" if "tls" in engine.configuration else "http"
    return f"{scheme}://127.0.0.1:{engine.port}/serverless-runtimes"


def verify(engine: RealEngine) -> str | bool:
    return str(engine.configuration.get("tls", {}).get("certificate", "")) or True


def opened(engine: RealEngine, path: str) -> socket.socket:
    """A connection with a sent GET whose response is not read."""
    connection = socket.create_connection(("127.0.0.1", engine.port), WAIT_SECONDS)
    if "tls" in engine.configuration:
        context = ssl.create_default_context(cafile=str(verify(engine)))
        connection = context.wrap_socket(connection, server_hostname="127.0.0.1")
    token = base64.b64encode(":".join(AUTH).encode()).decode()
    head = f"GET {path} HTTP/1.1\r\nHost: here\r\nAuthorization: Basic {token}\r\n\r\n"
    connection.sendall(head.encode())
    return connection


def asker(engine: RealEngine, runtime_id: int) -> Callable[[str], int]:
    def ask(query: str) -> int:
        address = f"{url(engine)}/{runtime_id}{query}"
        answer = requests.get(address, auth=AUTH, verify=verify(engine), timeout=WAIT_SECONDS)
        return answer.status_code

    return ask


def test_waiting_occupies_no_thread_and_disconnecting_frees_the_slot(served: RealEngine) -> None:
    body = {"FAAS": {"FLAVOUR": "nature"}, "SCHEDULING": {"REQUIREMENTS": NO_HOST}}
    made = requests.post(
        url(served),
        data=json.dumps({"SERVERLESS_RUNTIME": body}),
        auth=AUTH,
        verify=verify(served),
        timeout=WAIT_SECONDS,
    )
    runtime_id = made.json()["SERVERLESS_RUNTIME"]["ID"]
    ask = asker(served, runtime_id)
    path = f"/serverless-runtimes/{runtime_id}?wait=60"
    waiters = [opened(served, path) for _ in range(THREADS)]
    # Each reads the runtime once; further reads belong to requests that wait.
    wait_until(lambda: served.log("CloudClient").count("vms(") > 8)
    assert wait_until(lambda: ask("?wait=0.01") == 429)
    # As many requests wait as there are threads, and others are still served.
    assert [ask("") for _ in range(5)] == [200] * 5
    for connection in waiters:
        connection.close()
    assert wait_until(lambda: ask("?wait=0.01") == 200)
