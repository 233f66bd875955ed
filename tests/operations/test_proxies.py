"""What the shipped configurations of nginx and HAProxy keep away from the engine."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from provision_engine.sandbox import Sandbox
from tests.reliability import proxies
from tests.support.engine import engine_process

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
def send(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Send]:
    """Sends a GET through a proxy, from an address; returns the response."""
    directory = tmp_path_factory.mktemp("proxy")
    proxy = getattr(proxies, request.param)
    with (
        Sandbox() as sandbox,
        engine_process(directory / "engine", sandbox) as engine,
        proxy(directory, [engine]) as port,
    ):
        yield lambda *what, source=ELSEWHERE: exchange(
            port, *what, source=source, has_tls=request.param == "nginx"
        )


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
