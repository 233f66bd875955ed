"""The proxies in front of engines, with the configurations that etc/ ships."""

from __future__ import annotations

import contextlib
import functools
import os
import socket
import ssl
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.support.engine import EngineProcess
from tests.support.ports import free_port
from tests.support.programs import make_certificate, program
from tests.support.waiting import wait_until

ETC = Path(__file__).parents[2] / "etc"
NGINX_MAIN = """\
daemon off; pid {directory}/nginx.pid; error_log {directory}/error.log;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    underscores_in_headers on;
    client_body_temp_path {directory}/body; proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi; uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    include {directory}/shipped.conf;
}}
"""


def replaced(text: str, changes: dict[str, str]) -> str:
    for old, new in changes.items():
        assert old in text, old
        text = text.replace(old, new)
    return text


@contextlib.contextmanager
def haproxy(
    directory: Path, engines: Sequence[EngineProcess], request_seconds: int = 10
) -> Iterator[int]:
    """HAProxy as shipped, which may be less patient; its port."""
    port, file = free_port(), directory / "haproxy.cfg"
    patience = {"http-request 10s": f"http-request {request_seconds}s"}
    file.write_text(replaced((ETC / "haproxy.cfg").read_text(), patience))
    # A server that is left out is one that nobody listens for.
    ports = [*(e.port for e in engines), *(free_port() for _ in range(len(engines), 3))]
    addresses = {f"PROVISION_ENGINE_{n}": f"127.0.0.1:{p}" for n, p in enumerate(ports, 1)}
    environment = addresses | {"PROVISION_ENGINE_BIND": f"127.0.0.1:{port}"}
    command = [program("haproxy"), "-q", "-db", "-f", str(file)]
    with _running(command, port, environment):
        yield port


@contextlib.contextmanager
def nginx(directory: Path, engines: Sequence[EngineProcess]) -> Iterator[int]:
    """nginx as shipped, with TLS; its port."""
    port = free_port()
    certificate, key = make_certificate(directory)
    changes = {
        "server 127.0.0.1:1337;": "".join(f"server 127.0.0.1:{e.port};" for e in engines),
        "listen 443 ssl": f"listen 127.0.0.1:{port} ssl",
        "/etc/ssl/certs/engine.example.org.pem": str(certificate),
        "/etc/ssl/private/engine.example.org.key": str(key),
    }
    shipped = replaced((ETC / "nginx.conf").read_text(), changes)
    (directory / "shipped.conf").write_text(shipped)
    main = directory / "nginx.conf"
    main.write_text(NGINX_MAIN.format(directory=directory))
    with _running([program("nginx"), "-c", str(main)], port, {}):
        yield port


@contextlib.contextmanager
def connected(
    port: int, *, has_tls: bool = False, source: str = "127.0.0.1"
) -> Iterator[socket.socket]:
    """A connection of a client, from an address of this machine."""
    with contextlib.ExitStack() as stack:
        plain = socket.create_connection(("127.0.0.1", port), 60, (source, 0))
        connection = stack.enter_context(plain)
        if has_tls:
            connection = stack.enter_context(client_tls().wrap_socket(connection))
        yield connection


@functools.cache
def client_tls() -> ssl.SSLContext:
    """Accepts any certificate."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


@contextlib.contextmanager
def _running(command: list[str], port: int, environment: dict[str, str]) -> Iterator[None]:
    process = subprocess.Popen(command, env={**os.environ, **environment})
    try:
        wait_until(lambda: _is_open(port))
        yield
    finally:
        process.terminate()
        process.wait(30)


def _is_open(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 5):
        return True
    return False
