"""What the shipped configurations of nginx and HAProxy keep away from the engine."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from provision_engine.sandbox import Sandbox
from tests.reliability import proxies
from tests.support.engine import EngineProcess, engine_process
from tests.support.waiting import wait_until

MONITORING, ELSEWHERE = "127.0.0.1", "127.0.0.2"
"""The address that may read /metrics, and one that may not."""
COUNTER = b"provision_engine_http_requests_total"
PATHS = (
    *("/metrics", "/metrics/", "/metrics?x=1", "/metrics/?x=1", "/metrics#x", "/metrics;x"),
    *("/metrics%2f", "/metrics%2F%2f", "/metrics//", "/metrics/.", "/metrics%3f", "/metrics%20"),
    *("//metrics", "///metrics/", "/%2fmetrics", "%2fmetrics", "metrics", "/./metrics"),
    *("/x/../metrics", "/x/%2e%2e/metrics", "/%6detrics", "/%6Detrics%2f", "/METRICS"),
    *("/metrics%zz", "/metrics%", "/metrics%00", "\\metrics", "*metrics", "?/metrics"),
    *("http://h/metrics", "http://h//metrics/", "http:///metrics", "http:/metrics"),
    *("x:/metrics", "x:metrics", "x://h/metrics%2f", "//h/metrics", "?x#/metrics"),
    *("/metrics/..", "/metrics/../metrics", "/metrics/../x", "/metrics%2f..", "/metrics#/../x"),
)
HEADERS = (
    *("SCRIPT_NAME: /x", "Script_Name: /x", "SCRIPT_NAME: /x\r\nscript_name: /x"),
    *("PATH_INFO: /metrics", "Script-Name: /x", "X-Forwarded-Prefix: /x"),
)

Send = Callable[..., bytes]


@pytest.fixture(scope="module", params=["haproxy", "nginx"])
def proxied(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Send, EngineProcess]]:
    """Sends a GET through a proxy, from an address, and the engine; returns the response."""
    trusting = {"trusted_proxies": ["127.0.0.1"]}
    directory = tmp_path_factory.mktemp("proxy")
    proxy = getattr(proxies, request.param)
    with (
        Sandbox() as sandbox,
        engine_process(directory / "engine", sandbox, server=trusting) as engine,
        proxy(directory, [engine]) as port,
    ):
        has_tls = request.param == "nginx"
        yield (
            lambda *what, source=ELSEWHERE: exchange(port, *what, source=source, has_tls=has_tls),
            engine,
        )


@pytest.fixture
def send(proxied: tuple[Send, EngineProcess]) -> Send:
    return proxied[0]


def exchange(
    port: int, path: str, header: str = "X: y", *, source: str, has_tls: bool = False
) -> bytes:
    with proxies.connected(port, has_tls=has_tls, source=source) as connection:
        head = f"GET {path} HTTP/1.1\r\nHost: h\r\n{header}\r\nConnection: close\r\n\r\n"
        connection.sendall(head.encode())
        return b"".join(iter(lambda: connection.recv(65_536), b""))


@pytest.mark.parametrize("path", ["/metrics", "/metrics?x=1"])
def test_monitoring_reads_the_metrics(send: Send, path: str) -> None:
    assert COUNTER in send(path, source=MONITORING)


def test_nobody_else_reads_the_metrics_whatever_the_path(send: Send) -> None:
    assert b" 403 Forbidden\r\n" in send("/metrics")
    assert {path for path in PATHS if COUNTER in send(path)} == set()


def test_nobody_else_reads_the_metrics_whatever_the_header(send: Send) -> None:
    tried = [(path, header) for path in ("/x/metrics", "/server/version") for header in HEADERS]
    assert {what for what in tried if COUNTER in send(*what)} == set()


@pytest.mark.parametrize("header", HEADERS)
def test_a_prefix_is_not_the_client_s_to_choose(send: Send, header: str) -> None:
    assert b" 200 OK\r\n" in send("/server/version", header)


def test_the_logs_name_the_client_and_not_the_proxy(proxied: tuple[Send, EngineProcess]) -> None:
    send, engine = proxied
    assert b" 200 OK\r\n" in send("/server/version?logged", "X-Forwarded-For: 203.0.113.9")
    (line,) = wait_until(lambda: [x for x in engine.log("api").split("\n") if "?logged" in x])
    assert line.startswith(f"{ELSEWHERE} - - [")
    assert f"Response HTTP Return Code: 200 (client={ELSEWHERE})" in engine.log()
    assert "203.0.113.9" not in engine.log() + engine.log("api")
